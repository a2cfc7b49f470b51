-- The first half of claim.lua, which ends it when nothing is due: records.lua, which
-- comes next, makes more functions than such a claim has to do.
local op, instance, start, holder, ttl = arg(), arg(), arg(), arg(), num()
local refused = fence(instance, start)
if refused then return refused end

local wants = {}
for i = 1, num() do wants[i] = { action = arg(), n = num() } end

-- until_due tells how long it is until something is due, 0 if nothing is known.
local function until_due()
  local wait = 0
  for _, want in ipairs(wants) do
    for _, index in ipairs({ 'q:', 'l:' }) do
      local first = call('ZRANGE', K .. index .. want.action, 0, 0, 'WITHSCORES')
      if first[2] and tonumber(first[2]) < math.huge then
        local d = math.max(1, tonumber(first[2]) - now)
        if wait == 0 or d < wait then wait = d end
      end
    end
  end
  return string.format('%.0f', wait)
end

local function same_operation()
  local s = op ~= '' and text('op:' .. op)
  return s and cmsgpack.unpack(s)
end

-- dues has for each want what it may get: what is ready, and what was leased and
-- ran out. Only if there is anything are keys asked for that are written then.
local dues, found = {}, 0
for i, want in ipairs(wants) do
  dues[i] = {}
  for state, index in ipairs({ 'q:', 'l:' }) do
    local page = redis.pcall('ZRANGEBYSCORE', K .. index .. want.action, '-inf', now, 'WITHSCORES', 'LIMIT', 0, want.n)
    if page.err or #page > 0 then
      need_shared()
      need_action(want.action)
    end
    for j = 1, #page, 2 do
      found = found + 1
      dues[i][#dues[i] + 1] = { id = page[j], due = tonumber(page[j + 1]), index = index, state = state }
    end
  end
end
local before = same_operation()
if found == 0 and not before then return { until_due() } end
