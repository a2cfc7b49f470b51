-- What the scripts share that read or change deliveries; comes after lib.lua, which
-- has their structures and invariants.
local pack, unpack_, sub = struct.pack, struct.unpack, string.sub
local VERSION, HEAD, LAYOUT = 3, 72, '2'
local FRONT = '<BBBBdddddI4c12I4I4I4'
local MIDDLE = '<I2c0I2c0I2c0ddI4I4I4I4'
local ENDING = '<I2c0I4c0'
local LOADED = FRONT .. 'I2c0I2c0'
local BUSY = '<dd'
local NOBODY = string.rep('\0', 12)
-- What one of these takes in Redis beyond its own bytes: keys, index entries.
local EVENT_COST, DELIVERY_COST, ATTEMPT_COST = 320, 480, 64

-- What a call gathers and flush writes, many in one command: sets are keys and
-- values, adds and rems are by index (q:, l:, ...) and action. A call adds a member
-- to a key or removes it, not both, unless it flushes between. A list has its
-- length in n: # would look for its end.
local sets, adds, rems = { n = 0 }, {}, {}

local function push(list, a, b)
  local n = list.n
  list[n + 1], list[n + 2], list.n = a, b, n + 2
end

local function gathered(in_, index, action)
  local by = in_[index]
  if not by then
    by = {}
    in_[index] = by
  end
  local list = by[action]
  if not list then
    list = { n = 0 }
    by[action] = list
  end
  return list
end

local function zadd(index, action, score, member) push(gathered(adds, index, action), score, member) end

local function zrem(index, action, member)
  local list = gathered(rems, index, action)
  local n = list.n + 1
  list[n], list.n = member, n
end

-- many runs a command on a list, at most a thousand at a time; key may be nil.
local function many(command, key, list)
  local n = list.n or #list
  for i = 1, n, 1000 do
    local to = math.min(i + 999, n)
    if key then call(command, key, unpack(list, i, to)) else call(command, unpack(list, i, to)) end
  end
end

local function flush()
  many('MSET', nil, sets)
  for index, by in pairs(rems) do
    for action, list in pairs(by) do many('ZREM', K .. index .. action, list) end
  end
  for index, by in pairs(adds) do
    for action, list in pairs(by) do many('ZADD', K .. index .. action, list) end
  end
  sets, adds, rems = { n = 0 }, {}, {}
end

-- What is summed up over a call and written by finish, which every call that
-- changes something ends with.
local grown, moved, wake = 0, {}, false

local function count(state, action, n)
  local m = moved[action]
  if not m then
    m = { 0, 0, 0, 0, 0, 0 }
    moved[action] = m
  end
  m[state] = m[state] + n
end

-- new_epoch is larger than any before, also when Redis has lost its last second
-- in a crash: it follows the clock.
local function new_epoch()
  local e = math.max(now, (tonumber(call('HGET', K .. 'meta', 'epoch')) or 0) + 1)
  call('HSET', K .. 'meta', 'epoch', e)
  return e
end

-- The deliveries that a call has read or made, as they will be.
local loaded = {}

-- parse reads a record, nil if it is none. What is behind its lane is read by
-- middle and ending when it is needed.
local function parse(id, s)
  if type(s) ~= 'string' or #s < HEAD or string.byte(s) ~= VERSION then return end
  local _, state, settled, flags, epoch, due, started, updated, number, starts, holder, attempts, crashes, cut, action, lane = unpack_(LOADED, s)
  local r = {
    id = id, raw = s, state = state, settled = settled, uncertain = flags % 2 == 1, suspect = flags % 4 >= 2, born = flags >= 4,
    epoch = epoch, due = due, started = started, updated = updated, number = number, starts = starts, holder = holder,
    attempts = attempts, crashes = crashes, cut = cut, action = action, lane = lane, middle = false, ending = false,
  }
  return r
end

-- load reads a delivery, nil if there is none; load_all reads many at once.
local function load(id)
  local r = loaded[id] or parse(id, text('d:' .. id))
  loaded[id] = r
  return r
end

