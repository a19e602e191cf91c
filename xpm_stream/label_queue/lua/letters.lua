-- Returns a page of the dead letters without their messages: [[id, [field, value, ...], bytes of the message]]. Writes
-- nothing.
-- KEYS: dead
-- arguments: after ('-', or '(' and an id), until_id ('+' or an id), count
local rows = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], arguments.after, arguments.until_id, 'COUNT', arguments.count)) do
  local fields, size, flat = {}, 0, entry[2]
  for i = 1, #flat, 2 do
    if flat[i] == 'm' then
      size = #flat[i + 1]
    else
      fields[#fields + 1] = flat[i]
      fields[#fields + 1] = flat[i + 1]
    end
  end
  rows[#rows + 1] = {entry[1], fields, size}
end
return rows
