-- Leases what is due. Its first half is due.lua.
--
-- ARGV[2..]  operation ('' for none), instance, start, holder, ttl in microseconds,
--            the number of wants and for each action and n.
-- Result     microseconds until something else is due (0: nothing known), then
--            id and record of each lease, oldest due first. The same operation
--            within a minute: the same leases, as far as they are still held.
--
-- After it: I1, I3, I5. A lease that had run out has its attempt in the record as
-- lost. A delivery whose record was deleted from outside leaves the queue.
local leases = {}

local ends = now + ttl
local epoch
local function lease(r)
  local from = r.state
  if from == LEASED then
    history(r, ended(r, 'lost'))
    r.uncertain = true
  end
  r.epoch, r.started, r.due, r.settled, r.starts, r.holder, r.born = epoch, now, ends, 0, r.starts + 1, holder, false
  if from == LEASED then
    zadd('l:', r.action, ends, r.id)
  else
    move(r, LEASED)
  end
  occupy(r, 0)
  save(r)
  leases[#leases + 1] = r
end

local function earlier(a, b)
  if a.due ~= b.due then return a.due < b.due end
  return a.r.number < b.r.number
end

local function sort(list)
  for i = 2, #list do
    if earlier(list[i], list[i - 1]) then
      table.sort(list, earlier)
      return
    end
  end
end

if before then
  for _, o in ipairs(before) do
    local r = load(o[1])
    if r and r.state == LEASED and r.epoch == o[2] then leases[#leases + 1] = r end
  end
else
  local ids, chosen = {}, {}
  for _, list in ipairs(dues) do
    for _, d in ipairs(list) do ids[#ids + 1] = d.id end
  end
  load_all(ids)
  for i, want in ipairs(wants) do
    local list = {}
    for _, d in ipairs(dues[i]) do
      d.r = loaded[d.id]
      if d.r and d.r.action == want.action and d.r.state == d.state then list[#list + 1] = d else zrem(d.index, want.action, d.id) end
    end
    sort(list)
    for j = 1, math.min(want.n, #list) do chosen[#chosen + 1] = list[j] end
  end
  sort(chosen)
  if #chosen > 0 then epoch = new_epoch() end
  for _, d in ipairs(chosen) do lease(d.r) end
  if op ~= '' and #leases > 0 then
    local kept = {}
    for i, r in ipairs(leases) do kept[i] = { r.id, r.epoch } end
    call('SET', K .. 'op:' .. op, cmsgpack.pack(kept), 'PX', 60000)
  end
  finish()
end

local out = { until_due() }
for _, r in ipairs(leases) do
  out[#out + 1] = r.id
  out[#out + 1] = r.raw
end
return out
