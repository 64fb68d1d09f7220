-- Integers up to 2^53 are exact here, but tostring() would write 14 digits of them.
local function text(n) return string.format('%.0f', n) end

local function time_us()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000000 + tonumber(t[2])
end

-- The incarnation of the data beside `key`: the one that is written there, if this very server process wrote
-- it and nobody has seen a later one; else a new one, and everything that carries another number is lost.
local function incarnation(key, seen)
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local kept = redis.call('GET', key)
  local number, by
  if kept then
    number, by = string.match(kept, '^(%d+) (%x+)$')
    number = tonumber(number)
  end
  if number and by == run and number >= seen then return number end
  number = math.max(time_us(), seen + 1, (number or 0) + 1)
  redis.call('SET', key, text(number) .. ' ' .. run)
  return number
end
