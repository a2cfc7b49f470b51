-- What the scripts share. Each script is this text followed by its own.
--
-- KEYS[1]  the prefix {pm:NAME}: that every key begins with. The keys below it
--          are those of keys.go, and so they are all in one slot.
-- ARGV[1]  the time in microseconds since 1970, or 0 for the server's clock,
--          which is read once.
--
-- Structures (struct.pack, little endian); codec.go reads them:
--   delivery  RECORD: version, state, settled, flags (1 uncertain, 2 suspect),
--             epoch, due, started, updated, created, budget, seq, budget_from,
--             attempts, starts, crashes, count, expanded, then with their
--             lengths action, event uid, reason, error, call and static; the lane
--             too if the version is 2. What is before action is HEAD bytes long
--             and is overwritten in place.
--   event     EVENT: version, duplicates, received, seq, then with their
--             lengths the ids of its deliveries and the revision, then the rest.
--   attempt   number, started, ended, outcome, error, output.
--   busy      b:LANE: epoch of the lease, until, the delivery's id; see I5.
--
-- Invariants between scripts:
--   I1  a delivery that is ready or leased is in q:ACTION and x:open:ACTION;
--       one that is dead, held or cancelled is in x:STATE:ACTION; every one is
--       in ds. counts agrees with all of these.
--   I2  a delivery is in leases exactly while it is leased.
--   I3  the epoch of a delivery never falls, and no two leases share one.
--   I4  an event that exists is in evs; its deliveries are those it lists and
--       those in l:UID. An unfinished or dead delivery has its event.
--   I5  a delivery of a lane that is ready or leased is in n:LANE. At most one of
--       them is in its q:ACTION at a time, the others are there at infinity: the
--       leased one, which b:LANE names with until 0; else the first, at its due
--       time. Where a delivery was cancelled while it was leased, b:LANE names it
--       until its outcome comes or its lease would have run out, and the first
--       is due then at the earliest. What a call changes of a lane, finish
--       completes.
local K, call = KEYS[1], redis.call
local now = tonumber(ARGV[1])
if now == 0 then
  local t = call('TIME')
  now = t[1] * 1000000 + t[2]
end

local READY, LEASED, DONE, DEAD, HELD, CANCELLED = 1, 2, 3, 4, 5, 6
local HEAD = 84
local FIXED = '<BBBBdddddddI4I4I4I4I4I4'
local TAIL = 'I2c0I2c0I2c0I4c0I4c0I4c0'
local RECORD = FIXED .. TAIL
local EVENT = '<BI4ddI4c0I2c0'
local BUSY = '<dd'
local ATTEMPT = '<I4ddI2c0I4c0I4c0'
-- What one of these takes in Redis beyond its own bytes: keys, index entries.
local EVENT_COST, DELIVERY_COST, ATTEMPT_COST = 320, 480, 64

local at = 1
local function arg()
  at = at + 1
  return ARGV[at]
end
local function num() return tonumber(arg()) end

-- need refuses a shared key that holds a value of another type, overwritten from
-- outside: a call that met it after its first write would be half done, so a
-- script asks for all that it may touch before it. What belongs to one record
-- only (d:, e:, h:, m:) is read with pcall instead, so that the damage stays there.
local needed = {}
local function need(kind, key)
  if needed[key] then return end
  local has = call('TYPE', K .. key).ok
  if has ~= kind and has ~= 'none' then error({ err = 'PMTYPE ' .. K .. key .. ' holds a ' .. has .. ' instead of a ' .. kind }) end
  needed[key] = true
end

local function need_shared()
  need('hash', 'meta')
  need('hash', 'counts')
  need('hash', 'leases')
end

-- need_action asks for the queue of an action and for its index of what is open
-- and, unless g is nil or 'open', of another group.
local function need_action(action, g)
  need('zset', 'q:' .. action)
  need('zset', 'x:open:' .. action)
  if g and g ~= 'open' then need('zset', 'x:' .. g .. ':' .. action) end
end

-- fence refuses a router whose instance has started anew since, or whose
-- registration is gone with everything else.
local function fence(instance, start)
  local has = call('HGET', K .. 'inst', instance)
  if not has then return redis.error_reply('PMGONE this start is not registered') end
  if string.match(has, '^%d+') ~= start then return redis.error_reply('PMFENCED a newer start is registered') end
