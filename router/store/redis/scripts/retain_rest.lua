-- Ends a run of retention.
--
-- ARGV[2..]  size (0: no cap), the revision in force, and the time before which
--            a revision that no event refers to may go
-- Result     the bytes in use, 1 if that is above the size
--
-- After it: meta.full says whether commits are refused; no segment of the index
-- of ids is older than the oldest event.
local size, keep, stored_before = num(), arg(), num()
local revs = call('HKEYS', K .. 'revs')
for _, id in ipairs(revs) do
  if id ~= keep and call('HEXISTS', K .. 'revrefs', id) == 0 then
    local stored = struct.unpack('<d', call('HGET', K .. 'revs', id))
    if stored <= stored_before then call('HDEL', K .. 'revs', id) end
  end
end
local meta = call('HMGET', K .. 'meta', 'bytes', 'seq', 'segment')
local first = call('ZRANGE', K .. 'evs', 0, 0, 'WITHSCORES')
local seq = tonumber(first[2] or meta[2] or 0)
local from, to = tonumber(meta[3] or 0), math.floor(seq / 1024)
-- At most a thousand a time; the next run goes on.
to = math.min(to, from + 1000)
for segment = from, to - 1 do call('DEL', K .. 'i:' .. segment) end
local bytes = tonumber(meta[1] or 0)
local full = size > 0 and bytes > size and 1 or 0
call('HSET', K .. 'meta', 'segment', to, 'full', full)
return { bytes, full }
