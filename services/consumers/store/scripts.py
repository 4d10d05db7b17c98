"""The Redis scripts of the actions. Each is one atomic step. They require Redis 6.2.

The state of an action is a hash: `report` (ActionReport), `number` of the report, `starts` without an end, how many of
them were `over_time`, and `attempts` that failed. A key with a time to live exists while a worker runs the action. Its
value is the token of the start.
"""

from typing import Final

_REPORT: Final = """
local function report(state, kind, keep_s)
    redis.call('HSET', state, 'report', kind)
    redis.call('HINCRBY', state, 'number', 1)
    redis.call('EXPIRE', state, keep_s)
end
local function has_ended(state)
    local last = redis.call('HGET', state, 'report')
    return last == 'done' or last == 'dead'
end
"""

START: Final = (
    _REPORT
    + """
-- KEYS state, running, away. ARGV token, ms of the lock, most starts, s to keep, whether it is a probe.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then  -- else this start is sent again, because its response was lost
    if has_ended(KEYS[1]) then return {'finished', 0} end
    if ARGV[5] == '0' and redis.call('EXISTS', KEYS[3]) == 1 then
        if redis.call('EXISTS', KEYS[2]) == 0 then report(KEYS[1], 'away', ARGV[4]) end
        return {'away', 0}
    end
    if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'running', 0} end
    redis.call('HINCRBY', KEYS[1], 'starts', 1)
    report(KEYS[1], 'started', ARGV[4])
end
local state = redis.call('HMGET', KEYS[1], 'attempts', 'starts', 'over_time')
local attempts = tonumber(state[1] or '0')
if tonumber(state[2] or '0') > tonumber(ARGV[3]) then return {'lost', attempts, tonumber(state[3] or '0')} end
return {'started', attempts}
"""
)
"""Begin an action, unless it runs, is finished, or its dependency is away.

Return the kind of the result, the failed attempts, and for `lost` the starts over the time limit.
"""

DONE: Final = (
    _REPORT
    + """
-- KEYS state, running, away, retried, failing, ends. ARGV token, s to keep, id, name among the ends.
if not has_ended(KEYS[1]) then
    report(KEYS[1], 'done', ARGV[2])
    redis.call('HINCRBY', KEYS[6], ARGV[4], 1)
    redis.call('DEL', KEYS[3])
    redis.call('HDEL', KEYS[4], ARGV[3])
    redis.call('ZREM', KEYS[5], ARGV[3])
end
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
"""
)
"""Record that an action is done, also if another worker runs it now. Has no effect on an action that has ended."""

UNDONE: Final = (
    _REPORT
    + """
local function fails(failing, id, keep_s)
    local now = tonumber(redis.call('TIME')[1])
    redis.call('ZADD', failing, now, id)
    -- An event that was skipped, or removed by retention, gets no end.
    redis.call('ZREMRANGEBYSCORE', failing, '-inf', now - tonumber(keep_s))
    redis.call('EXPIRE', failing, keep_s)
end
-- KEYS state, running, away, failing, ends.
-- ARGV token, s to keep, kind (failed, over_time, away), reason, s to stay away, id, name among the ends,
-- whether it is known how long it stays away.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return {0, 0, 0} end
redis.call('DEL', KEYS[2])
if has_ended(KEYS[1]) then return {0, 0, 0} end
local kind = ARGV[3]
if kind == 'away' and ARGV[8] == '0' then
    local done = redis.call('HGET', KEYS[5], ARGV[7]) or '0'
    local before = redis.call('HGET', KEYS[1], 'done_when_away')
    redis.call('HSET', KEYS[1], 'done_when_away', done)
    if before and before ~= done then kind = 'failed' end
end
if kind == 'failed' then
    redis.call('HINCRBY', KEYS[1], 'attempts', 1)
    redis.call('HDEL', KEYS[1], 'starts', 'over_time')
    fails(KEYS[4], ARGV[6], ARGV[2])
    if ARGV[3] == 'failed' then redis.call('DEL', KEYS[3]) end
elseif kind == 'over_time' then
    redis.call('HINCRBY', KEYS[1], 'over_time', 1)
    fails(KEYS[4], ARGV[6], ARGV[2])
else
    redis.call('HINCRBY', KEYS[1], 'starts', -1)
    redis.call('SET', KEYS[3], ARGV[4], 'EX', ARGV[5])
end
report(KEYS[1], kind, ARGV[2])
local found = redis.call('HMGET', KEYS[1], 'starts', 'over_time', 'attempts')
local attempts = kind == 'away' and 0 or tonumber(found[3] or '0')
return {tonumber(found[1] or '0'), tonumber(found[2] or '0'), attempts}
"""
)
"""Record the end of a start that has not done the action.

Return the starts without an end, how many of them were over the time limit, and the failed attempts, which are 0 while
its dependency is away.

A dependency is away if no action of the handler was done since this action has found it away before. Otherwise only
this action fails, and the attempt counts. Else one request that always times out would keep its handler away for ever.
Has no effect on an action that has ended, or that another worker runs meanwhile.
"""

READ: Final = """
-- KEYS pairs of state and running.
local found = {}
for index = 1, #KEYS, 2 do
    local state = redis.call('HMGET', KEYS[index], 'report', 'number', 'attempts')
    local kind = state[1] or ''
    if kind == 'started' and redis.call('EXISTS', KEYS[index + 1]) == 0 then kind = 'lost' end
    found[#found + 1] = {kind, tonumber(state[2] or '0'), tonumber(state[3] or '0')}
end
return found
"""
"""Return the report of each action. An action that was started and that nobody runs is lost."""
