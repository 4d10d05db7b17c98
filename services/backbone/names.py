"""All topics, Redis keys, consumer groups and header names, each defined once.

Constants, and functions from names to names. No other module repeats these literals
(tests/test_architecture.py).
"""

from typing import Final
from urllib.parse import quote

# Kafka topics ------------------------------------------------------------------------------------------
EVENTS_TOPIC: Final = "events"
DEAD_LETTER_TOPIC: Final = "events.dead"

# Kafka record headers of EVENTS_TOPIC
HEADER_EVENT_ID: Final = "id"
HEADER_FORMAT_VERSION: Final = "v"

# Kafka record headers of DEAD_LETTER_TOPIC
HEADER_DEAD_REASON: Final = "reason"
HEADER_DEAD_STAGE: Final = "stage"
HEADER_DEAD_TIME: Final = "time"
HEADER_DEAD_ATTEMPT: Final = "attempt"

# Redis beside the tracker: the queue between tracker and kafkastore ----------------------------------------
RAW_EVENTS_LIST: Final = "events:raw"
CLAIM_LEASES: Final = "events:leases"
LEDGER: Final = "events:ledger"
ERASED_DEVICES: Final = "events:erased"
REPLAYED_DEAD_LETTERS: Final = "events:replayed"


def claim_list(instance: str, number: int) -> str:
    """Key of the list with the entries of one claim of a kafkastore instance. `number` is its time in ms since 1970."""
    return f"events:claim:{instance}:{number}"


def claim_parts(key: str) -> tuple[str, int]:
    """Return the instance and the number of a key of claim_list. The number is 0 for another key."""
    instance, _, number = key.removeprefix("events:claim:").rpartition(":")
    return instance, int(number) if number.isascii() and number.isdigit() else 0


def producer_key(producer_id: str) -> str:
    """Key of the sequence of the last push that Redis took from one producer."""
    return f"events:producer:{producer_id}"


# Redis of the counters: written by the statistics consumers, read by kafidx ----------------------------------
COUNTER_DESCRIPTIONS: Final = "counters:descriptions"


def counts_key(counter: str) -> str:
    """Key of the sorted set label -> count of one statistics consumer."""
    return f"counters:{counter}:counts"


def positions_key(counter: str) -> str:
    """Key of the hash partition -> next offset of one statistics consumer."""
    return f"counters:{counter}:positions"


def progress_key(counter: str) -> str:
    """Key of the hash with the progress of one statistics consumer."""
    return f"counters:{counter}:progress"


def new_ids_key(counter: str) -> str:
    """Key of the current generation of event-id fingerprints of one statistics consumer."""
    return f"counters:{counter}:ids:new"


def old_ids_key(counter: str) -> str:
    """Key of the previous generation of event-id fingerprints, which is dropped next."""
    return f"counters:{counter}:ids:old"


def dropped_ids_key(counter: str) -> str:
    """Key of the rest of the dropped generation, which is removed in pieces."""
    return f"counters:{counter}:ids:dropped"


# Redis of the notificationserver: the rate limit of matches -----------------------------------------------------
def notify_window_key(side: str, search_id: str, offer_id: str) -> str:
    """Key of the message that was sent last to one side of a pair; it expires when the next one may be sent."""
    # Quoted, since the ids may contain colons: the windows of two pairs must never be one.
    return f"notify:window:{side}:{quote(search_id, safe='')}:{quote(offer_id, safe='')}"


def notify_content_key(digest: str) -> str:
    """Key of the id that a notification without an id got, by the digest of its content."""
    return f"notify:content:{digest}"


# Redis of the actions: written by the action consumers and their workers ----------------------------------------
DEAD_ACTIONS: Final = "actions:dead"
"""Key of the sorted set of dead actions: `<handler>:<id>` by the time of death."""
INVALID_ACTIONS: Final = "actions:dead:invalid"
"""Key of the sorted set of those dead actions whose event is invalid."""
DEAD_ACTION_CONTENTS: Final = "actions:dead:contents"
"""Key of the hash with each dead action as JSON."""
ACTION_AUDIT: Final = "actions:audit"
"""Key of the list of what operators did to the dead list."""
ACTION_WORKERS: Final = "actions:workers"
"""Key of the hash with the last ping that each worker has received, as JSON."""
ACTION_ENDS: Final = "actions:ends"
"""Key of the hash with the number of actions that are done and dead: `<handler>:done` and `<handler>:dead`."""
ACTION_CONSUMERS: Final = "actions:consumers"
"""Key of the hash with what each consumer process has in hand, as JSON: `<handler>:<process>`."""
PLACES_LOCK: Final = "actions:lock:places"
"""Key of the lock of the worker that writes the offers of places."""
ACT_TASK: Final = "actions.act"
PING_TASK: Final = "actions.ping"


def action_state_key(handler: str, action_id: str) -> str:
    """Key of the hash with the last report of an action and its numbers of starts and attempts."""
    return f"actions:state:{handler}:{action_id}"


