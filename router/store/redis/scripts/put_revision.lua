-- Stores a revision unless it is there.
--
-- ARGV[2..]  id, created (8 bytes, nanoseconds), data
local id, created, data = arg(), arg(), arg()
call('HSETNX', K .. 'revs', id, struct.pack('<d', now) .. created .. data)
return 1
