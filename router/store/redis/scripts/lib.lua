-- What the scripts share. Each script is this text followed by its own, and
-- records.lua between them where it reads or changes deliveries.
--
-- KEYS[1]  the prefix {pm:NAME}: that every key begins with. The keys below it
--          are those of keys.go, and so they are all in one slot.
-- ARGV[1]  the time in microseconds since 1970, or 0 for the server's clock,
--          which is read once.
--
-- Structures (struct.pack, little endian); codec.go reads and writes them:
--   record    of a delivery, in d:ID. FRONT, HEAD bytes: version, state, settled,
--             flags (1 uncertain, 2 suspect, 4 leased by the commit), epoch, due,
--             started, updated, number, starts, the holder of the lease (8 bytes for
--             the instance, its start), attempts, crashes, and where the ending begins. MIDDLE: action, lane, event
--             uid, created, budget, budget_from, count, expanded, bytes in c:ID.
--             ENDING: reason, error and, up to the end, the newest attempt.
--   event     version, received, then with their lengths the ids of its deliveries
--             and the revision, then the rest. No script writes it.
--   attempt   number, started, ended, outcome, error, output; of the last one only
--             is in the record, those before it are in h:ID.
--   busy      b:LANE: epoch of the lease, until, the delivery's id; see I5.
--
-- Invariants between scripts:
--   I1  a delivery that is ready is in q:ACTION and x:1:ACTION, one that is leased
--       in l:ACTION, one that is dead, held or cancelled in x:STATE:ACTION, and in
--       no other of these; every one is in ds. counts agrees with all of them.
--   I2  an event was written exactly if it is in evs. What it and its deliveries
--       are (e:UID, c:ID) was written before its script, in the same transaction.
--   I3  the epoch of a delivery grows with each of its leases.
--   I4  the deliveries of an event are those it lists and those in l:UID. An
--       unfinished or dead delivery has its event.
--   I5  a delivery of a lane that is ready or leased is in n:LANE. At most one of
--       them is leased, and then b:LANE names it with until 0; else the first is
--       in its q:ACTION at its due time. All others are there at infinity. Where
--       a delivery was cancelled while it was leased, b:LANE names it until its
--       outcome comes or its lease would have run out, and the first is due then
--       at the earliest. What a call changes of a lane, finish completes.
local K, call = KEYS[1], redis.call
local now = tonumber(ARGV[1])
if now == 0 then
  local t = call('TIME')
  now = t[1] * 1000000 + t[2]
end

local READY, LEASED, DONE, DEAD, HELD, CANCELLED = 1, 2, 3, 4, 5, 6
local at = 1
local function arg()
  at = at + 1
  return ARGV[at]
end
local function num() return tonumber(arg()) end

-- need refuses a shared key that holds a value of another type, overwritten from
-- outside: a call that met it after its first write would be half done, so a
-- script asks for all that it may touch before it. What belongs to one record
-- only (d:, e:, h:, m:, u:) is read with pcall or MGET instead, so that the
-- damage stays there.
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
end

-- need_action asks for the indexes of what is ready and leased of an action and,
-- unless it is nil, of another state.
local needed_of = {}
local function need_action(action, state)
  if not needed_of[action] then
    need('zset', 'q:' .. action)
    need('zset', 'x:1:' .. action)
    need('zset', 'l:' .. action)
    needed_of[action] = true
  end
  if state and state > DONE then need('zset', 'x:' .. state .. ':' .. action) end
end

-- fence refuses a router whose instance has started anew since, or whose
-- registration is gone with everything else.
local function fence(instance, start)
  local has = redis.pcall('HGET', K .. 'inst', instance)
  if type(has) == 'table' then need('hash', 'inst') end
  if not has then return redis.error_reply('PMGONE this start is not registered') end
  if string.match(has, '^%d+') ~= start then return redis.error_reply('PMFENCED a newer start is registered') end
end

-- text reads a string, nil if there is none or a value of another type.
local function text(key)
  local s = redis.pcall('GET', K .. key)
  return type(s) == 'string' and s or nil
end
