-- Answers the end of the log, the number of its last entry, and who is online: all of one moment.
local last = redis.call('XREVRANGE', LOG, '+', '-', 'COUNT', 1)
local entries = tonumber(redis.call('HGET', NUMBERS, 'entries') or 0)
return {last[1] and last[1][1] or '0-0', entries, redis.call('HGETALL', ONLINE)}
