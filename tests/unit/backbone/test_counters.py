import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise
from typing import Any

import pytest
from redis.asyncio import Redis

from services.backbone import names
from services.backbone.counters import (
    OTHER_LABEL,
    ApplyResult,
    CounterStore,
    Description,
    IdWindow,
    Positions,
    Progress,
    RankedCounts,
    Update,
    position_error,
)

ROOMY = 1000
APPLIED = ApplyResult(refused=set(), duplicates={})
REFUSED = ApplyResult(refused={0}, duplicates={})


@pytest.fixture
async def redis(redis_server: Any) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_server.url, decode_responses=True) as client:
        await client.flushdb()
        yield client


@pytest.fixture
def store(redis: Redis) -> CounterStore:
    return CounterStore(redis)


def update(first: int, counts: dict[str, int], *, partition: int = 0, last_ms: int = 0, invalid: int = 0) -> Update:
    events = sum(counts.values())
    return Update(partition, first, first + events + invalid, events, last_ms, counts, invalid)


async def test_counts_add_up_and_the_position_moves_with_them(store: CounterStore) -> None:
    await store.begin("c", 0, at=0)
    assert await store.apply("c", [update(0, {"a": 2, "b": 1}, last_ms=50)], max_labels=ROOMY) == APPLIED
    assert await store.apply("c", [update(3, {"b": 4}, last_ms=40, invalid=2)], max_labels=ROOMY) == APPLIED
    assert await store.counts("c") == {"b": 5, "a": 2}
    assert await store.positions("c") == {0: 9}
    assert await store.progress("c") == Progress(events=7, last_received_ms=50, invalid=2)


async def test_update_that_does_not_begin_at_the_position_has_no_effect(store: CounterStore) -> None:
    await store.begin("c", 0, at=5)
    await store.begin("c", 1, at=0)
    good, late, early = update(0, {"a": 1}, partition=1), update(4, {"x": 9}), update(6, {"x": 9})
    assert await store.apply("c", [late, good, early], max_labels=ROOMY) == REFUSED
    assert await store.counts("c") == {"a": 1}
    assert await store.positions("c") == {0: 5, 1: 1}


async def test_repeated_update_is_refused(store: CounterStore) -> None:
    await store.begin("c", 0, at=0)
    batch = [update(0, {"a": 1})]
    assert await store.apply("c", batch, max_labels=ROOMY) == APPLIED
    assert await store.apply("c", batch, max_labels=ROOMY) == REFUSED
    assert await store.counts("c") == {"a": 1}


async def test_partition_that_never_began_is_not_counted(store: CounterStore) -> None:
    assert await store.apply("c", [update(0, {"a": 1})], max_labels=ROOMY) == REFUSED
    assert await store.counts("c") == {}


async def test_first_member_decides_where_a_partition_begins(store: CounterStore) -> None:
    assert await store.begin("c", 0, at=7) == 7
    assert await store.begin("c", 0, at=0) == 7
    assert await store.positions("c") == {0: 7}


async def test_position_moves_only_from_where_it_is_expected(store: CounterStore) -> None:
    await store.begin("c", 0, at=7)
    assert not await store.move_position("c", 0, expected=6, to=100)
    assert await store.move_position("c", 0, expected=7, to=100)
    assert not await store.move_position("c", 0, expected=7, to=100)
    assert await store.positions("c") == {0: 100}
    assert (await store.progress("c")).missed == 93


async def test_position_that_moves_back_is_given_up_and_the_ledger_balances(store: CounterStore) -> None:
    await store.begin("c", 0, at=0)
    await store.apply("c", [update(0, {"a": 40})], max_labels=10)
    assert await store.move_position("c", 0, expected=40, to=10)
    assert await store.positions("c") == {0: 10}
    progress = await store.progress("c")
    assert (progress.missed, progress.given_up) == (0, 30)
    assert 10 + progress.given_up == progress.passed


async def test_first_topic_adopts_the_existing_positions(store: CounterStore) -> None:
    await store.begin("c", 0, at=7)
    assert await store.adopt_topic("c", "one") is None
    assert await store.adopt_topic("c", "one") is None
    assert await store.positions("c") == {0: 7}
    assert await store.progress("c") == Progress()


