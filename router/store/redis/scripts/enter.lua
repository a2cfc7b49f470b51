-- Registers a new start of an instance.
--
-- ARGV[2..]  instance, pid, host
-- Result     the number of the start, from 1
--
-- After it: older starts of the instance are fenced; what the instance had
-- leased is due at once. The records stay as they are until the next claim.
local instance, pid, host = arg(), arg(), arg()
local has = call('HGET', K .. 'inst', instance)
local start = has and tonumber(string.match(has, '^%d+')) + 1 or 1
call('HSET', K .. 'inst', instance, string.format('%d %s %.0f %s', start, pid, now, host))
local leases = call('HGETALL', K .. 'leases')
for i = 1, #leases, 2 do
  if leases[i + 1] == instance then
    local r = load(leases[i])
    if r and r.state == LEASED then
      call('ZADD', K .. 'q:' .. r.action, now, r.id)
      wake = true
    else
      call('HDEL', K .. 'leases', leases[i])
    end
  end
end
finish()
return start
