-- ARGV: gateway, then devices and the sessions they have there (0: none). Takes out whatever else is said to
-- be at this gateway.
for n = 2, #ARGV, 2 do
  local gateway, session = of(redis.call('HGET', ONLINE, ARGV[n]))
  if gateway == ARGV[1] and session > tonumber(ARGV[n + 1]) then
    redis.call('HDEL', ONLINE, ARGV[n])
    log('l', ARGV[n], session, gateway)
  end
end
return 0