async def test_recreated_topic_discards_all_positions_once(store: CounterStore, redis: Redis) -> None:
    await store.adopt_topic("c", "one")
    for partition, at in enumerate((7, 0, 2**53 - 1)):
        await store.begin("c", partition, at=at)
    await redis.hset(names.positions_key("c"), mapping={"3": "x", "4": "9" * 20})
    assert await store.adopt_topic("c", "two") == 7 + 2**53 - 1
    assert await store.adopt_topic("c", "two") is None
    assert await store.read_positions("c") == Positions({}, {})
    assert (await store.progress("c")).given_up == 7 + 2**53 - 1


@pytest.mark.parametrize(
    ("partition", "value"), [("01", "5"), ("-1", "5"), ("x", "5"), ("9" * 40, "5"), ("1", "007"), ("1", "-5")]
)
async def test_field_that_is_no_position_is_not_given_up(
    store: CounterStore, redis: Redis, partition: str, value: str
) -> None:
    await store.adopt_topic("c", "one")
    await store.begin("c", 0, at=7)
    await redis.hset(names.positions_key("c"), partition, value)
    assert await store.positions("c") == {0: 7}
    assert await store.adopt_topic("c", "two") == 7


@pytest.mark.parametrize("value", ["", "x", "-1", "+1", " 1", "1.0", "01", "1_0", "\u0661", str(2**53), "9" * 5000])
async def test_invalid_position_is_returned_separately(store: CounterStore, redis: Redis, value: str) -> None:
    await store.begin("c", 0, at=5)
    await redis.hset(names.positions_key("c"), "1", value)
    assert await store.read_positions("c") == Positions({0: 5}, {"1": value})
    assert await store.positions("c") == {0: 5}
    message = position_error("c", "1", value)
    assert message.startswith(f'{names.positions_key("c")}: partition 1 has the invalid position "{value[:40]}". Set')


async def test_labels_are_bounded_and_sums_stay_exact(store: CounterStore) -> None:
    await store.begin("c", 0, at=0)
    assert await store.apply("c", [update(0, {f"label {number}": 2 for number in range(8)})], max_labels=5) == APPLIED
    assert await store.apply("c", [update(16, {"label 0": 1, "label 7": 1, "(c) 1.2.3.4": 3})], max_labels=5) == APPLIED
    counts = await store.counts("c")
    assert counts == {"label 0": 3} | {f"label {n}": 2 for n in range(1, 5)} | {OTHER_LABEL: 7, f"(c) {OTHER_LABEL}": 3}
    assert sum(counts.values()) == 21


@pytest.mark.parametrize("label", ["", "ü 漢 🙂", "a\0b", "line\nline", "(other)", "nan", "1e5"])
async def test_any_text_is_a_label(store: CounterStore, label: str) -> None:
    await store.begin("c", 0, at=0)
    assert await store.apply("c", [update(0, {label: 3})], max_labels=ROOMY) == APPLIED
    assert await store.counts("c") == {label: 3}


async def test_large_sums_stay_whole_numbers(store: CounterStore) -> None:
    await store.begin("c", 0, at=0)
    for first in (0, 2**52):
        assert await store.apply("c", [update(first, {"a": 2**52})], max_labels=ROOMY) == APPLIED
    assert await store.counts("c") == {"a": 2**53}


async def test_counters_do_not_touch_each_other(store: CounterStore) -> None:
    await store.begin("one", 0, at=0)
    await store.begin("two", 0, at=0)
    assert await store.apply("one", [update(0, {"a": 1})], max_labels=ROOMY) == APPLIED
    assert await store.counts("two") == {}
    assert await store.progress("two") == Progress()


async def test_descriptions_come_back_by_name(store: CounterStore) -> None:
    second = Description("b", "second", "B", {"(x)": "a mark"}, kind="histograms")
    await store.describe(second)
    await store.describe(Description("a", "old", "A"))
    await store.describe(Description("a", "new", "A"))
    assert await store.descriptions() == [Description("a", "new", "A"), second]


