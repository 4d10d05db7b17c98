"""consumers: the statistics consumers, and the action consumers with their Celery worker and their periodic jobs.

Reads: the topic `events`. Writes: counters, positions and descriptions, and the state of actions in Redis; requests to
storage, the chat provider and GeoNames.
Promise: A statistics consumer processes each record of the topic exactly once, also when members are killed and
partitions move. Of several records with one fingerprint (`backbone.events.fingerprint`) it counts one, within the
window of ids. So each event counts once, also when a kafkastore is killed between produce and confirm. Records that are
not events are counted as invalid and skipped.
An action consumer acts on each event, or puts it into the dead list, whatever process is killed. An action that has
ended is not repeated within 24 hours.

Clients choose ids. No code here drops an event because of its id alone; this matters most for code that acts on events.
"""
