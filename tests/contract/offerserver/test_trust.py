"""Trust in an importer: suspect runs that an operator accepts, offers that become stale, and refused ones."""

import pytest

from services.offerserver.handlers.importing import RunRefused
from services.offerserver.handlers.stale import remove_stale
from services.offerserver.store.runs import RunOrder
from tests.contract.offerserver.bench import OWNER, ImportBench, Killed, feed, thing, things

DAY_MS = 86_400_000
SEARCH = {
    "owner": "Ada",
    "text": "things",
    "keywords": ["#thing"],
    "location": {"type": "Point", "coordinates": [13.4, 52.5]},
    "radiusMeters": 10_000,
}


async def test_accepted_run_writes_what_was_shown(bench: ImportBench) -> None:
    await bench.run(things(range(10)))
    await bench.run(things(range(10)))
    renamed = feed(thing(number, id=f"other-{number}") for number in range(10))
    suspect = await bench.run(renamed)
    assert (suspect.grade, suspect.counts.held, suspect.counts.new) == ("partial", 10, 0)
    assert len(suspect.pending) == 10
    before = await bench.offers()
    report = await bench.run(order=RunOrder("accept", "operator", suspect.digest))
    assert (report.mode, report.grade, report.counts.content) == ("accept", "trusted", 10)
    after = await bench.offers()
    assert {each["_id"] for each in after} == {each["_id"] for each in before}
    assert await bench.ids() == [f"other-{number}" for number in range(10)]
    assert (await bench.run(renamed)).counts.unchanged == 10


async def test_run_is_not_accepted_after_storage_has_changed(bench: ImportBench) -> None:
    await bench.run(things(range(10)))
    suspect = await bench.run(feed(thing(number, id=f"other-{number}") for number in range(10)))
    (first, *_) = await bench.offers()
    await bench.http.delete(f"/offers/{first['_id']}")
    with pytest.raises(RunRefused, match="storage has changed since"):
        await bench.run(order=RunOrder("accept", "operator", suspect.digest))
    assert (await bench.ids())[0] == "thing-1"


async def test_run_is_not_accepted_after_another_run(bench: ImportBench) -> None:
    await bench.run(things(range(10)))
    suspect = await bench.run(feed(thing(number, id=f"other-{number}") for number in range(10)))
    await bench.run(things(range(10)))
    with pytest.raises(RunRefused, match="another run has ended since"):
        await bench.run(order=RunOrder("accept", "operator", suspect.digest))


async def test_source_that_shrank_is_trusted_after_its_run_is_accepted(bench: ImportBench) -> None:
    await bench.run(things(range(10)))
    suspect = await bench.run(things(range(4)))
    assert (suspect.grade, suspect.counts.absent) == ("partial", 6)
    assert {each.kind for each in suspect.pending} == {"absent"}
    accepted = await bench.run(order=RunOrder("accept", "operator", suspect.digest))
    assert (accepted.grade, len(await bench.offers())) == ("trusted", 10)
    report = await bench.run(things(range(4)))
    assert (report.grade, report.counts.removed) == ("trusted", 6)
    assert len(await bench.ids()) == 4


async def test_suspect_run_without_a_difference_can_be_accepted(bench: ImportBench) -> None:
    bad = [thing(number, at=[0, 0]) for number in range(5, 9)]
    suspect = await bench.run(feed([*(thing(number) for number in range(3)), *bad]))
    assert (suspect.grade, suspect.pending) == ("partial", ())
    report = await bench.run(order=RunOrder("accept", "operator", suspect.digest))
    assert (report.grade, report.reasons[0]) == ("trusted", "accepted by operator")


async def test_stale_importer_writes_nothing_until_a_run_is_trusted(bench: ImportBench) -> None:
    await bench.run(things(range(10)))
    for _ in range(2):
        bench.now_ms += 8 * DAY_MS
        assert await remove_stale(bench.runner, [bench.importer.source], stale_days=7) in (0, 10)
        report = await bench.run(things(range(4)))
        assert (report.grade, report.counts.new) == ("partial", 0)
        assert report.reasons[-1] == "the importer has had no trusted run for long"
        assert await bench.ids() == []
    await bench.run(order=RunOrder("accept", "operator", report.digest))
    assert len(await bench.ids()) == 4


async def test_stale_offers_that_no_importer_wrote_stay(bench: ImportBench) -> None:
    await bench.http.post("/offers", json=SEARCH | {"owner": OWNER, "radiusMeters": 5})
    await bench.run(things(range(3)))
    bench.now_ms += 8 * DAY_MS
    assert await remove_stale(bench.runner, [bench.importer.source], stale_days=7) == 3
    assert [each["text"] for each in await bench.offers()] == ["things"]


async def test_refused_offers_are_a_reason_and_sent_again(bench: ImportBench, monkeypatch: pytest.MonkeyPatch) -> None:
    # The checks of drafts have the limits of storage, so only a storage with other limits refuses an offer.
    async def refuse(**_: object) -> int:
        return 3

    monkeypatch.setattr(bench.client, "write_offers", refuse)
    for _ in range(2):
        bench.serve(things(range(3)), ETag='"1"')
        report = await bench.run()
        assert (report.grade, report.counts.refused) == ("partial", 3)
        assert report.reasons == ("storage refused 3 offers",)
    assert "if-none-match" not in bench.server.requests[1].headers


async def test_age_of_an_importer_counts_from_its_first_run_even_if_none_ends(bench: ImportBench) -> None:
    bench.client.killed_at = 0
    with pytest.raises(Killed):
        await bench.run(things(range(3)))
    assert (await bench.store.state("things")).alive_ms == bench.now_ms


async def test_former_document_is_read_after_another_one_was_accepted(bench: ImportBench) -> None:
    bench.serve(things(range(10)), ETag='"1"')
    await bench.run()
    suspect = await bench.run(things(range(4), temperature=9))
    assert (suspect.pending_counts.absent, suspect.counts.content) == (6, 4)
    await bench.run(order=RunOrder("accept", "operator", suspect.digest))
    bench.serve(things(range(10)), ETag='"1"')
    assert (await bench.run()).counts.content == 4
    assert "if-none-match" not in bench.server.requests[-1].headers
