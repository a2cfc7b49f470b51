-- Carries out what people order.
--
-- ARGV[2..]  operation, the number of changes, for each: id, kind (1 retry,
--            2 cancel, 3 expand, 4 bury), from, reason, error; 0 or 1 followed by
--            action, lane and call of the call to put in place; the number of further
--            deliveries and each as read_delivery takes it.
-- Result     for each 1 done, 2 refused, 3 no such delivery. The same operation
--            within a minute: the same result.
--
-- After it: I1-I5. A retry raises the epoch, so that an attempt which a cancel
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
  for i = 1, num() do c.also[i] = read_delivery('') end
  return c
end

local function also(r, c)
  local ids = {}
  for i, d in ipairs(c.also) do
    d.event = r.event
    insert(d, dseq)
    dseq = dseq + 1
    ids[i] = struct.pack('Bc0', #d.id, d.id)
  end
  if #ids > 0 then call('APPEND', K .. 'l:' .. r.event, table.concat(ids)) end
end

local kinds = {}

kinds[1] = function(r, c)
  if r.state ~= DEAD and r.state ~= HELD and r.state ~= CANCELLED then return 2 end
  if r.count > 0 or call('EXISTS', K .. 'e:' .. r.event) == 0 then return 2 end
  unindex(r)
  if r.state ~= CANCELLED or r.settled ~= 0 or r.due <= now then r.epoch, r.settled, r.due = new_epoch(), 1, now end
  r.state, r.reason, r.budget, r.budget_from, r.crashes, r.uncertain = READY, '', now, r.attempts, 0, false
  if c.replace then r.action, r.lane, r.call = c.replace.action, c.replace.lane, c.replace.call end
  give_way(r.lane)
  index(r)
  save(r, true)
  also(r, c)
  wake = true
  return 1
end

kinds[2] = function(r)
  local ends = 0
  if r.state == LEASED then
    history(r, false, r.starts, r.started, now, 'cancelled', '', '')
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
  if r.state ~= HELD or r.reason ~= 'fan_out' or r.expanded ~= c.from then return 2 end
  if call('EXISTS', K .. 'e:' .. r.event) == 0 then return 2 end
  also(r, c)
  r.expanded = r.expanded + #c.also
  if r.expanded >= r.count then move(r, DONE) end
  save(r)
  return 1
end

kinds[4] = function(r, c)
  if r.state == LEASED and r.due <= now then
    history(r, false, r.starts, r.started, now, 'lost', '', '')
    r.epoch, r.settled, r.uncertain = new_epoch(), 1, false
  elseif r.state ~= READY then
    return 2
  end
  r.reason, r.error = c.reason, c.error
  move(r, DEAD)
  save(r, true)
  return 1
end

local changes, loaded = {}, {}
for i = 1, num() do
  local c = read_change()
  changes[i] = c
  local r = loaded[c.id] or load(c.id)
  loaded[c.id] = r
  if r then
    for g = DEAD, CANCELLED do need_action(r.action, g) end
    need_lane(r.lane)
    if c.replace then
      need_action(c.replace.action)
      need_lane(c.replace.lane)
    end
    if #c.also > 0 then need('string', 'l:' .. r.event) end
  end
  for _, d in ipairs(c.also) do need_new(d) end
end

local out = {}
for i, c in ipairs(changes) do
  local r = loaded[c.id]
  out[i] = r and kinds[c.kind](r, c) or 3
end
call('HSET', K .. 'meta', 'dseq', dseq)
call('SET', K .. 'op:' .. op, cmsgpack.pack(out), 'PX', 60000)
finish()
return out
