-- Puts an action's queue right where it disagrees with the records, as after a
-- key was deleted from outside, and the lanes of those that have waited longest.
--
-- ARGV[2..]  action, the seq to go on after, how many to look at
-- Result     how many were put back, the last seq looked at, 1 if there is more
--
-- After it: I1, I2 and I5 for what was looked at.
local action, after, n = arg(), arg(), num()
local open, q = K .. 'x:open:' .. action, K .. 'q:' .. action

local function join(r)
  redis.pcall('ZADD', K .. 'n:' .. r.lane, r.seq, r.id)
  lanes[r.lane] = true
end

if after == '-1' then
  for _, id in ipairs(call('ZRANGEBYSCORE', q, 'inf', 'inf', 'LIMIT', 0, n)) do
    local r = load(id)
    if r and r.lane ~= '' and group(r.state) == 'open' then join(r) end
  end
  finish()
  lanes = {}
end
if after == '-1' and call('ZCARD', open) == call('ZCARD', q) then return { 0, after, 0 } end
local page = call('ZRANGEBYSCORE', open, '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, n)
local fixed = 0
for i = 1, #page, 2 do
  after = page[i + 1]
  local r = load(page[i])
  if not r or group(r.state) ~= 'open' or r.action ~= action then
    call('ZREM', open, page[i])
  elseif not call('ZSCORE', q, r.id) then
    call('ZADD', q, r.lane ~= '' and r.state == READY and 'inf' or r.due, r.id)
    if r.lane ~= '' then join(r) end
    fixed = fixed + 1
  end
end
wake = fixed > 0
finish()
return { fixed, after, #page == 2 * n and 1 or 0 }
