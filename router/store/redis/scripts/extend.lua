-- Renews leases.
--
-- ARGV[2..]  instance, start, holder, ttl in microseconds, then id and epoch of each
-- Result     1 for each that is still held, else 0
--
-- After it: I1.
local instance, start, holder, ttl = arg(), arg(), arg(), num()
local refused = fence(instance, start)
if refused then return refused end
local ids, epochs = {}, {}
while at < #ARGV do ids[#ids + 1], epochs[#epochs + 1] = arg(), num() end
load_all(ids)
local out = {}
for i, id in ipairs(ids) do
  local r = loaded[id]
  if r and r.state == LEASED and r.epoch == epochs[i] and r.holder == holder then
    r.due = now + ttl
    zadd('l:', r.action, r.due, id)
    save(r)
    out[i] = 1
  else
    out[i] = 0
  end
end
flush()
return out
