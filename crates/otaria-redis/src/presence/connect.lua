-- ARGV: device, gateway, and a number that the new session must pass.
-- Answers the new session, and gateway and session of the one it replaces.
local device, gateway = ARGV[1], ARGV[2]
local older_at, older = of(redis.call('HGET', ONLINE, device))
local last = tonumber(redis.call('HGET', NUMBERS, 'session') or 0)
local session = math.max(time_us(), last + 1, tonumber(ARGV[3]) + 1, (older or 0) + 1)
arrive(device, session, gateway)
return {session, older_at or '', older or 0}
