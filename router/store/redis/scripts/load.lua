-- Reads states. Writes nothing.
--
-- ARGV[2..]  keys
-- Result     for each key its value (expiry, version, data), or '' when there is
--            none or it has expired.
local out = {}
for i = 2, #ARGV do
  local v = call('GET', K .. 's:' .. ARGV[i]) or ''
  if v ~= '' then
    local expires = struct.unpack('<d', v)
    if expires ~= 0 and expires <= now then v = '' end
  end
  out[#out + 1] = v
end
return out