local function load_all(ids)
  local keys = {}
  for i, id in ipairs(ids) do keys[i] = K .. 'd:' .. id end
  for i = 1, #keys, 1000 do
    local got = call('MGET', unpack(keys, i, math.min(i + 999, #keys)))
    for j = 1, #got do
      local id = ids[i + j - 1]
      if not loaded[id] then loaded[id] = parse(id, got[j]) end
    end
  end
end

local function front(r)
  local flags = (r.uncertain and 1 or 0) + (r.suspect and 2 or 0) + (r.born and 4 or 0)
  return pack(FRONT, VERSION, r.state, r.settled, flags, r.epoch, r.due, r.started, r.updated, r.number, r.starts, r.holder,
    r.attempts, r.crashes, r.cut)
end

-- middle gives what changes by an operator's order only; set_middle stores it.
local function middle(r)
  local m, _ = {}, nil
  _, _, m.event, m.created, m.budget, m.budget_from, m.count, m.expanded, m.calls = unpack_(MIDDLE, r.middle or sub(r.raw, HEAD + 1))
  return m
end

local function set_middle(r, m)
  r.middle = pack(MIDDLE, #r.action, r.action, #r.lane, r.lane, #m.event, m.event, m.created, m.budget, m.budget_from, m.count, m.expanded, m.calls)
end

-- ending gives reason, error and the newest attempt, '' for none; set_ending
-- stores them.
local function ending(r)
  local s = r.ending or sub(r.raw, r.cut + 1)
  local reason, err, rest = unpack_(ENDING, s)
  return reason, err, sub(s, rest)
end

local function set_ending(r, reason, err, attempt) r.ending = pack(ENDING, #reason, reason, #err, err) .. attempt end

-- save has a record written.
local function save(r)
  r.updated = now
  local before = r.raw
  if r.middle or r.ending then
    local m, e = r.middle or sub(before, HEAD + 1, r.cut), r.ending or sub(before, r.cut + 1)
    r.cut = HEAD + #m
    r.raw, r.middle, r.ending = front(r) .. m .. e, false, false
  else
    r.raw = front(r) .. sub(before, HEAD + 1)
  end
  grown = grown + #r.raw - #before
  push(sets, K .. 'd:' .. r.id, r.raw)
end

local function open(state) return state == READY or state == LEASED end

-- need_lane asks for what is kept of a lane.
local function need_lane(lane)
  if lane == '' then return end
  need('zset', 'n:' .. lane)
  need('string', 'b:' .. lane)
end

-- The lanes that a call touches; finish looks whose turn it is. What is kept of
-- a lane is written at once.
local lanes = {}

-- first_of gives the first delivery of a lane, nil if there is none. What is
-- there and should not be leaves.
local function first_of(lane)
  while true do
    local ids = redis.pcall('ZRANGE', K .. 'n:' .. lane, 0, 0)
    if not ids[1] then return end
    local r = load(ids[1])
    if r and r.lane == lane and open(r.state) then return r end
    call('ZREM', K .. 'n:' .. lane, ids[1])
  end
end

-- wait_in_lane has a ready delivery wait for others, or for finish to let it go.
local function wait_in_lane(r)
  zadd('q:', r.action, 'inf', r.id)
  lanes[r.lane] = true
end

-- give_way has the first of a lane wait again, if it does not run: one comes that
-- may be before it.
local function give_way(lane)
  local r = lane ~= '' and first_of(lane)
  if r and r.state == READY then wait_in_lane(r) end
end

-- busy_with gives the epoch, until when, and the id of what a lane is busy with,
-- nil if it is not.
local function busy_with(lane)
  local s = text('b:' .. lane)
  if not s or #s <= 16 then return end
  local epoch, ends, rest = unpack_(BUSY, s)
  return epoch, ends, sub(s, rest)
end

-- elect lets the first of a lane go, unless one runs.
local function elect(lane)
  local from = 0
  local epoch, ends, id = busy_with(lane)
  if epoch then
    local r = ends == 0 and load(id)
    if r and r.state == LEASED and r.epoch == epoch and r.lane == lane then return end
    if ends == 0 then call('DEL', K .. 'b:' .. lane) end
    from = ends
  end
  local r = first_of(lane)
  if r and r.state == READY then
    redis.pcall('ZADD', K .. 'q:' .. r.action, math.max(r.due, from), r.id)
    wake = true
  end
end

-- occupy notes that a lease of a lane runs; vacate, that its outcome has come,
-- whatever its delivery is by now.
local function occupy(r, ends)
  if r.lane == '' then return end
  local v = pack(BUSY, r.epoch, ends) .. r.id
  if ends == 0 then
    call('SET', K .. 'b:' .. r.lane, v)
  else
    call('SET', K .. 'b:' .. r.lane, v, 'PX', math.max(0, math.ceil((ends - now) / 1000)) + 1000)
  end
end

local function vacate(r, epoch)
  if r.lane == '' then return end
  local of, _, id = busy_with(r.lane)
  if of == epoch and id == r.id then
    call('DEL', K .. 'b:' .. r.lane)
    lanes[r.lane] = true
  end
end

-- join puts a delivery where those of its state are; leave takes it out.
local function join(r)
  if r.state == READY then
    zadd('x:1:', r.action, r.number, r.id)
    if r.lane == '' then zadd('q:', r.action, r.due, r.id) else wait_in_lane(r) end
  elseif r.state == LEASED then
    zadd('l:', r.action, r.due, r.id)
  elseif r.state ~= DONE then
    zadd('x:' .. r.state .. ':', r.action, r.number, r.id)
  end
  count(r.state, r.action, 1)
end

local function leave(r)
  if r.state == READY then
    zrem('x:1:', r.action, r.id)
    zrem('q:', r.action, r.id)
  elseif r.state == LEASED then
    zrem('l:', r.action, r.id)
    vacate(r, r.epoch)
  elseif r.state ~= DONE then
    zrem('x:' .. r.state .. ':', r.action, r.id)
  end
  count(r.state, r.action, -1)
end

-- enter_lane gives a delivery its place in its lane; leave_lane takes it away.
local function enter_lane(r)
  if r.lane == '' then return end
  call('ZADD', K .. 'n:' .. r.lane, r.number, r.id)
  lanes[r.lane] = true
end

local function leave_lane(r)
  if r.lane == '' then return end
  redis.pcall('ZREM', K .. 'n:' .. r.lane, r.id)
  lanes[r.lane] = true
end

-- move changes the state; r.due must be set before, and epoch after it.
local function move(r, to)
  local was = open(r.state)
  leave(r)
  r.state = to
  if was and not open(to) then leave_lane(r) elseif open(to) and not was then enter_lane(r) end
  join(r)
end

-- attempt makes one out of what codec.go has packed behind the number.
local function attempt(number, rest) return pack('<I4', number) .. rest end

-- ended is an attempt that has no outcome of its plugin.
local function ended(r, outcome)
  return pack('<I4ddI2c0I4I4', r.starts, r.started, now, #outcome, outcome, 0, 0)
end

-- keep puts an attempt into h:ID, before the newest.
local function keep(r, a)
  if a == '' then return end
  grown = grown + #a + ATTEMPT_COST
  if type(redis.pcall('RPUSH', K .. 'h:' .. r.id, a)) ~= 'number' then -- overwritten from outside
    call('DEL', K .. 'h:' .. r.id)
    call('RPUSH', K .. 'h:' .. r.id, a)
  end
end

-- history makes an attempt the newest.
local function history(r, a)
  local reason, err, before = ending(r)
  keep(r, before)
  set_ending(r, reason, err, a)
end

-- created reads what codec.go packs of a new delivery: its record without what
-- the store adds. insert gives it a number and has it written.
local function created(id, state, flags, starts, rest)
  local r = parse(id, pack('<BBBBdddddI4', VERSION, state, 1, flags % 4 >= 2 and 2 or 0, 0, now, 0, now, 0, starts) .. NOBODY .. rest)
  r.skip = flags % 2 == 1
  return r
end

-- need_new asks for what a new delivery goes into.
local function need_new(r)
  need_action(r.action, r.state)
  if r.state == READY then
    need_lane(r.lane)
    if r.skip then need('zset', 'x:' .. CANCELLED .. ':' .. r.action) end
  end
end

local function insert(r, number)
  local before = r.skip and r.state == READY and r.lane ~= '' and first_of(r.lane)
  if before then
    r.state = CANCELLED
    set_ending(r, 'overlap', 'delivery ' .. before.id .. ' of the same rule, step and key was not finished', '')
  end
  r.number = number
  loaded[r.id] = r
  grown = grown + #r.raw + DELIVERY_COST
  save(r)
  zadd('ds', '', number, r.id)
  if open(r.state) then enter_lane(r) end
  join(r)
  wake = wake or r.state == READY
end

-- finish writes what was gathered, sees to the lanes and the sums of a call.
local function finish()
  flush()
  for lane in pairs(lanes) do elect(lane) end
  for action, m in pairs(moved) do
    for state, n in ipairs(m) do
      local f = state .. ':' .. action
      if n ~= 0 and call('HINCRBY', K .. 'counts', f, n) <= 0 then call('HDEL', K .. 'counts', f) end
    end
  end
  if grown ~= 0 then call('HINCRBY', K .. 'meta', 'bytes', grown) end
  if wake then call('PUBLISH', K .. 'wake', '') end
end