async def test_members_that_race_for_the_same_records_count_each_once(store: CounterStore) -> None:
    chance = random.Random(11)
    records = [f"label {chance.randrange(20)}" for _ in range(2000)]
    await store.begin("c", 0, at=0)

    async def member(chance: random.Random) -> int:
        applied = 0
        while (first := (await store.positions("c"))[0]) < len(records):
            taken = records[first : first + chance.randint(1, 60)]
            await asyncio.sleep(chance.random() / 500)
            applied += await store.apply("c", [update(first, dict(Counter(taken)))], max_labels=ROOMY) == APPLIED
        return applied

    shares = await asyncio.gather(*(member(random.Random(seed)) for seed in range(4)))
    assert min(shares) > 0
    assert await store.counts("c") == dict(Counter(records))
    assert (await store.progress("c")).events == len(records)


def with_ids(ids: Iterable[int], *, first: int = 0, partition: int = 0, duplicates: int = 0) -> Update:
    """Return the update of a batch whose events have these ids. Each event has its own label."""
    numbers = list(ids)
    return Update(
        partition=partition,
        first_offset=first,
        next_offset=first + len(numbers) + duplicates,
        events=len(numbers),
        last_received_ms=0,
        counts={f"id {number}": 1 for number in numbers},
        duplicates=duplicates,
        ids=b"".join(number.to_bytes(8, "big") for number in numbers),
    )


async def test_batch_with_a_counted_id_changes_nothing_and_returns_its_index(store: CounterStore) -> None:
    await store.begin("c", 0, at=0)
    assert await store.apply("c", [with_ids([7, 8, 9])], max_labels=ROOMY) == APPLIED
    outcome = await store.apply("c", [with_ids([1, 8, 2, 7], first=3)], max_labels=ROOMY)
    assert outcome == ApplyResult(set(), {0: [1, 3]})
    assert await store.progress("c") == Progress(events=3)
    assert await store.positions("c") == {0: 3}
    # The other ids of the rejected batch were not remembered.
    assert await store.apply("c", [with_ids([1, 2], first=3, duplicates=2)], max_labels=ROOMY) == APPLIED
    assert await store.counts("c") == dict.fromkeys(("id 9", "id 8", "id 7", "id 2", "id 1"), 1)
    assert await store.positions("c") == {0: 7}
    progress = await store.progress("c")
    assert progress == Progress(events=5, duplicates=2)
    assert progress.passed == 7


async def test_duplicates_are_found_in_other_partitions_and_within_one_round_trip(store: CounterStore) -> None:
    for partition in range(3):
        await store.begin("c", partition, at=0)
    updates = [with_ids([1, 2]), with_ids([2, 3], partition=1), with_ids([4], partition=2)]
    assert await store.apply("c", updates, max_labels=ROOMY) == ApplyResult(set(), {1: [0]})
    assert await store.positions("c") == {0: 2, 1: 0, 2: 1}


async def test_counters_know_the_ids_of_their_own_events_only(store: CounterStore) -> None:
    for counter in ("one", "two"):
        await store.begin(counter, 0, at=0)
        assert await store.apply(counter, [with_ids([1])], max_labels=ROOMY) == APPLIED


async def test_stale_batch_is_refused_before_its_ids_are_checked(store: CounterStore) -> None:
    await store.begin("c", 0, at=0)
    assert await store.apply("c", [with_ids([1])], max_labels=ROOMY) == APPLIED
    assert await store.apply("c", [with_ids([1])], max_labels=ROOMY) == REFUSED
    assert await store.apply("c", [with_ids([2])], max_labels=ROOMY) == REFUSED
    assert await store.apply("c", [with_ids([2], first=1)], max_labels=ROOMY) == APPLIED


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 9000])
async def test_batches_of_any_size_are_checked(store: CounterStore, size: int) -> None:
    await store.begin("c", 0, at=0)
    assert await store.apply("c", [with_ids(range(size))], max_labels=ROOMY) == APPLIED
    outcome = await store.apply("c", [with_ids([*range(size, 2 * size), size - 1, 0], first=size)], max_labels=ROOMY)
    assert outcome.duplicates == {0: [size, size + 1]}
    outcome = await store.apply("c", [with_ids(range(size), first=size)], max_labels=ROOMY)
    assert outcome.duplicates == {0: list(range(size))}


