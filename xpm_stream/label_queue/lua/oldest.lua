-- Returns [id of the oldest label or '', Redis' time in ms, labels pending with a trainer]. Writes nothing.
-- KEYS: labels
-- arguments: group
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
local pending = redis.pcall('XPENDING', KEYS[1], arguments.group)
return {first and first[1] or '', integer(now_ms()), pending.err and 0 or pending[1]}
