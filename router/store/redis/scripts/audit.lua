-- Puts an action's queue right where it disagrees with the records, as after a
-- key was deleted from outside.
--
-- ARGV[2..]  action, the seq to go on after, how many to look at
-- Result     how many were put back, the last seq looked at, 1 if there is more
--
-- After it: I1 and I2 for what was looked at.
local action, after, n = arg(), arg(), num()
local open, q = K .. 'x:open:' .. action, K .. 'q:' .. action
if after == '-1' and call('ZCARD', open) == call('ZCARD', q) then return { 0, after, 0 } end
local page = call('ZRANGEBYSCORE', open, '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, n)
local fixed = 0
for i = 1, #page, 2 do
  after = page[i + 1]
  local r = load(page[i])
  if not r or group(r.state) ~= 'open' or r.action ~= action then
    call('ZREM', open, page[i])
  elseif not call('ZSCORE', q, r.id) then
    call('ZADD', q, r.due, r.id)
    fixed = fixed + 1
  end
end
wake = fixed > 0
finish()
return { fixed, after, #page == 2 * n and 1 or 0 }
