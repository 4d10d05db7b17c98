"""Show the live stream of events, the counters, the dead letters and the place of one event, for developers.

Reads: topics `events` and `events.dead` without a consumer group; the counters in Redis; the trackers' internal ports.
Writes: nothing.
Promise: a subscriber gets every matching event once and in order, or the number of events that it did not get.
"""