async def test_last_ids_are_remembered_and_memory_is_bounded(store: CounterStore, redis: Redis) -> None:
    window, chance, known = IdWindow(seconds=86_400, ids=20), random.Random(5), list[int]()
    await store.begin("c", 0, at=0)
    for _ in range(60):
        size = chance.randint(1, 15)
        fresh = list(range(len(known), len(known) + size))
        update = with_ids(fresh, first=len(known))
        assert await store.apply("c", [update], max_labels=ROOMY, window=window) == APPLIED
        known += fresh
        probe = with_ids(known[-20:], first=len(known))
        outcome = await store.apply("c", [probe], max_labels=ROOMY, window=window)
        assert outcome.duplicates == {0: list(range(len(known[-20:])))}
        generations = [await redis.scard(key) for key in (names.new_ids_key("c"), names.old_ids_key("c"))]
        assert max(generations) <= 20
        assert sum(generations) + await redis.scard(names.dropped_ids_key("c")) <= 40
    assert await store.apply("c", [with_ids([0], first=len(known))], max_labels=ROOMY, window=window) == APPLIED


async def test_large_dropped_generation_is_removed_in_pieces(store: CounterStore, redis: Redis) -> None:
    window, size, first = IdWindow(seconds=86_400, ids=20_000), 1000, 0
    left = []
    await store.begin("c", 0, at=0)
    for first in range(0, 100_000, size):
        update = with_ids(range(first, first + size), first=first)._replace(counts={"a": size})
        assert await store.apply("c", [update], max_labels=ROOMY, window=window) == APPLIED
        keys = (names.new_ids_key("c"), names.old_ids_key("c"), names.dropped_ids_key("c"))
        sizes = [await redis.scard(key) for key in keys]
        assert sum(sizes) <= 40_000 + size
        left.append(sizes[2])
    assert max(left) >= 10_000, "no large generation was dropped"
    assert left[59] == left[79] == 0, "each generation is removed before the next one is dropped"
    assert max(before - after for before, after in pairwise(left)) < 12_000


async def test_batch_larger_than_the_window_is_remembered_completely(store: CounterStore, redis: Redis) -> None:
    window = IdWindow(seconds=86_400, ids=3)
    await store.begin("c", 0, at=0)
    for first in (0, 10, 20):
        assert (
            await store.apply("c", [with_ids(range(first, first + 10), first=first)], max_labels=ROOMY, window=window)
            == APPLIED
        )
        outcome = await store.apply(
            "c", [with_ids(range(first, first + 10), first=first + 10)], max_labels=ROOMY, window=window
        )
        assert outcome.duplicates == {0: list(range(10))}
    assert await redis.scard(names.new_ids_key("c")) + await redis.scard(names.old_ids_key("c")) == 20


async def test_id_is_remembered_for_the_time_of_the_window(store: CounterStore) -> None:
    window = IdWindow(seconds=0.3, ids=1_000_000)
    await store.begin("c", 0, at=0)
    assert await store.apply("c", [with_ids([100])], max_labels=ROOMY, window=window) == APPLIED
    for round_ in range(3):
        began_s = time.monotonic()
        outcome, first = None, (await store.positions("c"))[0]
        old, fresh = 100 + round_, 101 + round_
        assert await store.apply("c", [with_ids([fresh], first=first)], max_labels=ROOMY, window=window) == APPLIED
        while outcome != APPLIED:
            first = (await store.positions("c"))[0]
            outcome = await store.apply("c", [with_ids([fresh], first=first)], max_labels=ROOMY, window=window)
            other = with_ids([1000 + first], first=first)  # time passes while batches are counted
            await store.apply("c", [other], max_labels=ROOMY, window=window)
            assert time.monotonic() - began_s < 20, f"{fresh} does not expire, after {old}"
        assert time.monotonic() - began_s >= 0.3


