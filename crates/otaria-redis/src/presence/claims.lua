-- ARGV: gateway, a session number, and a cursor, '0' at first. Answers the next cursor, and of some of the devices
-- those that are said to be at the gateway in sessions older than that, each with its session.
local PAGE = 1000
local found, page = {}, redis.call('HSCAN', ONLINE, ARGV[3], 'COUNT', PAGE)
local some = page[2]
for n = 1, #some, 2 do
  local gateway, session = of(some[n + 1])
  if gateway == ARGV[1] and session < tonumber(ARGV[2]) then
    -- A device's number is beyond what a double tells apart: it stays a text.
    found[#found + 1] = some[n]
    found[#found + 1] = text(session)
  end
end
return {page[1], found}
