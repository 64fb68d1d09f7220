-- ARGV: a cursor, '0' at first. Answers the server's run id, the end of the log, the number of its last entry, the
-- next cursor, and some of who is online. A page is all of one moment, and costs the same however many there are.
-- Cursors mean nothing to another server process.
local PAGE = 1000
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local last = redis.call('XREVRANGE', LOG, '+', '-', 'COUNT', 1)
local entries = tonumber(redis.call('HGET', NUMBERS, 'entries') or 0)
local page = redis.call('HSCAN', ONLINE, ARGV[1], 'COUNT', PAGE)
return {run, last[1] and last[1][1] or '0-0', entries, page[1], page[2]}
