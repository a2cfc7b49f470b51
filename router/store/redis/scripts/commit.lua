-- Writes the events of a batch with all they cause, each for itself.
--
-- ARGV[2..]  the number of Txns, then for each: the mark's name ('' for none),
--            its duration in microseconds, strict (0, 1), digest, uid, received,
--            revision, the hash of the id (4 bytes), the rest of the event; the
--            number of states and for each key, version read and new version
--            (8 bytes each), expiry (0 for never, below 0: that long from now), data; the number of
--            deliveries and each as read_delivery takes it. With an empty uid
--            there is no event, and only the states are written.
-- Result     for each Txn its status (1 new, 2 duplicate, 3 conflict, 4 stale,
--            5 this very uid is stored) and the uid; or the error PMFULL, and nothing is written.
--
-- After it: I1, I4, I5; an identity has a mark only if its event was written; a
-- uid that is stored is not written again, nor are states without an event that
-- have the new versions already, so a call may be repeated.
need_shared()
local meta = call('HMGET', K .. 'meta', 'seq', 'dseq', 'full')
if meta[3] == '1' then return redis.error_reply('PMFULL nothing finished is left to remove') end
local seq, dseq = tonumber(meta[1]) or 0, tonumber(meta[2]) or 0
local SEGMENT = 1024

local function read_txn()
  local t = {
    mark = arg(), dedup = num(), strict = arg() == '1', digest = arg(), uid = arg(), received = num(),
    revision = arg(), hash = arg(), rest = arg(), states = {}, deliveries = {},
  }
  for i = 1, num() do
    t.states[i] = { key = arg(), read = arg(), version = arg(), expires = num(), data = arg() }
    if t.states[i].expires < 0 then t.states[i].expires = now - t.states[i].expires end
  end
  for i = 1, num() do t.deliveries[i] = read_delivery(t.uid) end
  return t
end

local function marked(t)
  if t.mark == '' then return end
  local m = text('m:' .. t.mark)
  if not m then return end
  local expires, digest, after = struct.unpack('<dc16', m)
  if expires <= now then return end
  local uid = string.sub(m, after)
  if uid == t.uid then return 5, uid end
  if t.strict and digest ~= t.digest then return 3, uid end
  local e = redis.pcall('GETRANGE', K .. 'e:' .. uid, 1, 4)
  if type(e) == 'string' and #e == 4 then call('SETRANGE', K .. 'e:' .. uid, 1, struct.pack('<I4', struct.unpack('<I4', e) + 1)) end
  return 2, uid
end

local ZERO = string.rep('\0', 8)

local function stale(t)
  for _, s in ipairs(t.states) do
    local has = call('GET', K .. 's:' .. s.key)
    if not has then
      if s.read ~= ZERO then return true end
    else
      local expires, version = struct.unpack('<dc8', has)
      local expired = expires ~= 0 and expires <= now
      if version ~= s.read and not (expired and s.read == ZERO) then return true end
    end
  end
end

-- repeated tells whether states without an event were written by this very Txn:
-- no two writes of a key use one version.
local function repeated(t)
  for _, s in ipairs(t.states) do
    local has = call('GET', K .. 's:' .. s.key)
    if not has or string.sub(has, 9, 16) ~= s.version then return false end
  end
  return true
end

local function write_states(t)
  for _, s in ipairs(t.states) do
    local v = struct.pack('<d', s.expires) .. s.version .. s.data
    if s.expires == 0 then
      call('SET', K .. 's:' .. s.key, v)
    else
      call('SET', K .. 's:' .. s.key, v, 'PX', math.max(0, math.ceil((s.expires - now) / 1000)) + 1000)
    end
  end
end

local function write(t)
  write_states(t)
  local ids = {}
  for i, d in ipairs(t.deliveries) do
    insert(d, dseq)
    dseq = dseq + 1
    ids[i] = struct.pack('Bc0', #d.id, d.id)
  end
  ids = table.concat(ids)
  call('ZADD', K .. 'evs', seq, t.uid)
  call('SETRANGE', K .. 'i:' .. math.floor(seq / SEGMENT), seq % SEGMENT * 4, t.hash)
  if t.revision ~= '' then call('HINCRBY', K .. 'revrefs', t.revision, 1) end
  local e = struct.pack(EVENT, 1, 0, t.received, seq, #ids, ids, #t.revision, t.revision) .. t.rest
  call('SET', K .. 'e:' .. t.uid, e)
  grown = grown + #e + EVENT_COST
  seq = seq + 1
  if t.mark ~= '' then
    call('SET', K .. 'm:' .. t.mark, struct.pack('<dc16', now + t.dedup, t.digest) .. t.uid, 'PX', math.ceil(t.dedup / 1000) + 1000)
  end
end

local txns = {}
for i = 1, num() do
  local t = read_txn()
  for _, s in ipairs(t.states) do need('string', 's:' .. s.key) end
  for _, d in ipairs(t.deliveries) do need_new(d) end
  if t.revision ~= '' then need('hash', 'revrefs') end
  txns[i] = t
end
need('zset', 'evs')
need('zset', 'ds')
for n = math.floor(seq / SEGMENT), math.floor((seq + #txns) / SEGMENT) do need('string', 'i:' .. n) end

local out = {}
for _, t in ipairs(txns) do
  local status, uid = marked(t)
  if t.uid == '' then
    status, uid = 4, ''
    if repeated(t) then
      status = 1
    elseif not stale(t) then
      write_states(t)
      status = 1
    end
  elseif not status then
    if call('EXISTS', K .. 'e:' .. t.uid) == 1 then
      status, uid = 5, t.uid
    elseif stale(t) then
      status, uid = 4, ''
    else
      write(t)
      status, uid = 1, t.uid
    end
  end
  out[#out + 1] = status
  out[#out + 1] = uid
end
call('HSET', K .. 'meta', 'seq', seq, 'dseq', dseq)
finish()
return out
