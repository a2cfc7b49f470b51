-- Writes the events of a batch with all they cause, each for itself. What they and
-- the calls of their deliveries are was written just before, in the same transaction
-- (e:UID, c:ID); of what is refused that is deleted again.
--
-- ARGV[2..]  instance ('' if nothing is to be leased), start and holder; the number
--            of actions and each; the number of revisions and each; the number of
--            Txns, their uids, the keys of their marks (m: for none), and then for
--            each: what its mark holds behind the time, digest and uid; packed,
--            dedup and how long leases last in microseconds, flags (1 strict, 2 there
--            is more to it than deliveries that are ready or done), number of
--            its revision (0: none), the hash of its id (4 bytes), bytes written
--            before, how many states and deliveries, and of each delivery its state,
--            flags (1 skip, 2 suspect, 4 a lane, 8 lease it if it can start), number
--            of its action and starts; then key, packed
--            (version read, new version, 8 bytes each, expiry: 0 for never, below 0: that long
--            from now) and data
--            of each state; id and the rest of the record, from attempts on, of each
--            delivery. With an empty uid there is no event, and only the states are
--            written.
-- Result     for each Txn its status, one byte (1 new, 2 duplicate, 3 conflict, 4 stale,
--            5 this very uid is stored); for each delivery of all Txns, if any was
--            leased, 1 if it was now, 2 if it was when it was written before, else 0,
--            one byte; the epoch of the leases given now; then in order the uid of
--            the first for each 2 and 3, and the epoch of each lease given before.
--            Or an error, and nothing is written.
--
-- After it: I1, I2, I4, I5; an identity has a mark only if its event was written; a
-- uid that is stored is not written again, nor are states without an event that
-- have the new versions already, so a call may be repeated.
local SEGMENT = 1024
local ZERO = string.rep('\0', 8)
local META = '<ddBI2c4I4I2I2'

local function list()
  local n = num()
  local from = at + 1
  at = at + n
  return { unpack(ARGV, from, at) }
end

local instance, start, holder = arg(), arg(), arg()
local actions, revisions = list(), list()
local n = num()
local uids, keys = at, at + n -- what is before the first of them in ARGV
at = at + 2 * n

-- deliveries is how many there are in all.
local deliveries = 0

local function read_txn(i)
  local m = ARGV[at + 2]
  local dedup, lease, flags, revision, hash, bytes, states, count_, rest = unpack_(META, m)
  local t = {
    uid = ARGV[uids + i], key = ARGV[keys + i], mark = ARGV[at + 1], meta = m, at = at + 2, rest = rest,
    dedup = dedup, lease = lease, strict = flags % 2 == 1, plain = flags < 2, revision = revision, hash = hash, bytes = bytes,
    states = states, deliveries = count_, first = deliveries, laned = false,
  }
  at = t.at + 3 * states + 2 * count_
  deliveries = deliveries + count_
  return t
end

-- delivery gives the j-th one of a Txn: id, rest, state, flags, action, starts.
local function delivery(t, j)
  local from = t.at + 3 * t.states + 2 * j - 1
  return ARGV[from], ARGV[from + 1], unpack_('<BBI2I4', t.meta, t.rest + 8 * (j - 1))
end

local txns = {}
for i = 1, n do txns[i] = read_txn(i) end

-- ask runs a command on a part of ARGV, at most a thousand at a time; key may be
-- nil.
local function ask(command, key, from)
  local out = {}
  for i = from + 1, from + n, 1000 do
    local to = math.min(i + 999, from + n)
    local got = key and call(command, key, unpack(ARGV, i, to)) or not key and call(command, unpack(ARGV, i, to))
    if n <= 1000 then return got end
    for j = 1, #got do out[#out + 1] = got[j] end
  end
  return out
end

-- written tells which Txns an earlier call has written.
local written = {}

local function undo(t)
  if t.uid == '' or written[t.uid] then return end
  local gone = { K .. 'e:' .. t.uid }
  for j = 1, t.deliveries do gone[j + 1] = K .. 'c:' .. delivery(t, j) end
  many('DEL', nil, gone)
end

-- undo_unless_there does without evs, which says what was written but was deleted
-- or overwritten from outside: a delivery that is there says so too.
local function undo_unless_there(t)
  local has = false
  for j = 1, t.deliveries do has = has or call('EXISTS', K .. 'd:' .. delivery(t, j)) == 1 end
  if not has then undo(t) end
end

local meta = {}

local function check_txn(t)
  for i = 1, t.states do need('string', 's:' .. ARGV[t.at + 3 * i - 2]) end
  for j = 1, t.deliveries do
    local id, rest, state, flags, action, starts = delivery(t, j)
    if state > DONE then need('zset', 'x:' .. state .. ':' .. actions[action]) end
    if flags % 8 >= 4 then
      t.laned = t.laned or {}
      t.laned[j] = created(id, state, flags % 4, starts, rest)
      need_new(t.laned[j])
    end
  end
