"""Shows developers the live stream of events, the counters and the dead letters in a browser.

Reads: topics `events` and `events.dead` without a consumer group; the counters in Redis. Writes: nothing.
Promise: a watcher gets every event that matches, in order, once, or is told how many it did not get.
"""
