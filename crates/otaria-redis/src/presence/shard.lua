-- A shard's keys: who is online ("gateway session" by device), the log of changes, and its numbers.
local ONLINE, LOG, NUMBERS = KEYS[1], KEYS[2], KEYS[3]
-- A follower that falls behind by more reads the shard anew.
local LOG_MAX = 1000

local function of(entry)
  if not entry then return nil, nil end
  local gateway, session = string.match(entry, '^(%S+) (%d+)$')
  return gateway, tonumber(session)
end

-- Each entry has a number, so that a follower sees when entries are missing.
local function log(what, device, session, gateway)
  local n = redis.call('HINCRBY', NUMBERS, 'entries', 1)
  redis.call('XADD', LOG, 'MAXLEN', '~', LOG_MAX, '*', 'e',
    text(n) .. ' ' .. what .. ' ' .. device .. ' ' .. text(session) .. ' ' .. gateway)
end

local function arrive(device, session, gateway)
  redis.call('HSET', ONLINE, device, gateway .. ' ' .. text(session))
  redis.call('HSET', NUMBERS, 'session', text(session))
  log('a', device, session, gateway)
end
