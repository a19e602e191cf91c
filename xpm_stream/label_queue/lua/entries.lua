-- Returns a page of the label stream without its messages: [[id, sample, bytes of the message]]. Writes nothing.
-- KEYS: labels
-- arguments: after ('-', or '(' and an id), count
local rows = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], arguments.after, '+', 'COUNT', arguments.count)) do
  local fields = fields_of(entry)
  rows[#rows + 1] = {entry[1], fields.s or '', #(fields.m or '')}
end
return rows
