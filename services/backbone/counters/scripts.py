"""Lua scripts that change a counter in Redis. Each script is one atomic step."""

from typing import Final

from services.backbone.events import FINGERPRINT_BYTES

_CHUNK: Final = 1000  # ids for each command in the script: the limit of Lua's unpack is just below 8000

# Returns 0 if the update is rejected, and 1 if it is applied. If the update contains known ids, the script applies
# nothing and returns a table with the indexes of these ids, from 0.
# A new generation of ids begins before the current one would exceed `window_ids` (see IdWindow). The script deletes a
# dropped generation in parts, faster than it adds ids. Reason: the Redis server of the wheel uses libc's allocator.
# There, freeing a million ids at once blocks Redis for seconds, also with UNLINK, which frees memory in another thread.
APPLY: Final = """
local counts, positions, progress, new, old, dropped = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local partition, first, next = ARGV[1], ARGV[2], ARGV[3]
local max_labels, other, window_ms, window_ids = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local events, invalid, duplicates, last_ms, ids = ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12]
if redis.call('HGET', positions, partition) ~= first then return 0 end
if #ids > 0 then
  local chunks, known, place = {}, {}, 0
  for begin = 1, #ids, %(chunk)d * %(width)d do
    local chunk = {}
    for at = begin, math.min(begin + %(chunk)d * %(width)d, #ids) - 1, %(width)d do
      chunk[#chunk + 1] = string.sub(ids, at, at + %(width)d - 1)
    end
    local in_new = redis.call('SMISMEMBER', new, unpack(chunk))
    local in_old = redis.call('SMISMEMBER', old, unpack(chunk))
    for i = 1, #chunk do
      if in_new[i] == 1 or in_old[i] == 1 then known[#known + 1] = place end
      place = place + 1
    end
    chunks[#chunks + 1] = chunk
  end
  if #known > 0 then return known end
  local time = redis.call('TIME')
  local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  local began_ms = tonumber(redis.call('HGET', progress, 'ids_began_ms') or 0)
  if now_ms - began_ms >= window_ms or redis.call('SCARD', new) + place > window_ids then
    redis.call('UNLINK', dropped)
    redis.call('HDEL', progress, 'ids_cursor')
    if redis.call('EXISTS', old) == 1 then redis.call('RENAME', old, dropped) end
    if redis.call('EXISTS', new) == 1 then redis.call('RENAME', new, old) end
    redis.call('HSET', progress, 'ids_began_ms', string.format('%%.0f', now_ms))
  end
  for _, chunk in ipairs(chunks) do redis.call('SADD', new, unpack(chunk)) end
  if redis.call('EXISTS', dropped) == 1 then
    local cursor = redis.call('HGET', progress, 'ids_cursor') or '0'
    local scanned = redis.call('SSCAN', dropped, cursor, 'COUNT', 2 * place + %(chunk)d)
    for begin = 1, #scanned[2], %(chunk)d do
      redis.call('SREM', dropped, unpack(scanned[2], begin, math.min(begin + %(chunk)d - 1, #scanned[2])))
    end
    redis.call('HSET', progress, 'ids_cursor', scanned[1])
    if scanned[1] == '0' then redis.call('UNLINK', dropped) end
  end
end
local room = max_labels - redis.call('ZCARD', counts)
for i = 13, #ARGV, 2 do
  local label = ARGV[i]
  if room <= 0 and not redis.call('ZSCORE', counts, label) then
    label = (string.match(label, '^%%(%%l%%) ') or '') .. other
  end
  if redis.call('ZINCRBY', counts, ARGV[i + 1], label) == ARGV[i + 1] then room = room - 1 end
end
redis.call('HSET', positions, partition, next)
redis.call('HINCRBY', progress, 'events', events)
redis.call('HINCRBY', progress, 'invalid', invalid)
redis.call('HINCRBY', progress, 'duplicates', duplicates)
if tonumber(last_ms) > tonumber(redis.call('HGET', progress, 'last_ms') or 0) then
  redis.call('HSET', progress, 'last_ms', last_ms)
end
return 1
""" % {"chunk": _CHUNK, "width": FINGERPRINT_BYTES}  # noqa: UP031 - Lua is full of braces

MOVE: Final = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('HINCRBY', KEYS[2], 'missed', ARGV[4])
redis.call('HINCRBY', KEYS[2], 'given_up', ARGV[5])
return 1
"""

# Returns -1 if the topic is the known one or the first one, otherwise the sum of the discarded positions.
ADOPT: Final = """
local positions, progress = KEYS[1], KEYS[2]
local function is_whole(text)
  return #text <= #ARGV[2] and (text == '0' or string.match(text, '^[1-9]%d*$'))
end
local known = redis.call('HGET', progress, 'topic_id')
if known == ARGV[1] then return -1 end
local given_up = -1
if known then
  given_up = 0
  local fields = redis.call('HGETALL', positions)
  for at = 1, #fields, 2 do
    -- Skip positions that positions.py rejects: no earlier sum contains them.
    local offset = is_whole(fields[at]) and is_whole(fields[at + 1]) and tonumber(fields[at + 1])
    if offset and offset < tonumber(ARGV[2]) then given_up = given_up + offset end
  end
  redis.call('HINCRBY', progress, 'given_up', string.format('%.0f', given_up))
  redis.call('DEL', positions)
end
redis.call('HSET', progress, 'topic_id', ARGV[1])
return given_up
"""
