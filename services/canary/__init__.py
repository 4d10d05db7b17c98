"""canary: sends events through the whole path, one at a time, and reports which stages each reached, and how fast.

Reads: the tracker's response; the topic `events`; the positions of one counter in Redis.
Writes: events of type `canary`, and nothing else.
Promise: reports each canary once at each stage that it reaches in time, or once as late. The number of canaries in
flight is bounded, also while a dependency is down.
"""
