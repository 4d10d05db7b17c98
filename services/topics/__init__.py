"""topics: a job that creates the Kafka topics and ends; the other services wait for it.

Reads: nothing. Writes: the topics `events` and `events.dead`, if they are missing.
Promise: exit code 0 only if both topics exist. An existing topic is never changed; one WARNING lists its differences
from the settings.
"""
