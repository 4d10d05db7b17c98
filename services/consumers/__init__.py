"""consumers: the statistics consumers; each is one process of its own that counts what the events say.

Reads: the topic `events`. Writes: counters, their positions and their descriptions in Redis.
Promise: each record of the topic is looked at exactly once, whoever is killed and however often partitions move, and of
records with the same fingerprint (key and id, `backbone.events.fingerprint`) one is counted, as far as the window of
ids reaches: so each event counts once, also after a kafkastore was killed between produce and confirm. A record that is
no event is counted as such and passed over.

Clients choose ids. No code here, least of all code that acts on events, drops an event because of its id alone.
"""
