-- What the scripts of retention share; comes between lib.lua and theirs.

local function ids_of(blob)
  local ids, i = {}, 1
  while i <= #blob do
    ids[#ids + 1], i = struct.unpack('Bc0', blob, i)
  end
  return ids
end

-- listed gives the ids of an event's deliveries: those it was written with (none
-- when the event is not given) and those in l:UID.
local function listed(uid, event)
  local own = ''
  if event then
    own = struct.unpack('<I4c0', event, 10)
  end
  return ids_of(own .. (call('GET', K .. 'l:' .. uid) or ''))
end

-- remove_delivery removes one that is done, dead or cancelled.
local function remove_delivery(r)
  local m = middle(r)
  for _, a in ipairs(call('LRANGE', K .. 'h:' .. r.id, 0, -1)) do grown = grown - #a - ATTEMPT_COST end
  grown = grown - #r.raw - m.calls - DELIVERY_COST
  leave(r)
  call('DEL', K .. 'd:' .. r.id, K .. 'c:' .. r.id, K .. 'h:' .. r.id)
  call('ZREM', K .. 'ds', r.id)
  if call('EXISTS', K .. 'e:' .. m.event) == 1 then return end
  local left = {}
  for _, id in ipairs(listed(m.event)) do
    if id ~= r.id then left[#left + 1] = struct.pack('Bc0', #id, id) end
  end
  if #left > 0 then call('SET', K .. 'l:' .. m.event, table.concat(left)) else call('DEL', K .. 'l:' .. m.event) end
end

-- remove_event removes an event unless a delivery of it is neither done nor
-- cancelled. What is left of its deliveries is then listed in l:UID.
local function remove_event(uid)
  local e = call('GET', K .. 'e:' .. uid)
  if not e then
    call('ZREM', K .. 'evs', uid)
    return false
  end
  local left = {}
  for _, id in ipairs(listed(uid, e)) do
    local h = call('GETRANGE', K .. 'd:' .. id, 0, 1)
    if #h == 2 then
      local state = string.byte(h, 2)
      if state ~= DONE and state ~= CANCELLED then return false end
      left[#left + 1] = struct.pack('Bc0', #id, id)
    end
  end
  local _, revision = struct.unpack('<I4c0I2c0', e, 10)
  if #left > 0 then call('SET', K .. 'l:' .. uid, table.concat(left)) else call('DEL', K .. 'l:' .. uid) end
  call('DEL', K .. 'e:' .. uid, K .. 'u:' .. uid)
  call('ZREM', K .. 'evs', uid)
  if revision ~= '' and call('HINCRBY', K .. 'revrefs', revision, -1) <= 0 then call('HDEL', K .. 'revrefs', revision) end
  grown = grown - #e - EVENT_COST
  return true
end
