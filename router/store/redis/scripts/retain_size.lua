-- Takes one step of retention by size, from the oldest on: removes finished
-- deliveries and events that no delivery needs, until the size is reached.
--
-- ARGV[2..]  'events' or 'orphans' (finished deliveries whose event is gone),
--            the size, 1 to remove dead deliveries too, the seq to go on after,
--            how many to look at
-- Result     events, deliveries and dead deliveries removed, the last seq looked
--            at, 1 if there is more to look at and the size is not reached
--
-- After it: I1, I4.
local what, size, dead, after, n = arg(), num(), arg() == '1', arg(), num()
local bytes = tonumber(call('HGET', K .. 'meta', 'bytes')) or 0
local page = call('ZRANGEBYSCORE', K .. (what == 'events' and 'evs' or 'ds'), '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, n)
local events, deliveries, deads, more = 0, 0, 0, #page == 2 * n

local function drop(id)
  local r = load(id)
  if r and (r.state == DONE or r.state == CANCELLED or dead and r.state == DEAD) then
    remove_delivery(r)
    deliveries = deliveries + 1
    if r.state == DEAD then deads = deads + 1 end
  end
end

for i = 1, #page, 2 do
  if bytes + grown <= size then
    more = false
    break
  end
  local id = page[i]
  after = page[i + 1]
  if what == 'events' then
    for _, d in ipairs(listed(id, call('GET', K .. 'e:' .. id) or nil)) do drop(d) end
    if remove_event(id) then events = events + 1 end
  else
    local r = load(id)
    if r and call('EXISTS', K .. 'e:' .. middle(r).event) == 0 then drop(id) end
  end
end
finish()
return { events, deliveries, deads, after, more and 1 or 0 }