async def test_ids_never_expire_by_themselves(store: CounterStore, redis: Redis) -> None:
    window = IdWindow(seconds=3600, ids=2)
    await store.begin("c", 0, at=0)
    for first in (0, 2, 4):
        assert (
            await store.apply("c", [with_ids([first, first + 1], first=first)], max_labels=ROOMY, window=window)
            == APPLIED
        )
    keys = [key async for key in redis.scan_iter(match="counters:*")]
    assert {names.new_ids_key("c"), names.old_ids_key("c")} <= set(keys)
    assert [await redis.pttl(key) for key in keys] == [-1] * len(keys)


async def test_concurrent_members_count_each_id_once_with_duplicates_in_all_partitions(store: CounterStore) -> None:
    chance = random.Random(12)
    records = [[chance.randrange(700) for _ in range(1500)] for _ in range(3)]
    for partition in range(3):
        await store.begin("c", partition, at=0)

    async def member(chance: random.Random) -> tuple[int, int]:
        applied = refused = 0
        while True:
            positions = await store.positions("c")
            left = [partition for partition, position in positions.items() if position < len(records[partition])]
            if not left:
                return applied, refused
            partition = chance.choice(left)
            first = positions[partition]
            taken = records[partition][first : first + chance.randint(1, 60)]
            known = set[int]()
            while True:
                await asyncio.sleep(chance.random() / 500)
                fresh = [number for number in dict.fromkeys(taken) if number not in known]
                duplicates = len(taken) - len(fresh)
                mine = with_ids(fresh, first=first, partition=partition, duplicates=duplicates)
                outcome = await store.apply("c", [mine], max_labels=ROOMY)
                if partition not in outcome.duplicates:
                    applied += outcome == APPLIED
                    refused += outcome != APPLIED
                    break
                known |= {fresh[place] for place in outcome.duplicates[partition]}

    results = await asyncio.gather(*(member(random.Random(seed)) for seed in range(4)))
    assert min(applied for applied, _ in results) > 0
    assert sum(refused for _, refused in results) > 0
    unique = {number for partition in records for number in partition}
    assert await store.counts("c") == {f"id {number}": 1 for number in unique}
    assert await store.progress("c") == Progress(events=len(unique), duplicates=4500 - len(unique))


async def test_states_return_positions_and_progress_of_each_counter(store: CounterStore, redis: Redis) -> None:
    await store.begin("a", 0, at=0)
    await store.apply("a", [update(0, {"x": 2}, last_ms=50, invalid=1)], max_labels=ROOMY)
    await redis.hset(names.positions_key("b"), "1", "nonsense")
    assert await store.states(["a", "b", "never"]) == [
        (Positions({0: 3}, {}), Progress(events=2, last_received_ms=50, invalid=1)),
        (Positions({}, {"1": "nonsense"}), Progress()),
        (Positions({}, {}), Progress()),
    ]
    assert await store.states([]) == []


async def test_ranked_counts_return_a_part_in_either_order_with_total_and_highest(store: CounterStore) -> None:
    await store.begin("c", 0, at=0)
    await store.apply("c", [update(0, {"a": 1, "b": 5, "c": 3})], max_labels=ROOMY)
    first = await store.ranked_counts("c", first=0, count=2, descending=True)
    assert first == RankedCounts([("b", 5), ("c", 3)], labels=3, highest=5)
    last = await store.ranked_counts("c", first=2, count=2, descending=False)
    assert last == RankedCounts([("b", 5)], labels=3, highest=5)
    assert await store.ranked_counts("never", first=0, count=2, descending=True) == RankedCounts([], 0, 0)


async def test_scan_counts_returns_every_label_once_over_several_slices(store: CounterStore) -> None:
    counts = {f"label {number}": number + 1 for number in range(1000)}
    await store.begin("c", 0, at=0)
    await store.apply("c", [update(0, counts)], max_labels=ROOMY)
    assert await store.scan_counts("c", slice_labels=50) == counts
    assert await store.scan_counts("never", slice_labels=50) == {}
