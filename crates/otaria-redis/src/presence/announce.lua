-- ARGV: gateway, then devices and the sessions they have there. Writes what is missing.
-- Answers the devices that were missing, and those that have a later session at another gateway.
local gateway = ARGV[1]
local last = tonumber(redis.call('HGET', NUMBERS, 'session') or 0)
local missing, outdated = {}, {}
for n = 2, #ARGV, 2 do
  local device, session = ARGV[n], tonumber(ARGV[n + 1])
  local at, known = of(redis.call('HGET', ONLINE, device))
  if known and known > session then
    -- A later one at this gateway is on its way to where sessions are held.
    if at ~= gateway then outdated[#outdated + 1] = device end
  elseif known ~= session then
    missing[#missing + 1] = device
    redis.call('HSET', ONLINE, device, gateway .. ' ' .. text(session))
    log('a', device, session, gateway)
    last = math.max(last, session)
  end
end
if #missing > 0 then redis.call('HSET', NUMBERS, 'session', text(last)) end
return {missing, outdated}
