"""topics: a job that makes the Kafka topics and ends; what else runs waits for it.

Reads: nothing. Writes: the topics `events` and `events.dead`, where they are missing.
Promise: exit code 0 only if both topics are there. An existing topic is never changed; where it differs from what is
wanted, one WARNING says how.
"""