end

-- What is summed up over a call and written by finish, which every call that
-- changes something ends with.
local grown, moved, wake = 0, {}, false

local function count(state, action, n)
  local f = state .. ':' .. action
  moved[f] = (moved[f] or 0) + n
end

-- new_epoch is larger than any before, also when Redis has lost its last second
-- in a crash: it follows the clock.
local function new_epoch()
  local e = math.max(now, (tonumber(call('HGET', K .. 'meta', 'epoch')) or 0) + 1)
  call('HSET', K .. 'meta', 'epoch', e)
  return e
end

local function head(r)
  local flags = (r.uncertain and 1 or 0) + (r.suspect and 2 or 0)
  return struct.pack(FIXED, r.lane ~= '' and 2 or 1, r.state, r.settled, flags, r.epoch, r.due, r.started, r.updated, r.created, r.budget, r.seq,
    r.budget_from, r.attempts, r.starts, r.crashes, r.count, r.expanded)
end

local function whole(r)
  local lane = r.lane ~= '' and struct.pack('<I2c0', #r.lane, r.lane) or ''
  return head(r) .. struct.pack('<' .. TAIL, #r.action, r.action, #r.event, r.event, #r.reason, r.reason,
    #r.error, r.error, #r.call, r.call, #r.static, r.static) .. lane
end

-- text reads a string, nil if there is none or a value of another type.
local function text(key)
  local s = redis.pcall('GET', K .. key)
  return type(s) == 'string' and s or nil
end

-- load reads a delivery, nil if there is none.
local function load(id)
  local s = text('d:' .. id)
  if not s or #s < HEAD then return nil end
  local r, flags, version, rest = { id = id, raw = s, lane = '' }, 0, 0, 0
  version, r.state, r.settled, flags, r.epoch, r.due, r.started, r.updated, r.created, r.budget, r.seq,
    r.budget_from, r.attempts, r.starts, r.crashes, r.count, r.expanded,
    r.action, r.event, r.reason, r.error, r.call, r.static, rest = struct.unpack(RECORD, s)
  if version == 2 then r.lane = struct.unpack('<I2c0', s, rest) end
  r.uncertain, r.suspect = flags % 2 == 1, flags >= 2
  return r
end

-- save writes what changed in place; all of it when more than the head did.
local function save(r, all)
  r.updated = now
  if all then
    local s = whole(r)
    grown = grown + #s - #r.raw
    r.raw = s
    call('SET', K .. 'd:' .. r.id, s)
  else
    local h = head(r)
    r.raw = h .. string.sub(r.raw, HEAD + 1)
    call('SETRANGE', K .. 'd:' .. r.id, 0, h)
  end
end

local function group(state)
  if state == READY or state == LEASED then return 'open' end
  if state ~= DONE then return state end
end

-- need_lane asks for what is kept of a lane.
local function need_lane(lane)
  if lane == '' then return end
  need('zset', 'n:' .. lane)
  need('string', 'b:' .. lane)
end

-- The lanes that a call touches; finish looks whose turn it is.
local lanes = {}

-- first_of gives the first delivery of a lane, nil if there is none. What is
-- there and should not be leaves.
local function first_of(lane)
  while true do
    local ids = redis.pcall('ZRANGE', K .. 'n:' .. lane, 0, 0)
    if not ids[1] then return end
    local r = load(ids[1])
    if r and r.lane == lane and group(r.state) == 'open' then return r end
    call('ZREM', K .. 'n:' .. lane, ids[1])
  end
end

-- wait_in_lane has a delivery wait for others, or for finish to let it go.
local function wait_in_lane(r)
  redis.pcall('ZADD', K .. 'q:' .. r.action, 'inf', r.id)
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
  local epoch, ends, rest = struct.unpack(BUSY, s)
  return epoch, ends, string.sub(s, rest)
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
  local v = struct.pack(BUSY, r.epoch, ends) .. r.id
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

local function index(r)
  local g = group(r.state)
  if g then call('ZADD', K .. 'x:' .. g .. ':' .. r.action, r.seq, r.id) end
  if g == 'open' then
    if r.lane == '' then
      call('ZADD', K .. 'q:' .. r.action, r.due, r.id)
    else
      redis.pcall('ZADD', K .. 'n:' .. r.lane, r.seq, r.id)
      wait_in_lane(r)
    end
  end
  count(r.state, r.action, 1)
end

local function unindex(r)
  local g = group(r.state)
  if g then call('ZREM', K .. 'x:' .. g .. ':' .. r.action, r.id) end
  if g == 'open' then
    call('ZREM', K .. 'q:' .. r.action, r.id)
    if r.lane ~= '' then
      redis.pcall('ZREM', K .. 'n:' .. r.lane, r.id)
      lanes[r.lane] = true
    end
  end
  if r.state == LEASED then
    call('HDEL', K .. 'leases', r.id)
    vacate(r, r.epoch)
  end
  count(r.state, r.action, -1)
end

-- move changes the state; r.due must be set before.
local function move(r, to)
  if group(r.state) == 'open' and group(to) == 'open' then
    if r.state == LEASED and to ~= LEASED then
      call('HDEL', K .. 'leases', r.id)
      vacate(r, r.epoch)
    end
    count(r.state, r.action, -1)
    r.state = to
    count(to, r.action, 1)
    if r.lane ~= '' and to == READY then
      wait_in_lane(r)
    else
      call('ZADD', K .. 'q:' .. r.action, r.due, r.id)
    end
  else
    unindex(r)
    r.state = to
    index(r)
  end
end

-- last reads the newest attempt, nil if there is none.
local function last(r)
  local s = redis.pcall('LINDEX', K .. 'h:' .. r.id, -1)
  return type(s) == 'string' and s or nil
end

-- history adds an attempt, or puts it in place of the last one.
local function history(r, replace, number, started, ended, outcome, err, output)
  local s = struct.pack(ATTEMPT, number, started, ended, #outcome, outcome, #err, err, #output, output)
  grown = grown + #s + ATTEMPT_COST
  local before = replace and last(r)
  if before then
    grown = grown - #before - ATTEMPT_COST
    call('LSET', K .. 'h:' .. r.id, -1, s)
  elseif type(redis.pcall('RPUSH', K .. 'h:' .. r.id, s)) ~= 'number' then -- overwritten from outside
    call('DEL', K .. 'h:' .. r.id)
    call('RPUSH', K .. 'h:' .. r.id, s)
  end
end

-- read_delivery takes a new delivery from the arguments; codec.go writes them.
local function read_delivery(event)
  local r = {
    id = arg(), state = num(), action = arg(), reason = arg(), error = arg(), created = num(), budget = num(),
    budget_from = num(), attempts = num(), starts = num(), crashes = num(), suspect = arg() == '1',
    count = num(), expanded = num(), call = arg(), static = arg(), lane = arg(), skip = arg() == '1',
  }
  r.event, r.settled, r.uncertain, r.epoch, r.started, r.due, r.updated = event, 1, false, 0, 0, now, now
  return r
end

-- need_new asks for what a new delivery goes into.
local function need_new(r)
  local g = group(r.state)
  if g then need('zset', 'x:' .. g .. ':' .. r.action) end
  if g == 'open' then
    need('zset', 'q:' .. r.action)
    need_lane(r.lane)
    if r.skip then need('zset', 'x:' .. CANCELLED .. ':' .. r.action) end
  end
end

local function insert(r, seq)
  local before = r.skip and r.state == READY and r.lane ~= '' and first_of(r.lane)
  if before then
    r.state, r.reason = CANCELLED, 'overlap'
    r.error = 'delivery ' .. before.id .. ' of the same rule, step and key was not finished'
  end
  r.seq = seq
  local s = whole(r)
  grown = grown + #s + DELIVERY_COST
  call('SET', K .. 'd:' .. r.id, s)
  call('ZADD', K .. 'ds', seq, r.id)
  index(r)
  wake = wake or r.state == READY
end

-- finish sees to the lanes and the sums of a call.
local function finish()
  for lane in pairs(lanes) do elect(lane) end
  for f, n in pairs(moved) do
    if n ~= 0 and call('HINCRBY', K .. 'counts', f, n) <= 0 then call('HDEL', K .. 'counts', f) end
  end
  if grown ~= 0 then call('HINCRBY', K .. 'meta', 'bytes', grown) end
  if wake then call('PUBLISH', K .. 'wake', '') end
end
