-- Renews leases.
--
-- ARGV[2..]  instance, start, ttl in microseconds, then id and epoch of each
-- Result     1 for each that is still held, else 0
--
-- After it: I1.
local instance, start, ttl = arg(), arg(), num()
local refused = fence(instance, start)
if refused then return refused end
local out = {}
while at < #ARGV do
  local id, epoch = arg(), num()
  local r = load(id)
  if r and r.state == LEASED and r.epoch == epoch then
    r.due = now + ttl
    call('ZADD', K .. 'q:' .. r.action, r.due, id)
    save(r)
    out[#out + 1] = 1
  else
    out[#out + 1] = 0
  end
end
return out
