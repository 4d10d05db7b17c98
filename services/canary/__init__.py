"""canary: sends one event after the other through the whole path and tells how far each came, and how fast.

Reads: the tracker's answer; the topic `events`; the positions of one counter in Redis. Writes: events of type `canary`.
Promise: each canary is told as seen or as late at every stage, within a bounded time; whatever is down, nothing piles
up, and nothing but its own events is written.
"""
