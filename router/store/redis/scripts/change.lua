-- Carries out what people order.
--
-- ARGV[2..]  operation, the number of changes, for each: id, kind (1 retry,
--            2 cancel, 3 expand, 4 bury), from, reason, error; 0 or 1 followed by
--            action, lane and call of the call to put in place; the number of further
--            deliveries and of each id; state, flags (1 skip, 2 suspect) and starts,
--            packed; the rest of its record, from attempts on; and its call.
-- Result     for each 1 done, 2 refused, 3 no such delivery. The same operation
--            within a minute: the same result.
--
-- After it: I1, I3-I5. A retry raises the epoch, so that an attempt which a cancel
-- overtook cannot settle it any more. While such an attempt may still run on
-- some router the delivery is not due and keeps the epoch: settle.lua makes it
-- due when the attempt ends, and else it is when the lease has run out.
local op = arg()
need_shared()
need('zset', 'ds')
local before = text('op:' .. op)
if before then return cmsgpack.unpack(before) end
local dseq = tonumber(call('HGET', K .. 'meta', 'dseq')) or 0

local function read_change()
  local c = { id = arg(), kind = num(), from = num(), reason = arg(), error = arg(), also = {} }
  if arg() == '1' then c.replace = { action = arg(), lane = arg(), call = arg() } end
  for i = 1, num() do
    local id, state, flags, starts = arg(), unpack_('<BBI4', arg())
    c.also[i] = created(id, state, flags, starts, arg())
    c.also[i].call = arg()
  end
  return c
end

-- call_of splits c:ID in two: the call, and what never changes.
local function call_of(r)
  local s = text('c:' .. r.id) or string.rep('\0', 20) .. '0' -- deleted from outside
  local call_, rest = unpack_('<I4c0', s)
  return call_, sub(s, rest)
end

local function set_call(r, m, s, static)
  s = pack('<I4', #s) .. s .. static
  grown = grown + #s - m.calls
  m.calls = #s
  push(sets, K .. 'c:' .. r.id, s)
end

local function also(r, c)
  local ids, event = {}, middle(r).event
  for i, d in ipairs(c.also) do
    local m = middle(d)
    m.event = event
    set_middle(d, m)
    grown = grown + #d.call
    push(sets, K .. 'c:' .. d.id, d.call)
    insert(d, dseq)
    dseq = dseq + 1
    ids[i] = pack('Bc0', #d.id, d.id)
  end
  if #ids > 0 then call('APPEND', K .. 'l:' .. event, table.concat(ids)) end
end

local kinds = {}

kinds[1] = function(r, c)
  if r.state ~= DEAD and r.state ~= HELD and r.state ~= CANCELLED then return 2 end
  local m = middle(r)
  if m.count > 0 or call('EXISTS', K .. 'e:' .. m.event) == 0 then return 2 end
  leave(r)
  if r.state ~= CANCELLED or r.settled ~= 0 or r.due <= now then r.epoch, r.settled, r.due = new_epoch(), 1, now end
  local _, err, a = ending(r)
  r.state, r.crashes, r.uncertain = READY, 0, false
  m.budget, m.budget_from = now, r.attempts
  if c.replace then
    local _, static = call_of(r)
    set_call(r, m, c.replace.call, static)
    r.action, r.lane = c.replace.action, c.replace.lane
  end
  set_middle(r, m)
  set_ending(r, '', err, a)
  give_way(r.lane)
  enter_lane(r)
  join(r)
  save(r)
  also(r, c)
  wake = true
  return 1
end

kinds[2] = function(r)
  local ends = 0
  if r.state == LEASED then
    history(r, ended(r, 'cancelled'))
    r.settled, ends = 0, r.due
  elseif r.state ~= READY and r.state ~= HELD and r.state ~= DEAD then
    return 2
  end
  move(r, CANCELLED)
  if ends > now then occupy(r, ends) end
  save(r)
  return 1
end

kinds[3] = function(r, c)
  local m = middle(r)
  if r.state ~= HELD or ending(r) ~= 'fan_out' or m.expanded ~= c.from then return 2 end
  if call('EXISTS', K .. 'e:' .. m.event) == 0 then return 2 end
  also(r, c)
  m.expanded = m.expanded + #c.also
  set_middle(r, m)
  if m.expanded >= m.count then move(r, DONE) end
  save(r)
  return 1
end

kinds[4] = function(r, c)
  if r.state == LEASED and r.due <= now then
    history(r, ended(r, 'lost'))
    r.epoch, r.settled, r.uncertain = new_epoch(), 1, false
  elseif r.state ~= READY then
    return 2
  end
  local _, _, a = ending(r)
  set_ending(r, c.reason, c.error, a)
  move(r, DEAD)
  save(r)
  return 1
end

local changes = {}
for i = 1, num() do
  local c = read_change()
  changes[i] = c
  local r = load(c.id)
  if r then
    for g = DEAD, CANCELLED do need_action(r.action, g) end
    need_lane(r.lane)
    if c.replace then
      need_action(c.replace.action)
      need_lane(c.replace.lane)
    end
    if #c.also > 0 then need('string', 'l:' .. middle(r).event) end
  end
  for _, d in ipairs(c.also) do need_new(d) end
end

local out = {}
for i, c in ipairs(changes) do
  local r = load(c.id)
  out[i] = r and kinds[c.kind](r, c) or 3
  flush() -- the next one may be of the same delivery
end
call('HSET', K .. 'meta', 'dseq', dseq)
call('SET', K .. 'op:' .. op, cmsgpack.pack(out), 'PX', 60000)
finish()
return out
