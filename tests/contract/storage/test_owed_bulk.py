"""The events of bulk writes that overlap."""

from services.storage.store import Database
from services.storage.store.owed import OwedEvents

_LATER_MS = 600_000


async def test_bulk_write_owes_an_event_after_the_event_of_a_shorter_one(database: Database) -> None:
    owed = OwedEvents(database)
    await owed.owe_bulk("Importer", _LATER_MS)
    await owed.owe_bulk("Importer", _LATER_MS)
    assert await owed.claim_bulk(now_ms=1, lease_ms=1000) is None
    await owed.owe_bulk("Importer", 1)  # the first write ends
    first = await owed.claim_bulk(now_ms=1, lease_ms=1000)
    assert first is not None
    await owed.acknowledge_bulk(first)
    await owed.owe_bulk("Importer", 2)  # the second write ends
    second = await owed.claim_bulk(now_ms=2, lease_ms=1000)
    assert second is not None
    assert second.version > first.version
    await owed.acknowledge_bulk(second)
    assert await owed.claim_bulk(now_ms=10**12, lease_ms=1000) is None


async def test_bulk_write_that_ends_while_an_event_is_sent_owes_another_one(database: Database) -> None:
    owed = OwedEvents(database)
    await owed.owe_bulk("Importer", 1)
    sent = await owed.claim_bulk(now_ms=1, lease_ms=1000)
    assert sent is not None
    await owed.owe_bulk("Importer", 2)
    await owed.acknowledge_bulk(sent)
    assert await owed.claim_bulk(now_ms=2, lease_ms=1000) is not None