def action_running_key(handler: str, action_id: str) -> str:
    """Key that exists while a worker runs an action."""
    return f"actions:running:{handler}:{action_id}"


def away_key(handler: str) -> str:
    """Key that exists while what a handler depends on can't be reached. Its value is the reason."""
    return f"actions:away:{handler}"


def retried_actions_key(handler: str) -> str:
    """Key of the hash of the dead actions that an operator retries: id -> arguments."""
    return f"actions:retried:{handler}"


def failing_actions_key(handler: str) -> str:
    """Key of the sorted set of the ids of unfinished actions that have failed: by the time of the last failure in s."""
    return f"actions:failing:{handler}"


def action_moves_key(handler: str) -> str:
    """Key of the hash of the positions that operators request: partition -> next offset."""
    return f"actions:moves:{handler}"


def dead_action_name(handler: str, action_id: str) -> str:
    """Name of an action in the dead list."""
    return f"{handler}:{action_id}"


def action_process_name(handler: str, process: str) -> str:
    """Name of a consumer process among the consumers."""
    return f"{handler}:{process}"


def handler_of(name: str) -> str:
    """Return the handler of a name of dead_action_name or action_process_name."""
    return name.partition(":")[0]


def provider_limit_key(provider: str) -> str:
    """Key of the requests that a provider has got in the current window."""
    return f"actions:limit:{provider}"


def provider_closed_key(provider: str) -> str:
    """Key that exists while a provider gets no requests, because it rejects them."""
    return f"actions:limit:{provider}:closed"


def action_queue(handler: str) -> str:
    """Celery queue of one handler."""
    return f"actions.{handler}"


def ping_queue(worker: str) -> str:
    """Celery queue that only one worker reads."""
    return f"actions.ping.{worker}"


def pong_key(worker: str) -> str:
    """Key of the last ping that one worker has received."""
    return f"actions:pong:{worker}"


# Redis of the schedules: periodic jobs of a service, started by Celery beat -----------------------------------------
SCHEDULE_CHECK_TASK: Final = "schedule.check"


def schedule_queue(service: str) -> str:
    """Celery queue of the checks of the jobs of one service."""
    return f"schedule.{service}"


def schedule_audit_key(service: str) -> str:
    """Key of the list of what operators did to the jobs of one service."""
    return f"schedule:{service}:audit"


def job_state_key(service: str, job: str) -> str:
    """Key of the hash with the state of a periodic job: its mark, its pause, a waiting request, its counts."""
    return f"schedule:{service}:job:{job}"


def job_runs_key(service: str, job: str) -> str:
    """Key of the hash with the last runs of a periodic job: planned time in ms -> RunRecord as JSON."""
    return f"schedule:{service}:runs:{job}"


def job_running_key(service: str, job: str) -> str:
    """Key that exists while a worker runs a periodic job. Its value is the token of the run."""
    return f"schedule:{service}:running:{job}"


def job_taken_key(service: str, job: str, planned_ms: int) -> str:
    """Key that the run of a planned time is taken with. `planned_ms` is in ms since 1970."""
    return f"schedule:{service}:taken:{job}:{planned_ms}"


# Redis of the importers: what is known of their runs ------------------------------------------------------------------
def offers_lock_key(importer: str) -> str:
    """Key that exists while a run of an importer holds its lease. Its value is the token of the run."""
    return f"offers:lock:{importer}"


def offers_number_key(importer: str) -> str:
    """Key of the number of the last run of an importer."""
    return f"offers:number:{importer}"


def offers_memory_key(importer: str) -> str:
    """Key of the hash with what the next run of an importer needs of the earlier ones."""
    return f"offers:memory:{importer}"


def offers_history_key(importer: str) -> str:
    """Key of the list of the last runs of an importer, the newest first."""
    return f"offers:history:{importer}"


def offers_dry_run_key(importer: str) -> str:
    """Key of the last dry run of an importer."""
    return f"offers:dry:{importer}"


def offers_suspect_key(importer: str) -> str:
    """Key of the content of the last run that an operator may accept."""
    return f"offers:suspect:{importer}"


def offers_totals_key(importer: str) -> str:
    """Key of the hash with the totals of all runs of an importer."""
    return f"offers:totals:{importer}"


def offers_host_key(origin: str) -> str:
    """Key that exists while a request to a host runs, and for the delay after it."""
    return f"offers:host:{quote(origin, safe='')}"


def offers_worker_key(worker: str) -> str:
    """Key of the time of the last check that one worker of the importers has executed."""
    return f"offers:worker:{worker}"


# Consumer groups -------------------------------------------------------------------------------------------
def consumer_group(consumer: str) -> str:
    """Consumer group of one consumer: the name of the consumer, which operators know."""
    return consumer


IGNORES_OLD_EVENTS: Final = frozenset({"chatbot", "geonames"})
"""Consumers that do not act on an event that is older than ACTIONS_OLDEST_S when they take it: nobody waits for its
effect any more. An event does not become old while its action waits."""