end

local function check()
  need_shared()
  need('zset', 'ds')
  if instance ~= '' then need('hash', 'inst') end
  if #revisions > 0 then need('hash', 'revrefs') end
  for _, action in ipairs(actions) do need_action(action) end
  for _, t in ipairs(txns) do
    if not t.plain then check_txn(t) end
  end
  meta = call('HMGET', K .. 'meta', 'seq', 'dseq', 'full', 'layout')
  meta[1], meta[2] = tonumber(meta[1]) or 0, tonumber(meta[2]) or 0
  for s = math.floor(meta[1] / SEGMENT), math.floor((meta[1] + n) / SEGMENT) do need('string', 'i:' .. s) end
  if meta[3] == '1' then error({ err = 'PMFULL nothing finished is left to remove' }) end
  if meta[4] ~= LAYOUT and meta[1] + meta[2] > 0 then error({ err = 'PMLAYOUT ' .. (meta[4] or '1') }) end
end

local marks = ask('MGET', nil, keys)
local evs_usable, problem = pcall(need, 'zset', 'evs')
if evs_usable then
  for i, score in ipairs(ask('ZMSCORE', K .. 'evs', uids)) do
    if score then written[ARGV[uids + i]] = true end
  end
  local fine
  fine, problem = pcall(check)
  if fine then problem = nil end
end
if problem then
  for _, t in ipairs(txns) do
    if evs_usable then undo(t) else undo_unless_there(t) end
  end
  return type(problem) == 'table' and problem or redis.error_reply(problem)
end
local seq, dseq = meta[1], meta[2]

-- What this call has marked and stored so far.
local marked_here, stored_here = {}, {}

local function marked(t, m)
  m = t.mark ~= '' and (marked_here[t.key] or m)
  if not m then return end
  local expires = unpack_('<d', m)
  if expires <= now then return end
  local uid = sub(m, 25)
  if uid == t.uid then return 5, uid end
  if t.strict and sub(m, 9, 24) ~= sub(t.mark, 1, 16) then return 3, uid end
  if call('EXISTS', K .. 'e:' .. uid) == 1 then redis.pcall('INCR', K .. 'u:' .. uid) end
  return 2, uid
end

-- state gives key, version read, new version and expiry, packed, and data.
local function state(t, i)
  local from = t.at + 3 * i - 2
  local v = ARGV[from + 1]
  local expires = unpack_('<d', v, 17)
  if expires < 0 then expires = now - expires end
  return ARGV[from], sub(v, 1, 8), sub(v, 9, 16), expires, ARGV[from + 2]
end

local function stale(t)
  for i = 1, t.states do
    local key, read = state(t, i)
    local has = call('GET', K .. 's:' .. key)
    if not has then
      if read ~= ZERO then return true end
    else
      local expires, version = unpack_('<dc8', has)
      local expired = expires ~= 0 and expires <= now
      if version ~= read and not (expired and read == ZERO) then return true end
    end
  end
end

-- repeated tells whether states without an event were written by this very Txn:
-- no two writes of a key use one version.
local function repeated(t)
  for i = 1, t.states do
    local key, _, version = state(t, i)
    local has = call('GET', K .. 's:' .. key)
    if not has or sub(has, 9, 16) ~= version then return false end
  end
  return true
end

local function write_states(t)
  for i = 1, t.states do
    local key, _, version, expires, data = state(t, i)
    local v = pack('<d', expires) .. version .. data
    if expires == 0 then
      call('SET', K .. 's:' .. key, v)
    else
      call('SET', K .. 's:' .. key, v, 'PX', math.max(0, math.ceil((expires - now) / 1000)) + 1000)
    end
  end
end

-- The beginnings of records, which many share; see FRONT.
local begins = {}

local function begin(state, flags)
  local k = state * 8 + flags
  local s = begins[k]
  if not s then
    s = pack('<BBBBdddd', VERSION, state, 1, flags % 4 >= 2 and 2 or 0, 0, now, 0, now)
    begins[k] = s
  end
  return s
end

-- due tells whether something of an action is due, what this call has left to be
-- claimed included. Nothing is leased before it.
local dues = {}
local function due(action)
  local d = dues[action]
  if d == nil then
    d = false
    for _, index in ipairs({ 'q:', 'l:' }) do
      d = d or #call('ZRANGEBYSCORE', K .. index .. action, '-inf', now, 'LIMIT', 0, 1) > 0
    end
    dues[action] = d
  end
  return d
end

local may_lease = instance ~= '' and not fence(instance, start)
local epoch
local leased_begins = {}

-- lease_begin is the beginning of a record that is leased as it is written.
local function lease_begin(lease, flags)
  local k = lease * 2 + (flags % 4 >= 2 and 1 or 0)
  local b = leased_begins[k]
  if not b then
    epoch = epoch or new_epoch()
    b = { pack('<BBBBdddd', VERSION, LEASED, 0, flags % 4 >= 2 and 6 or 4, epoch, now + lease, now, now), string.format('%.0f', now + lease) }
    leased_begins[k] = b
  end
  return b
