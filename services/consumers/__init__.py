"""consumers: the statistics consumers. Each runs as its own processes and keeps one counter.

Reads: the topic `events`. Writes: counters, their positions and their descriptions in Redis.
Promise: processes each record of the topic exactly once, also when members are killed and partitions move. Of several
records with one fingerprint (`backbone.events.fingerprint`) it counts one, within the window of ids. So each event
counts once, also when a kafkastore is killed between produce and confirm. Records that are not events are counted as
invalid and skipped.

Clients choose ids. No code here drops an event because of its id alone; this matters most for code that acts on events.
"""
