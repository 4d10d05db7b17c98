"""The Redis scripts of a schedule. Each is one atomic step. They require Redis 6.2.

The state of a job is a hash (JobState): `mark`, `since`, `paused`, `paused_reason`, `requested`, `requested_by`,
`order` (of the request), `asked` and `asked_what` (time and kind of the last request), `current` (the run without an
end), `succeeded`, and a count by result. Times are in ms since 1970.
"""

from typing import Final

from services.backbone.audit import ADD_ENTRY

_TRIM: Final = """
local function trim(runs, most)
    local ids = redis.call('HKEYS', runs)
    if #ids <= tonumber(most) then return end
    table.sort(ids, function(one, other) return tonumber(one) < tonumber(other) end)
    for index = 1, #ids - tonumber(most) do redis.call('HDEL', runs, ids[index]) end
end
local function advance(job, mark)
    if tonumber(redis.call('HGET', job, 'mark') or '0') < tonumber(mark) then redis.call('HSET', job, 'mark', mark) end
end
"""

BEGIN: Final = (
    _TRIM
    + """
-- KEYS job, runs, running, taken.
-- ARGV token, planned time, record, ms of the lock, s to keep, most runs, whether it was requested.
local runs_now = redis.call('GET', KEYS[3])
if runs_now == ARGV[1] then return 1 end
if runs_now then return 0 end
if ARGV[7] == '1' then
    if redis.call('HGET', KEYS[1], 'requested') ~= ARGV[2] then return 0 end
    redis.call('HDEL', KEYS[1], 'requested', 'requested_by', 'order')
else
    if redis.call('HEXISTS', KEYS[1], 'paused') == 1 then return 0 end
    advance(KEYS[1], ARGV[2])
end
if not redis.call('SET', KEYS[4], ARGV[1], 'NX', 'EX', ARGV[5]) then return 0 end
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[4])
redis.call('HSET', KEYS[1], 'current', ARGV[2])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
trim(KEYS[2], ARGV[6])
return 1
"""
)
"""Take a run and begin it, unless it was taken, the job runs or the job is paused. A script that is sent again begins
the same run."""

MISS: Final = (
    _TRIM
    + """
-- KEYS job, runs, taken of each time. ARGV s to keep, most runs, each time.
local missed = {}
for index = 3, #KEYS do
    if redis.call('SET', KEYS[index], 'missed', 'NX', 'EX', ARGV[1]) then
        missed[#missed + 1] = tonumber(ARGV[index])
    end
end
advance(KEYS[1], ARGV[#ARGV])
if #missed == 0 then return 0 end
local record = {planned_ms = missed[1], until_ms = missed[#missed], count = #missed, result = 'missed'}
redis.call('HSET', KEYS[2], string.format('%.0f', missed[1]), cjson.encode(record))
redis.call('HINCRBY', KEYS[1], 'missed', #missed)
trim(KEYS[2], ARGV[2])
return #missed
"""
)
"""Record times as missed, except those that were taken."""

END: Final = """
-- KEYS job, runs, running. ARGV token, planned time, record, result, ms of the end.
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[3])
redis.call('HDEL', KEYS[1], 'current')
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('HINCRBY', KEYS[1], ARGV[4], 1)
if ARGV[4] == 'done' then redis.call('HSET', KEYS[1], 'succeeded', ARGV[5]) end
return 1
"""
"""Record the end of a run."""

LOSE: Final = """
-- KEYS job, runs, running. ARGV planned time, record.
if redis.call('EXISTS', KEYS[3]) == 1 or redis.call('HGET', KEYS[1], 'current') ~= ARGV[1] then return 0 end
redis.call('HDEL', KEYS[1], 'current')
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[1], 'lost', 1)
return 1
"""
"""Record that a run has no end after its time limit."""

REQUEST: Final = (
    ADD_ENTRY
    + """
-- KEYS job, audit list. ARGV entry, now, operator, ms between two requests of a kind, order, kind.
if redis.call('HEXISTS', KEYS[1], 'requested') == 1 then return 0 end
local asked = tonumber(redis.call('HGET', KEYS[1], 'asked') or '0')
if tonumber(ARGV[2]) - asked < tonumber(ARGV[4]) and redis.call('HGET', KEYS[1], 'asked_what') == ARGV[6] then
    return 0
end
redis.call('HSET', KEYS[1], 'requested', ARGV[2], 'asked', ARGV[2], 'requested_by', ARGV[3], 'order', ARGV[5],
    'asked_what', ARGV[6])
audit(KEYS[2], ARGV[1])
return 1
"""
)
"""Request a run, unless a request waits, or the last one is recent and of the same kind."""

PAUSE: Final = (
    ADD_ENTRY
    + """
-- KEYS job, audit list. ARGV entry, now, reason.
redis.call('HDEL', KEYS[1], 'requested', 'requested_by', 'order')
if redis.call('HSETNX', KEYS[1], 'paused', ARGV[2]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'paused_reason', ARGV[3])
audit(KEYS[2], ARGV[1])
return 1
"""
)
"""Pause a job, and drop a request that waits, with its order."""

RESUME: Final = (
    _TRIM
    + ADD_ENTRY
    + """
-- KEYS job, audit list. ARGV entry, now.
if redis.call('HDEL', KEYS[1], 'paused') == 0 then return 0 end
redis.call('HDEL', KEYS[1], 'paused_reason')
advance(KEYS[1], ARGV[2])
audit(KEYS[2], ARGV[1])
return 1
"""
)
"""Resume a job. The planned times of the pause are skipped."""
