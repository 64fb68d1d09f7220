-- ARGV: gateway, and a session number. Answers the devices that are said to be at the gateway in sessions older
-- than that, each with its session.
local found, all = {}, redis.call('HGETALL', ONLINE)
for n = 1, #all, 2 do
  local gateway, session = of(all[n + 1])
  if gateway == ARGV[1] and session < tonumber(ARGV[2]) then
    -- A device's number is beyond what a double tells apart: it stays a text.
    found[#found + 1] = all[n]
    found[#found + 1] = text(session)
  end
end
return found