end

local ds, evs, hashes, references, windows = { n = 0 }, { n = 0 }, {}, {}, {}
local nowtext = string.format('%.0f', now)

-- add notes a delivery that is not in a lane, and tells whether it is leased.
local function add(lease, id, rest, state, flags, action, starts)
  action = actions[action]
  local starts_now = flags >= 8 and may_lease and not due(action)
  local s
  if starts_now then
    local b = lease_begin(lease, flags)
    s = b[1] .. pack('<dI4', dseq, starts + 1) .. holder .. rest
    zadd('l:', action, b[2], id)
    state = LEASED
  else
    s = begin(state, flags) .. pack('<dI4', dseq, starts) .. NOBODY .. rest
    if state == READY then
      zadd('x:1:', action, dseq, id)
      zadd('q:', action, nowtext, id)
      dues[action], wake = true, true
    elseif state ~= DONE then
      zadd('x:' .. state .. ':', action, dseq, id)
    end
  end
  grown = grown + #s + DELIVERY_COST
  push(sets, K .. 'd:' .. id, s)
  push(ds, dseq, id)
  count(state, action, 1)
  return starts_now
end

local function mark(t)
  local w = windows[t.dedup]
  if not w then
    w = { pack('<d', now + t.dedup), string.format('%.0f', math.ceil(t.dedup / 1000) + 1000) }
    windows[t.dedup] = w
  end
  local v = w[1] .. t.mark
  marked_here[t.key] = v
  call('SET', t.key, v, 'PX', w[2])
end

-- leased has a byte for each delivery that was leased.
local leased = {}

local function write(t)
  write_states(t)
  for j = 1, t.deliveries do
    local laned = t.laned and t.laned[j]
    if laned then
      insert(laned, dseq)
      if laned.state == READY then dues[laned.action] = true end
    elseif add(t.lease, delivery(t, j)) then
      leased[t.first + j] = '\1'
    end
    dseq = dseq + 1
  end
  push(evs, seq, t.uid)
  hashes[seq - meta[1] + 1] = t.hash
  seq = seq + 1
  if t.revision > 0 then references[t.revision] = (references[t.revision] or 0) + 1 end
  grown = grown + t.bytes + EVENT_COST
  stored_here[t.uid] = true
  if t.mark ~= '' then mark(t) end
end

-- write_ids puts the hashes of ids into the segments of their numbers.
local function write_ids(first)
  local from = 1
  while from <= #hashes do
    local number = first + from - 1
    local to = math.min(#hashes, from + SEGMENT - number % SEGMENT - 1)
    call('SETRANGE', K .. 'i:' .. math.floor(number / SEGMENT), number % SEGMENT * 4, table.concat(hashes, '', from, to))
    from = to + 1
  end
end

local function commit(t, m)
  if t.uid == '' then
    if repeated(t) then return 1 end
    if stale(t) then return 4 end
    write_states(t)
    return 1
  end
  local status, uid = marked(t, m)
  if status then return status, uid end
  if written[t.uid] or stored_here[t.uid] then return 5 end
  if stale(t) then return 4 end
  write(t)
  return 1
end

local statuses, out = {}, { '', '', '' }

-- again gives the leases that were given when a Txn was written, as far as they
-- are held.
local function again(t)
  for j = 1, t.deliveries do
    local id, _, _, flags = delivery(t, j)
    local r = flags >= 8 and may_lease and load(id)
    if r and r.state == LEASED and r.born and r.holder == holder then
      leased[t.first + j] = '\2'
      out[#out + 1] = string.format('%.0f', r.epoch)
    end
  end
end

for i, t in ipairs(txns) do
  local status, uid = commit(t, marks[i])
  statuses[i] = string.char(status)
  if status == 2 or status == 3 then
    out[#out + 1] = uid
  elseif status == 5 and not stored_here[t.uid] then
    again(t)
  end
end
for i, t in ipairs(txns) do
  if statuses[i] ~= '\1' and not stored_here[t.uid] then
    if statuses[i] == '\5' then undo_unless_there(t) else undo(t) end
  end
end
many('ZADD', K .. 'evs', evs)
many('ZADD', K .. 'ds', ds)
write_ids(meta[1])
for revision, k in pairs(references) do call('HINCRBY', K .. 'revrefs', revisions[revision], k) end
call('HSET', K .. 'meta', 'seq', seq, 'dseq', dseq, 'layout', LAYOUT)
finish()
out[1] = table.concat(statuses)
if next(leased) then
  for i = 1, deliveries do leased[i] = leased[i] or '\0' end
  out[2], out[3] = table.concat(leased, '', 1, deliveries), string.format('%.0f', epoch or 0)
end
return out
