"""The events of bulk writes that overlap."""

from services.storage.store import Database
from services.storage.store.owed import OwedBulk, OwedEvents

_LATER_MS = 600_000
OWNER = "Importer"


async def claimed(owed: OwedEvents, now_ms: int) -> OwedBulk:
    found = await owed.claim_bulk(now_ms=now_ms, lease_ms=1000)
    assert found is not None
    return found


async def is_owed(owed: OwedEvents, now_ms: int) -> bool:
    return await owed.claim_bulk(now_ms=now_ms, lease_ms=0) is not None


async def test_bulk_write_owes_an_event_after_the_event_of_a_shorter_one(database: Database) -> None:
    owed = OwedEvents(database)
    for name in ("first", "second"):
        await owed.begin_bulk(OWNER, name, until_ms=_LATER_MS)
    assert not await is_owed(owed, 1)
    await owed.end_bulk(OWNER, ["first"], now_ms=1)
    first = await claimed(owed, 1)
    await owed.acknowledge_bulk(first, now_ms=1)
    assert not await is_owed(owed, 2)
    await owed.end_bulk(OWNER, ["second"], now_ms=2)
    second = await claimed(owed, 2)
    assert second.version > first.version
    await owed.acknowledge_bulk(second, now_ms=2)
    assert not await is_owed(owed, 10**12)


async def test_bulk_write_that_ends_while_an_event_is_sent_owes_another_one(database: Database) -> None:
    owed = OwedEvents(database)
    await owed.end_bulk(OWNER, ["first"], now_ms=1)
    sent = await claimed(owed, 1)
    await owed.end_bulk(OWNER, ["second"], now_ms=2)
    await owed.acknowledge_bulk(sent, now_ms=2)
    assert await is_owed(owed, 2)


async def test_killed_bulk_write_owes_an_event_after_events_of_others(database: Database) -> None:
    """It begins while another event is sent, and an event that it owes early is sent before it is killed."""
    owed = OwedEvents(database)
    await owed.end_bulk(OWNER, ["first"], now_ms=1)
    first = await claimed(owed, 1)
    await owed.begin_bulk(OWNER, "killed", until_ms=_LATER_MS)
    await owed.acknowledge_bulk(first, now_ms=2)
    early = await claimed(owed, 1_001)
    await owed.acknowledge_bulk(early, now_ms=1_002)
    assert not await is_owed(owed, _LATER_MS - 1)
    last = await claimed(owed, _LATER_MS)
    assert last.version > early.version  # another id: readers do not drop it as a copy
    await owed.acknowledge_bulk(last, now_ms=_LATER_MS)
    assert not await is_owed(owed, 10**12)


async def test_write_that_ends_ends_the_writes_that_wait_for_it(database: Database) -> None:
    owed = OwedEvents(database)
    for _ in range(2):
        await owed.begin_bulk(OWNER, "later", until_ms=_LATER_MS)
    await owed.begin_bulk(OWNER, "last", until_ms=_LATER_MS)
    await owed.end_bulk(OWNER, ["last", "later"], now_ms=1)
    await owed.acknowledge_bulk(await claimed(owed, 1), now_ms=1)
    assert not await is_owed(owed, 10**12)
