"""All Lua scripts of the queue. Each one is an atomic step. EventQueue and deploy/operate/queue_admin.py run them."""

from typing import Final

_CHUNK: Final = 256
"""Entries that a script moves at a time: the unpack of Lua has a limit, and single moves take twice the time."""

PUSH = """
local list, ledger, producer = KEYS[1], KEYS[2], KEYS[3]
local sequence, kept_s, entries = tonumber(ARGV[1]), ARGV[2], #ARGV - 2
if sequence > 0 and sequence <= tonumber(redis.call('GET', producer) or 0) then return 0 end
for first = 3, #ARGV, %(chunk)d do
  redis.call('RPUSH', list, unpack(ARGV, first, math.min(first + %(chunk)d - 1, #ARGV)))
end
redis.call('HINCRBY', ledger, 'accepted', entries)
if sequence > 0 then redis.call('SET', producer, ARGV[1], 'EX', kept_s) end
return 1
""" % {"chunk": _CHUNK}  # noqa: UP031 - Lua is full of braces

# A Redis at its maxmemory rejects a script whose first write needs memory, and could then never be drained. So a script
# that needs memory before it frees more begins with a write that needs none and changes nothing.

# Each call uses a new key for its claim. If the response of a call is lost, its entries are in no other claim and go
# back when the lease expires. The script estimates from the sizes so far how many entries to read next. Of these it
# claims the entries up to the limit, including the entry that reaches it.
CLAIM = """
local list, claim, leases, erased = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local limit, max_bytes, lease_ms = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('LTRIM', list, 0, -1)
local entries, bytes = {}, 0
local step = 1
while #entries < limit and bytes < max_bytes do
  local fitting = bytes > 0 and math.ceil((max_bytes - bytes) * #entries / bytes) or 1
  local chunk = redis.call('LRANGE', list, 0, math.min(step, fitting, limit - #entries) - 1)
  local taken = 0
  while taken < #chunk and bytes < max_bytes do
    taken = taken + 1
    entries[#entries + 1] = chunk[taken]
    bytes = bytes + #chunk[taken]
  end
  if taken == 0 then break end
  redis.call('RPUSH', claim, unpack(chunk, 1, taken))
  redis.call('LTRIM', list, taken, -1)
  step = math.min(step * 2, %(chunk)d)
end
if #entries > 0 then
  local now = redis.call('TIME')
  redis.call('ZADD', leases, now[1] * 1000 + math.floor(now[2] / 1000) + lease_ms, claim)
end
return {redis.call('SCARD', erased), entries}
""" % {"chunk": _CHUNK}  # noqa: UP031 - Lua is full of braces

CONFIRM = """
local claim, leases, ledger = KEYS[1], KEYS[2], KEYS[3]
if redis.call('ZREM', leases, claim) == 0 then return 0 end
redis.call('UNLINK', claim)
redis.call('HINCRBY', ledger, 'produced', ARGV[1])
redis.call('HINCRBY', ledger, 'dead', ARGV[2])
if ARGV[3] ~= '0' then
  redis.call('HINCRBY', ledger, 'accepted', -ARGV[3])
  redis.call('HINCRBY', ledger, 'erased', ARGV[3])
end
return 1
"""

RENEW = """
redis.call('ZREM', KEYS[1], '')
local now = redis.call('TIME')
local renewed = 0
for i = 2, #KEYS do
  if redis.call('ZSCORE', KEYS[1], KEYS[i]) then
    redis.call('ZADD', KEYS[1], now[1] * 1000 + math.floor(now[2] / 1000) + tonumber(ARGV[1]), KEYS[i])
    renewed = renewed + 1
  end
end
return renewed
"""

# Moves whole claims back to the head of the list: the expired claims, or the given one.
GIVE_BACK = """
local list, leases, named = KEYS[1], KEYS[2], KEYS[3]
redis.call('ZREM', leases, '')
local claims
if named then
  claims = redis.call('ZSCORE', leases, named) and {named} or {}
else
  local now = redis.call('TIME')
  claims = redis.call('ZRANGEBYSCORE', leases, '-inf', now[1] * 1000 + math.floor(now[2] / 1000), 'LIMIT', 0, 16)
end
local moved = 0
for _, claim in ipairs(claims) do
  while redis.call('LMOVE', claim, list, 'RIGHT', 'LEFT') do moved = moved + 1 end
  redis.call('ZREM', leases, claim)
end
return moved
"""

LEDGER_SUMS = """
local list, leases, ledger = KEYS[1], KEYS[2], KEYS[3]
local claimed = 0
for _, claim in ipairs(redis.call('ZRANGE', leases, 0, -1)) do claimed = claimed + redis.call('LLEN', claim) end
local sums = redis.call('HMGET', ledger, 'accepted', 'produced', 'dead', 'erased')
for i = 1, 4 do sums[i] = tonumber(sums[i] or 0) end
return {sums[1], sums[2], sums[3], redis.call('LLEN', list), claimed, sums[4]}
"""

# Both scripts only read. A slice starts with single entries, since each may be as large as MAX_EVENT_BYTES.
READ_SLICE = """
local list, skip, limit, max_bytes = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local length = redis.call('LLEN', list)
local last, entries, bytes = length - skip, {}, 0
local step = 1
while last > 0 and #entries < limit and bytes < max_bytes do
  local first = math.max(0, last - math.min(step, limit - #entries))
  local chunk = redis.call('LRANGE', list, first, last - 1)
  for at = #chunk, 1, -1 do
    if bytes >= max_bytes then break end
    entries[#entries + 1] = chunk[at]
    bytes = bytes + #chunk[at]
  end
  if #chunk == 0 then break end
  last = first
  step = math.min(step * 2, 32)
end
return {length, entries}
"""

READ_CLAIMS = """
local now = redis.call('TIME')
local leases = redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES')
local claims = {}
for at = 1, #leases, 2 do
  claims[#claims + 1] = {leases[at], leases[at + 1], redis.call('LLEN', leases[at])}
end
return {now[1] * 1000 + math.floor(now[2] / 1000), claims}
"""

REMOVE = """
local list, ledger = KEYS[1], KEYS[2]
local removed = 0
for _, entry in ipairs(ARGV) do removed = removed + redis.call('LREM', list, 1, entry) end
redis.call('HINCRBY', ledger, 'accepted', -removed)
redis.call('HINCRBY', ledger, 'erased', removed)
return removed
"""

REQUEUE = """
local list, ledger, replayed = KEYS[1], KEYS[2], KEYS[3]
local entry, letter, kept_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREMRANGEBYSCORE', replayed, '-inf', now_ms - kept_ms)
if redis.call('ZADD', replayed, 'NX', now_ms, letter) == 0 then return 0 end
redis.call('RPUSH', list, entry)
redis.call('HINCRBY', ledger, 'dead', -1)
return 1
"""

MARK_REPLAYED = """
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
for _, letter in ipairs(ARGV) do redis.call('ZADD', KEYS[1], 'NX', now_ms, letter) end
return #ARGV
"""
