"""Every topic, Redis key, consumer group and header name, each written once.

Pure constants and functions from names to names. A literal that stands here stands nowhere else
(tests/test_architecture.py).
"""

from typing import Final

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
    """Name the list that holds the entries which one kafkastore instance took in its `number`-th claim."""
    return f"events:claim:{instance}:{number}"


def producer_key(producer_id: str) -> str:
    """Key of the sequence of the last push that Redis took from one producer."""
    return f"events:producer:{producer_id}"


# Redis of the counters: written by the statistics consumers, read by kafidx ----------------------------------
COUNTER_DESCRIPTIONS: Final = "counters:descriptions"


def counts_key(counter: str) -> str:
    """Name the sorted set that holds label -> count of one statistics consumer."""
    return f"counters:{counter}:counts"


def positions_key(counter: str) -> str:
    """Name the hash that holds partition -> next offset of one statistics consumer."""
    return f"counters:{counter}:positions"


def progress_key(counter: str) -> str:
    """Name the hash that holds how many events one statistics consumer has counted, and when last."""
    return f"counters:{counter}:progress"


def new_ids_key(counter: str) -> str:
    """Name the set that holds the fingerprints of the ids which one statistics consumer has counted last."""
    return f"counters:{counter}:ids:new"


def old_ids_key(counter: str) -> str:
    """Name the set that holds those before them: the generation that is dropped next."""
    return f"counters:{counter}:ids:old"


def dropped_ids_key(counter: str) -> str:
    """Name the set that holds what is left of the generation that was dropped last, while it is removed in pieces."""
    return f"counters:{counter}:ids:dropped"


# Consumer groups -------------------------------------------------------------------------------------------
def consumer_group(consumer: str) -> str:
    """Name the Kafka consumer group of one consumer: its own name, as operators know it."""
    return consumer
