-- otaria_core::pace::Pace, for several jobs of one unit. All instants and spans are integers of microseconds
-- below 2^53, where doubles are exact; so are the quotients below, since no product passes 2^53.
--
-- KEYS: the unit's incarnation, then each job's state.
-- ARGV: the greatest incarnation seen; now; the horizon; how far `now` may be from the server's time (or -1:
-- anything goes); then for each job: rate, its version, tokens wanted, 1 if it was never paced, and when it
-- was made.
-- Answers the incarnation, and for each job: when there is more, the rate in force, how many emissions, each date
-- and tokens.

local WINDOW, CLOCK_ERROR, MIN_EMISSIONS, KEPT_MS = 60500000, 100000, 1000, 600000

local function cadence(rate)
  local tokens = math.max(1, math.floor(rate / MIN_EMISSIONS))
  local emissions = math.floor(rate / tokens)
  return tokens, math.floor((WINDOW + emissions - 1) / emissions)
end

-- Versions may be longer than a double is exact.
local function newer(a, b) return #a > #b or (#a == #b and a > b) end

local now, horizon, guard = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local server = time_us()
if guard >= 0 then
  if now > server + guard then
    return redis.error_reply('AHEAD the clock of the caller is ' .. text(now - server) .. ' us ahead')
  end
  -- A caller that looked at its clock a while ago is as good as one that looks now; see the module's words.
  now = math.max(now, server - guard)
end
local number = incarnation(KEYS[1], tonumber(ARGV[1]))
local answer = {number}

for n = 2, #KEYS do
  local at = 5 + (n - 2) * 5
  local want_rate, want_version = tonumber(ARGV[at]), ARGV[at + 1]
  local wanted, fresh, made = tonumber(ARGV[at + 2]), ARGV[at + 3] == '1', tonumber(ARGV[at + 4])

  local tat, last, last_tokens, last_period, left, rate, version
  local kept = redis.call('GET', KEYS[n])
  if kept then
    local of
    of, tat, last, last_tokens, last_period, left, rate, version =
      string.match(kept, '^(%d+) (%d+) (%S+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
    tat, last, last_tokens, last_period = tonumber(tat), tonumber(last), tonumber(last_tokens), tonumber(last_period)
    left, rate = tonumber(left), tonumber(rate)
    if tonumber(of) ~= number then kept = false end
  end
  if not kept then
    rate, version, left = want_rate, want_version, 0
    -- Older than this incarnation: somebody may have paced it in the one before.
    if fresh and (guard < 0 or made >= number + CLOCK_ERROR) then
      tat, last, last_tokens, last_period = now, nil, 0, 0
    else
      last = now + horizon + 2 * CLOCK_ERROR
      last_tokens, last_period = cadence(rate)
      tat = last + last_period
    end
  end

  if newer(want_version, version) then
    rate, version, left = want_rate, want_version, 0
    if last then
      local tokens, period = cadence(rate)
      local gap = last_tokens == tokens and math.max(last_period, period) or last_period + period
      tat = math.max(tat, last + gap)
    end
  end

  local tokens, period = cadence(rate)
  local place = #answer + 3
  answer[place - 2], answer[place - 1], answer[place] = 0, rate, 0
  local function emit(date, count)
    answer[place] = answer[place] + 1
    answer[#answer + 1], answer[#answer + 2] = date, count
    wanted, left = wanted - count, left - count
  end
  if last and last >= now and math.min(left, wanted) > 0 then emit(last, math.min(left, wanted)) end
  while wanted > 0 do
    local date = math.max(tat, now)
    if date > now + horizon then break end
    left = tokens
    emit(date, math.min(tokens, wanted))
    last, last_tokens, last_period = date, tokens, period
    tat = date + period
  end
  answer[place - 2] = tat - horizon

  redis.call('SET', KEYS[n], table.concat({text(number), text(tat), last and text(last) or '-',
    text(last_tokens), text(last_period), text(left), text(rate), version}, ' '), 'PX', KEPT_MS)
end
return answer
