-- Leases what is due.
--
-- ARGV[2..]  operation ('' for none), instance, start, ttl in microseconds, the
--            number of wants and for each action and n.
-- Result     microseconds until something else is due (0: nothing known), then
--            for each lease its id, its record, its event ('' when it is missing, see
--            below) and the lost attempt ('' for none); oldest due first. The
--            same operation within a minute: the same leases, as far as they are
--            still held.
--
-- After it: I1-I3, I5. A lease that had run out has its attempt in the history as
-- lost. A delivery whose event or record was deleted from outside is not
-- leased: it is dead with an error that says so, or leaves the queue.
local op, instance, start, ttl = arg(), arg(), arg(), num()
need_shared()
need('hash', 'inst')
local refused = fence(instance, start)
if refused then return refused end

local leases = {} -- { r, event, lost, due }

local function again()
  if op == '' then return false end
  local s = text('op:' .. op)
  if not s then return false end
  for _, o in ipairs(cmsgpack.unpack(s)) do
    local r = load(o[1])
    if r and r.state == LEASED and r.epoch == o[2] then
      leases[#leases + 1] = { r = r, event = text('e:' .. r.event) or '', lost = o[3] and last(r) or '' }
    end
  end
  return true
end

local epoch
local function lease(r, due)
  local event = text('e:' .. r.event)
  if not event then
    r.error = 'the event is missing from Redis: its key was deleted from outside'
    move(r, DEAD)
    save(r, true)
    return
  end
  local lost = ''
  if r.state == LEASED then
    history(r, false, r.starts, r.started, now, 'lost', '', '')
    r.uncertain = true
  end
  if r.uncertain then lost = last(r) or '' end
  if not epoch then epoch = math.max(now, (tonumber(call('HGET', K .. 'meta', 'epoch')) or 0) + 1) else epoch = epoch + 1 end
  r.epoch, r.started, r.due, r.settled, r.starts = epoch, now, now + ttl, 0, r.starts + 1
  move(r, LEASED)
  occupy(r, 0)
  save(r)
  call('HSET', K .. 'leases', r.id, instance)
  leases[#leases + 1] = { r = r, event = event, lost = lost, due = due }
end

local wants = {}
for i = 1, num() do
  wants[i] = { action = arg(), n = num() }
  need_action(wants[i].action, DEAD)
end
if not again() then
  for _, want in ipairs(wants) do
    local q = K .. 'q:' .. want.action
    local due = call('ZRANGEBYSCORE', q, '-inf', now, 'WITHSCORES', 'LIMIT', 0, want.n)
    for i = 1, #due, 2 do
      local r = load(due[i])
      if r and r.action == want.action and group(r.state) == 'open' then
        lease(r, tonumber(due[i + 1]))
      else
        call('ZREM', q, due[i])
      end
    end
  end
  table.sort(leases, function(a, b)
    if a.due ~= b.due then return a.due < b.due end
    return a.r.seq < b.r.seq
  end)
  if epoch then call('HSET', K .. 'meta', 'epoch', epoch) end
  if op ~= '' and #leases > 0 then
    local kept = {}
    for i, l in ipairs(leases) do kept[i] = { l.r.id, l.r.epoch, l.lost ~= '' } end
    call('SET', K .. 'op:' .. op, cmsgpack.pack(kept), 'PX', 60000)
  end
  finish()
end

local wait = 0
for _, want in ipairs(wants) do
  local first = call('ZRANGE', K .. 'q:' .. want.action, 0, 0, 'WITHSCORES')
  if first[2] and tonumber(first[2]) < math.huge then
    local d = math.max(1, tonumber(first[2]) - now)
    if wait == 0 or d < wait then wait = d end
  end
end
local out = { string.format('%.0f', wait) }
for _, l in ipairs(leases) do
  out[#out + 1] = l.r.id
  out[#out + 1] = l.r.raw
  out[#out + 1] = l.event
  out[#out + 1] = l.lost
end
return out
