-- Puts an action's queue and leases right where they disagree with the records,
-- as after a key was deleted from outside, and the lanes of those that have waited
-- longest.
--
-- ARGV[2..]  action, the number to go on after, how many to look at
-- Result     how many were put back, the last number looked at, 1 if there is more
--
-- After it: I1 and I5 for what was looked at. What is ready is found by x:1:ACTION.
-- What is leased has no second index: when all leases of an action are gone that
-- counts knows of, the deliveries are looked through.
local action, after, n = arg(), arg(), num()
need_action(action)
local ready, q, leased = K .. 'x:1:' .. action, K .. 'q:' .. action, K .. 'l:' .. action

local function rejoin(r)
  redis.pcall('ZADD', K .. 'n:' .. r.lane, r.number, r.id)
  lanes[r.lane] = true
end

if after == '-1' then
  for _, id in ipairs(call('ZRANGEBYSCORE', q, 'inf', 'inf', 'LIMIT', 0, n)) do
    local r = load(id)
    if r and r.lane ~= '' and open(r.state) then rejoin(r) end
  end
  finish()
  lanes = {}
end

-- The walk through the deliveries has numbers that begin with d.
local behind = string.match(after, '^d(.*)$')
if after == '-1' and call('ZCARD', ready) == call('ZCARD', q) then behind = '-1' end
if behind == '-1' and (call('ZCARD', leased) > 0 or not call('HGET', K .. 'counts', LEASED .. ':' .. action)) then return { 0, after, 0 } end

local page = call('ZRANGEBYSCORE', behind and K .. 'ds' or ready, '(' .. (behind or after), '+inf', 'WITHSCORES', 'LIMIT', 0, n)
local ids, fixed = {}, 0
for i = 1, #page, 2 do
  ids[#ids + 1], after = page[i], page[i + 1]
end
load_all(ids)
for _, id in ipairs(ids) do
  local r = loaded[id]
  if behind then
    if r and r.state == LEASED and r.action == action then
      zadd('l:', action, r.due, id)
      if r.lane ~= '' then rejoin(r) end
      fixed = fixed + 1
    end
  elseif not r or r.state ~= READY or r.action ~= action then
    zrem('x:1:', action, id)
  elseif not call('ZSCORE', q, id) then
    zadd('q:', action, r.lane ~= '' and 'inf' or r.due, id)
    if r.lane ~= '' then rejoin(r) end
    fixed = fixed + 1
  end
end
wake = fixed > 0
finish()
local more = #page == 2 * n
if behind then return { fixed, 'd' .. after, more and 1 or 0 } end
if not more then return { fixed, 'd-1', 1 } end
return { fixed, after, 1 }
