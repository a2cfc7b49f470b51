-- Takes one step of retention by age, from the oldest on.
--
-- ARGV[2..]  'deliveries' or 'events', what is to go (finished or received at
--            or before it), the seq to go on after, how many to look at
-- Result     how many were removed, the last seq looked at, 1 if there is more
--            to look at
--
-- After it: I1, I4.
local what, cutoff, after, n = arg(), num(), arg(), num()
local set = what == 'events' and 'evs' or 'ds'
local page = call('ZRANGEBYSCORE', K .. set, '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, n)
local removed, more = 0, #page == 2 * n
for i = 1, #page, 2 do
  local id = page[i]
  after = page[i + 1]
  if what == 'events' then
    local e = call('GETRANGE', K .. 'e:' .. id, 0, 8)
    local received = #e == 9 and struct.unpack('<d', e, 2) or 0
    if received > cutoff then
      more = false
      break
    end
    if remove_event(id) then removed = removed + 1 end
  else
    local r = load(id)
    if not r then
      call('ZREM', K .. 'ds', id)
    elseif middle(r).created > cutoff then
      more = false
      break
    elseif r.updated <= cutoff and (r.state == DONE or r.state == DEAD or r.state == CANCELLED) then
      remove_delivery(r)
      removed = removed + 1
    end
  end
end
finish()
return { removed, after, more and 1 or 0 }
