-- Registers a new start of an instance.
--
-- ARGV[2..]  instance, pid, host, the holder's first 8 bytes
-- Result     the number of the start, from 1
--
-- After it: older starts of the instance are fenced; what the instance had
-- leased is due at once. The records stay as they are until the next claim.
local instance, pid, host, holder = arg(), arg(), arg(), arg()
need_shared()
local meta = call('HMGET', K .. 'meta', 'seq', 'layout')
if meta[1] and meta[2] ~= LAYOUT then return redis.error_reply('PMLAYOUT ' .. (meta[2] or '1')) end
local has = call('HGET', K .. 'inst', instance)
local start = has and tonumber(string.match(has, '^%d+')) + 1 or 1
call('HSET', K .. 'inst', instance, string.format('%d %s %.0f %s', start, pid, now, host))
local counts = call('HKEYS', K .. 'counts')
for _, f in ipairs(counts) do
  local action = string.match(f, '^2:(.*)$')
  if action then
    local ids = call('ZRANGE', K .. 'l:' .. action, 0, -1)
    load_all(ids)
    for _, id in ipairs(ids) do
      local r = loaded[id]
      if not r or r.state ~= LEASED then
        zrem('l:', action, id)
      elseif sub(r.holder, 1, 8) == holder then
        zadd('l:', action, now, id)
        wake = true
      end
    end
  end
end
finish()
return start
