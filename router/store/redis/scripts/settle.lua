-- Stores outcomes, each for itself.
--
-- ARGV[2..]  instance, start, holder, the number of outcomes, for each: id; epoch, state,
--            flags (1 an attempt, 2 suspect), delay in microseconds, attempts and
--            crashes, packed; reason and error as an ENDING has them; the attempt
--            without its number, '' for none.
-- Result     for each 1 stored (now or before), 2 the delivery was cancelled
--            meanwhile, 3 the lease is not this one's any more
--
-- After it: I1, I5; an outcome is in the history once, however often it came. A
-- delivery that was cancelled and ordered to run again while this attempt went
-- on is due.
local instance, start, holder = arg(), arg(), arg()
need_shared()
local refused = fence(instance, start)
if refused then return refused end

-- noted is the ending of a record once an attempt is over: the one before it
-- goes into h:ID.
local function noted(r, o)
  r.uncertain = false
  if r.starts > 1 then
    local _, _, before = ending(r)
    keep(r, before)
  end
  return o.ending .. attempt(r.starts, o.attempt)
end

-- taken_back is the ending without the newest attempt.
local function taken_back(r, o)
  local s = redis.pcall('RPOP', K .. 'h:' .. r.id)
  if type(s) ~= 'string' then return o.ending end
  grown = grown - #s - ATTEMPT_COST
  return o.ending .. s
end

local function settle(o)
  local r = loaded[o.id]
  if r and r.state ~= LEASED then vacate(r, o.epoch) end
  if not r or r.epoch == 0 or r.epoch ~= o.epoch then return 3 end
  if r.state == LEASED then
    if r.holder ~= holder then return 3 end -- an older start's
    if o.attempt then
      r.ending = noted(r, o)
    else
      r.starts = r.starts - 1
      local _, _, before = ending(r)
      r.ending = o.ending .. before
    end
    r.attempts, r.crashes, r.suspect = o.attempts, o.crashes, o.suspect
    r.due, r.settled = now + o.delay, 1
    move(r, o.state)
    save(r)
    wake = wake or o.state == READY
    return 1
  end
  if r.state == READY and r.settled == 0 then
    r.epoch, r.settled, r.due = new_epoch(), 1, now
    if r.lane == '' then zadd('q:', r.action, r.due, r.id) else lanes[r.lane] = true end
    save(r)
    wake = true
    return 3
  end
  if r.settled == 1 then return 1 end
  if r.settled == 2 then return 2 end
  if r.state ~= CANCELLED then return 3 end
  local reason = ending(r)
  o.ending = pack('<I2c0', #reason, reason) .. sub(o.ending, 3 + unpack_('<I2', o.ending))
  if o.attempt then
    r.uncertain = false
    r.ending = o.ending .. attempt(r.starts, o.attempt)
  else
    r.ending = taken_back(r, o)
    r.starts = r.starts - 1
  end
  r.settled, r.attempts = 2, o.attempts
  save(r)
  return 2
end

local outcomes, ids = {}, {}
for i = 1, num() do
  local id = ARGV[at + 1]
  local epoch, state, flags, delay, attempts, crashes = unpack_('<dBBdI4I4', ARGV[at + 2])
  ids[i] = id
  outcomes[i] = {
    id = id, epoch = epoch, state = state, suspect = flags >= 2, delay = delay, attempts = attempts, crashes = crashes,
    ending = ARGV[at + 3], attempt = flags % 2 == 1 and ARGV[at + 4],
  }
  at = at + 4
end
load_all(ids)
for _, o in ipairs(outcomes) do
  local r = loaded[o.id]
  if r then
    need_action(r.action, o.state)
    need_lane(r.lane)
  end
end

local out = {}
for i, o in ipairs(outcomes) do out[i] = settle(o) end
finish()
return out
