"""Show the live stream of events, the counters and the dead letters in a browser, for developers.

Reads: topics `events` and `events.dead` without a consumer group; the counters in Redis. Writes: nothing.
Promise: a subscriber gets every matching event once and in order, or the number of events that it did not get.
"""
