"""kafkastore: takes events from Redis, enriches them, and writes them to Kafka.

Reads: the list `events:raw` of one or several Redis servers; a city database. Writes: topics `events`, `events.dead`.
Promise: an entry leaves Redis only after Kafka has acknowledged it, at least once; an entry that can never become an
event goes to `events.dead` and does not block other entries.
"""
