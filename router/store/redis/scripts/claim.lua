-- Leases what is due.
--
-- ARGV[2..]  operation ('' for none), instance, start, holder, ttl in microseconds,
--            the number of wants and for each action and n.
-- Result     microseconds until something else is due (0: nothing known), then
--            id and record of each lease, oldest due first. The same operation
--            within a minute: the same leases, as far as they are still held.
--
-- After it: I1, I3, I5. A lease that had run out has its attempt in the record as
-- lost. A delivery whose record was deleted from outside leaves the queue.
local op, instance, start, holder, ttl = arg(), arg(), arg(), arg(), num()
local refused = fence(instance, start)
if refused then return refused end

local leases, dues = {}, {}

local function again()
  if op == '' then return false end
  local s = text('op:' .. op)
  if not s then return false end
  for _, o in ipairs(cmsgpack.unpack(s)) do
    local r = load(o[1])
    if r and r.state == LEASED and r.epoch == o[2] then leases[#leases + 1] = r end
  end
  return true
end

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

-- due lists what a want may get, in order: what is ready, and what was leased and
-- ran out. Only if there is anything are keys asked for that are written then.
local function due(want)
  local list = {}
  for _, from in ipairs({ 'q:', 'l:' }) do
    local page = redis.pcall('ZRANGEBYSCORE', K .. from .. want.action, '-inf', now, 'WITHSCORES', 'LIMIT', 0, want.n)
    if page.err or #page > 0 then
      need_shared()
      need_action(want.action)
    end
    for i = 1, #page, 2 do list[#list + 1] = { id = page[i], due = tonumber(page[i + 1]), from = from, state = from == 'q:' and READY or LEASED } end
  end
  return list
end

local function before(a, b)
  if a.due ~= b.due then return a.due < b.due end
  return a.r.number < b.r.number
end

local function sort(list)
  for i = 2, #list do
    if before(list[i], list[i - 1]) then
      table.sort(list, before)
      return
    end
  end
end

local wants = {}
for i = 1, num() do
  wants[i] = { action = arg(), n = num() }
end
if not again() then
  local all, ids = {}, {}
  for i, want in ipairs(wants) do
    all[i] = due(want)
    for _, d in ipairs(all[i]) do ids[#ids + 1] = d.id end
  end
  load_all(ids)
  local chosen = {}
  for i, want in ipairs(wants) do
    local list = {}
    for _, d in ipairs(all[i]) do
      d.r = loaded[d.id]
      if d.r and d.r.action == want.action and d.r.state == d.state then list[#list + 1] = d else zrem(d.from, want.action, d.id) end
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

local wait = 0
for _, want in ipairs(wants) do
  for _, from in ipairs({ 'q:', 'l:' }) do
    local first = call('ZRANGE', K .. from .. want.action, 0, 0, 'WITHSCORES')
    if first[2] and tonumber(first[2]) < math.huge then
      local d = math.max(1, tonumber(first[2]) - now)
      if wait == 0 or d < wait then wait = d end
    end
  end
end
local out = { string.format('%.0f', wait) }
for _, r in ipairs(leases) do
  out[#out + 1] = r.id
  out[#out + 1] = r.raw
end
return out
