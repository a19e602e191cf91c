-- Returns a page of the label stream for one who only looks: [[id, message], ...], whether the stream ends with it,
-- labels ever put on the stream, Redis' time in ms. Writes nothing; all is of one moment.
-- KEYS: labels, counters
-- arguments: after ('-', or '(' and an id), count, bytes (of a page's messages; one that is larger comes alone)
local labels, counters = KEYS[1], KEYS[2]
local page, bytes, after = {}, 0, arguments.after

-- Returns 1 when the stream ends with the page.
local function fill_page()
  while #page < arguments.count do
    local wanted = math.min(16, arguments.count - #page)  -- a few at a time: a label may hold its image
    local entries = redis.call('XRANGE', labels, after, '+', 'COUNT', integer(wanted))
    for _, entry in ipairs(entries) do
      local message = fields_of(entry).m or ''
      bytes = bytes + #message
      if bytes > arguments.bytes and #page > 0 then return 0 end
      page[#page + 1] = {entry[1], message}
      after = '(' .. entry[1]
    end
    if #entries < wanted then return 1 end
  end
  return 0
end

local ends = fill_page()
local put = tonumber(redis.call('HGET', counters, 'labels') or 0) + tonumber(redis.call('HGET', counters, 'replayed') or 0)
return {page, ends, integer(put), integer(now_ms())}
