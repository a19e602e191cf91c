-- Books that a suspect is now tried alone, before anything is done with it: should the trainer die, the count stands.
-- Returns [what happened, count]: 'alone', 'busy' (another rank tries one) or 'gone'.
-- KEYS: labels, meta, failures
-- arguments: group, epoch, name, consumer, id
local labels, meta, failures = KEYS[1], KEYS[2], KEYS[3]
local fenced = epoch_error(meta)
if fenced then return fenced end
local ours = integer(arguments.epoch) .. '.' .. arguments.name .. '.'
local consumer, id = consumer_name(), arguments.id
local tried = 'tried:' .. id

local trial = redis.call('HGET', meta, 'trial')
if trial then
  local holder, other = string.match(trial, '^(.*)|(.-)$')
  -- A repeat.
  if holder == consumer and other == id then return {'alone', tonumber(redis.call('HGET', failures, tried) or 1)} end
  -- Ranks die together, so a death says something about a label only if no other rank tries one.
  if holder ~= consumer and string.sub(holder, 1, #ours) == ours and entry_at(labels, other) then return {'busy', 0} end
end
if not entry_at(labels, id) then return {'gone', 0} end
allow_growth(meta)
redis.call('HSET', meta, 'trial', consumer .. '|' .. id)
return {'alone', redis.call('HINCRBY', failures, tried, 1)}
