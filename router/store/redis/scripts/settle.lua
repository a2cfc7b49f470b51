-- Stores outcomes, each for itself.
--
-- ARGV[2..]  instance, start, the number of outcomes, for each: id, epoch,
--            state, reason, delay in microseconds, attempts, crashes, suspect
--            (0, 1), error, and 0 or 1 followed by started, ended, outcome, error
--            and output of the attempt.
-- Result     for each 1 stored (now or before), 2 the delivery was cancelled
--            meanwhile, 3 the lease is not this one's any more
--
-- After it: I1, I2, I5; an outcome is in the history once, however often it came. A
-- delivery that was cancelled and ordered to run again while this attempt went
-- on is due.
local instance, start = arg(), arg()
need_shared()
need('hash', 'inst')
local refused = fence(instance, start)
if refused then return refused end

local function read_outcome()
  local o = {
    id = arg(), epoch = num(), state = num(), reason = arg(), delay = num(), attempts = num(), crashes = num(),
    suspect = arg() == '1', error = arg(),
  }
  if arg() == '1' then
    o.attempt = { started = num(), ended = num(), outcome = arg(), error = arg(), output = arg() }
  end
  return o
end

local function finished(r, a, replace)
  r.uncertain = false
  history(r, replace, r.starts, a.started, a.ended, a.outcome, a.error, a.output)
end

local loaded = {}

local function settle(o)
  local r = loaded[o.id]
  if r and r.state ~= LEASED then vacate(r, o.epoch) end
  if not r or r.epoch == 0 or r.epoch ~= o.epoch then return 3 end
  if r.state == LEASED then
    if o.attempt then finished(r, o.attempt, false) else r.starts = r.starts - 1 end
    local all = r.reason ~= o.reason or r.error ~= o.error
    r.reason, r.error, r.attempts, r.crashes, r.suspect = o.reason, o.error, o.attempts, o.crashes, o.suspect
    r.due, r.settled = now + o.delay, 1
    move(r, o.state)
    save(r, all)
    wake = wake or o.state == READY
    return 1
  end
  if r.state == READY and r.settled == 0 then
    r.epoch, r.settled, r.due = new_epoch(), 1, now
    if r.lane == '' then call('ZADD', K .. 'q:' .. r.action, r.due, r.id) else lanes[r.lane] = true end
    save(r)
    wake = true
    return 3
  end
  if r.settled == 1 then return 1 end
  if r.settled == 2 then return 2 end
  if r.state ~= CANCELLED then return 3 end
  if o.attempt then
    finished(r, o.attempt, true)
  else
    local s = redis.pcall('RPOP', K .. 'h:' .. r.id)
    if type(s) == 'string' then grown = grown - #s - ATTEMPT_COST end
    r.starts = r.starts - 1
  end
  local all = r.error ~= o.error
  r.settled, r.attempts, r.error = 2, o.attempts, o.error
  save(r, all)
  return 2
end

local outcomes = {}
for i = 1, num() do
  local o = read_outcome()
  outcomes[i] = o
  local r = loaded[o.id] or load(o.id)
  loaded[o.id] = r
  if r then
    need_action(r.action, group(o.state))
    need_lane(r.lane)
  end
end

local out = {}
for i, o in ipairs(outcomes) do out[i] = settle(o) end
finish()
return out
