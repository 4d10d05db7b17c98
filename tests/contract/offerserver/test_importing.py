"""Runs of an importer: what they write, whom they notify, and what a kill leaves."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json

import pytest

from services.offerserver.core.drafts import Parsed, UnreadableFeed
from services.offerserver.core.importer import FeedDocument, FeedRequest
from services.offerserver.handlers.importing import RunRefused
from services.offerserver.importers.configured import read_source
from services.offerserver.store.leases import LeaseLost
from services.offerserver.store.runs import RunOrder
from tests.contract.offerserver.bench import OWNER, ImportBench, Killed, feed, thing, things

SEARCH = {
    "owner": "Ada",
    "text": "things",
    "keywords": ["#thing"],
    "location": {"type": "Point", "coordinates": [13.4, 52.5]},
    "radiusMeters": 10_000,
}


async def test_first_run_creates_the_offers_of_the_feed(bench: ImportBench) -> None:
    report = await bench.run(things(range(3)))
    assert (report.grade, report.counts.new, report.counts.items, report.number) == ("trusted", 3, 3, 1)
    first = (await bench.offers())[0]
    assert (first["text"], first["keywords"], first["radiusMeters"]) == ("Thing 0", ["#all", "#thing"], 225)
    assert first["location"]["coordinates"] == [13.4, 52.5]
    assert (first["showLocation"], first["validfrom"], first["validuntil"]) == (True, None, None)
    assert first["extdata"]["id"] == "thing-0"
    assert (first["extdata"]["licence"], first["extdata"]["attribution"]) == ("CC0 1.0", "A city")
    await bench.until_quiet(1)
    assert bench.tracker.requests[0][1:] == ("bud", {"owner": OWNER})


async def test_same_feed_twice_writes_nothing(bench: ImportBench) -> None:
    await bench.run(things(range(3)))
    before = await bench.offers()
    await bench.until_quiet(1)
    bench.client.writes = 0
    turned = [dict(reversed(thing(number).items())) for number in (2, 0, 1)]
    for text in (things(range(3)), feed(turned), json.dumps(json.loads(feed(turned)), indent=4)):
        report = await bench.run(text)
        assert (report.grade, report.counts.unchanged) == ("trusted", 3)
    assert bench.client.writes == 0
    assert await bench.offers() == before
    await bench.until_quiet(1)


async def test_changed_readings_are_written_without_an_event(bench: ImportBench) -> None:
    await bench.run(things(range(3)))
    await bench.until_quiet(1)
    report = await bench.run(things(range(3), temperature=21))
    assert (report.counts.content, report.counts.match) == (3, 0)
    assert {each["extdata"]["temperature"] for each in await bench.offers()} == {21}
    await bench.until_quiet(1)


async def test_document_that_has_not_changed_is_not_parsed(bench: ImportBench) -> None:
    bench.serve(things(range(3)), ETag='"1"')
    await bench.run()
    bench.serve("", status=304)
    report = await bench.run()
    assert (report.grade, report.is_unchanged) == ("trusted", True)
    assert bench.server.requests[1].headers["if-none-match"] == '"1"'
    assert len(await bench.offers()) == 3


async def test_document_is_fetched_again_when_storage_lost_offers(bench: ImportBench) -> None:
    bench.serve(things(range(3)), ETag='"1"')
    await bench.run()
    await bench.http.delete(f"/bulk/offers/{OWNER}")
    report = await bench.run()
    assert "if-none-match" not in bench.server.requests[1].headers
    assert report.grade == "trusted"


async def test_document_is_fetched_again_while_an_item_is_absent(bench: ImportBench) -> None:
    await bench.run(things(range(3)))
    bench.serve(things(range(2)), ETag='"2"')
    assert (await bench.run()).counts.absent == 1
    assert (await bench.run()).counts.removed == 1
    bench.serve("", status=304)
    assert (await bench.run()).is_unchanged
    assert ["if-none-match" in each.headers for each in bench.server.requests] == [False, False, False, True]


async def test_document_is_fetched_again_when_an_offer_has_ended(bench: ImportBench) -> None:
    end = dt.datetime.fromtimestamp(bench.now_ms / 1000 + 1, dt.UTC)
    bench.serve(feed([thing(1), thing(2, until=end.isoformat())]), ETag='"1"')
    await bench.run()
    bench.now_ms += 2_000
    assert (await bench.run()).counts.removed == 1
    assert "if-none-match" not in bench.server.requests[1].headers


async def test_document_is_parsed_again_when_its_importer_depends_on_the_time(bench: ImportBench) -> None:
    bench.importer = dataclasses.replace(bench.importer, parse_again_s=60)
    for seconds, status in ((0, 200), (59, 304), (2, 200)):
        bench.now_ms += 1000 * seconds
        bench.serve(things(range(2)) if status == 200 else "", status=status, ETag='"1"')
        assert (await bench.run()).grade == "trusted"
    assert ["if-none-match" in each.headers for each in bench.server.requests] == [False, True, False]


async def test_item_is_removed_when_two_trusted_runs_lack_it(bench: ImportBench) -> None:
    await bench.run(things(range(4)))
    assert (await bench.run(things(range(3)))).counts.absent == 1
    assert len(await bench.offers()) == 4
    assert (await bench.run(things(range(2)))).counts.removed == 1
    assert await bench.ids() == ["thing-0", "thing-1", "thing-2"]


async def test_partial_run_writes_removes_nothing_and_does_not_count_absences(bench: ImportBench) -> None:
    await bench.run(things(range(4)))
    await bench.run(things(range(3)))
    report = await bench.run(feed([thing(0), thing(5), *(thing(n, at=[0, 0]) for n in (1, 2, 3))]))
    assert (report.grade, report.counts.new, report.counts.removed) == ("partial", 1, 0)
    assert report.reasons == ("3 of 5 rows were rejected",)
    assert len(await bench.offers()) == 5


async def test_failed_run_writes_nothing(bench: ImportBench) -> None:
    await bench.run(things(range(4)))
    before = await bench.offers()
    report = await bench.run("<!doctype html><title>Log in</title>")
    assert report.grade == "failed"
    assert report.exchanges[0].head == "<!doctype html><title>Log in</title>"
    assert await bench.offers() == before


async def test_dry_run_writes_and_records_nothing(bench: ImportBench) -> None:
    await bench.run(things(range(2)))
    report = await bench.run(things(range(5)), RunOrder("dry run", "operator"))
    assert (report.mode, report.counts.new) == ("dry run", 3)
    assert [each.kind for each in report.differences] == ["new"] * 3
    assert len(await bench.offers()) == 2
    assert len(await bench.store.history("things")) == 1
    assert await bench.store.dry_run("things") == report


@pytest.mark.parametrize("slices", [0, 1, 2, 3])
async def test_run_that_is_killed_and_repeated_has_the_effect_of_one(bench: ImportBench, slices: int) -> None:
    await bench.http.post("/searches", json=SEARCH)
    await bench.run(things(range(3)))
    await bench.until_notified(3)
    await bench.run(things(range(2)))
    feed_text = feed([thing(0, temperature=5), thing(1, at=[13.41, 52.51]), thing(7)])
    bench.client.writes, bench.client.killed_at = 0, slices
    with pytest.raises(Killed) if slices < 3 else contextlib.nullcontext():
        await bench.run(feed_text)
    bench.client.killed_at = None
    await bench.run(feed_text)
    assert await bench.ids() == ["thing-0", "thing-1", "thing-7"]
    assert (await bench.offers())[0]["extdata"]["temperature"] == 5
    await bench.until_notified(4)
    offers = [body["offer"]["id"] for body in bench.notifications.bodies]
    assert len(set(offers)) == 4


async def test_two_runs_at_once_are_one(bench: ImportBench) -> None:
    bench.serve(things(range(3)))
    done = await asyncio.gather(*(bench.runner.run(bench.importer) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(each, RunRefused) for each in done) == 3
    assert len(await bench.offers()) == 3
    assert len(await bench.store.history("things")) == 1


async def test_run_that_lost_its_lease_writes_no_further(bench: ImportBench) -> None:
    await bench.run(things(range(3)))

    async def lose() -> None:
        await bench.redis.set("offers:lock:things", "another run")

    bench.client.before_write = lose
    with pytest.raises(LeaseLost):
        await bench.run(feed([thing(0, temperature=5), thing(1), thing(2), thing(7)]))
    assert await bench.ids() == ["thing-0", "thing-1", "thing-2"]
    assert len(await bench.store.history("things")) == 1
    assert (await bench.store.totals("things"))["lease_lost"] == 1
    assert await bench.redis.get("offers:lock:things") == "another run"


async def test_owner_with_5000_new_offers_sends_one_event(bench: ImportBench) -> None:
    report = await bench.run(things(range(5_000)))
    assert report.counts.new == 5_000
    assert bench.client.writes == 4
    await bench.until_quiet(1)


async def test_search_that_waits_is_notified_once(bench: ImportBench) -> None:
    await bench.http.post("/searches", json=SEARCH)
    await bench.run(things([1]))
    await bench.until_notified(1)
    await bench.run(things([1], temperature=7))
    await bench.run(things([1], temperature=8))
    await bench.until_notified(1)


async def test_history_and_totals_have_all_runs(bench: ImportBench) -> None:
    await bench.run(things(range(3)))
    await bench.run("{}")
    await bench.run("no JSON")
    history = await bench.store.history("things")
    assert [(each.number, each.grade) for each in history] == [(3, "partial"), (2, "partial"), (1, "trusted")]
    totals = await bench.store.totals("things")
    assert (totals["grade:trusted"], totals["grade:partial"], totals["items:new"]) == (1, 2, 3)
    state = await bench.store.state("things")
    assert (state.memory.trusted_counts, state.partial_in_a_row) == ((3,), 2)


async def test_headers_that_are_no_utf_8_do_not_end_a_run(bench: ImportBench) -> None:
    bench.serve(things(range(3)), ETag='"\udcff"', Server="M\udcfcller")
    report = await bench.run()
    assert (report.grade, report.exchanges[0].headers["server"]) == ("trusted", "M?ller")
    assert len(await bench.store.history("things")) == 1


async def test_error_of_a_parser_is_a_failed_run(bench: ImportBench) -> None:
    def parse(*_: object) -> Parsed:
        raise ZeroDivisionError("an error of ours")

    bench.importer = dataclasses.replace(bench.importer, parse=parse)
    report = await bench.run(things(range(3)))
    reason = "the importer cannot read this feed: ZeroDivisionError: an error of ours"
    assert (report.grade, report.reasons) == ("failed", (reason,))
    assert await bench.store.history("things") == [report]


async def test_document_is_fetched_again_by_another_version_of_the_importer(bench: ImportBench) -> None:
    bench.serve(things(range(3)), ETag='"1"')
    await bench.run()
    bench.importer = dataclasses.replace(bench.importer, version="another YAML file")
    await bench.run()
    bench.serve("", status=304)
    assert (await bench.run()).is_unchanged
    assert ["if-none-match" in each.headers for each in bench.server.requests] == [False, False, True]


async def test_calendar_that_is_read_twice_writes_nothing(bench: ImportBench) -> None:
    begin = dt.datetime.fromtimestamp(bench.now_ms / 1000, dt.UTC) - dt.timedelta(days=3)
    series = f"DTSTART:{begin:%Y%m%dT%H%M%SZ}\r\nRRULE:FREQ=WEEKLY\r\nEXDATE:{begin:%Y%m%dT%H%M%SZ}"
    event = f"BEGIN:VEVENT\r\nUID:choir\r\nSUMMARY:Choir\r\nLOCATION:Hall\r\n{series}\r\nEND:VEVENT"
    bench.importer = read_source(
        f"""
name: things
purpose: Imports a choir.
form: calendar
urls: ["{bench.server.url()}"]
owner: {OWNER}
keywords: ["#all"]
schedule: "5 4 * * *"
licence: CC0 1.0
attribution: A choir
places: {{Hall: [52.5, 13.4]}}
fields: {{text: summary, location_name: location, valid_until: ends_ms}}
"""
    )
    first = await bench.run(f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//A//B//EN\r\n{event}\r\nEND:VCALENDAR\r\n")
    assert (first.grade, first.counts.new) == ("trusted", 8)
    bench.client.writes = 0
    assert (await bench.run()).counts.unchanged == 8
    assert bench.client.writes == 0


async def test_document_that_names_no_next_page_makes_the_run_partial(bench: ImportBench) -> None:
    def next_page(request: FeedRequest, document: FeedDocument) -> None:
        raise UnreadableFeed(f"{document.text[:1]} in {request.kind}")

    bench.importer = dataclasses.replace(bench.importer, next_page=next_page)
    report = await bench.run(things(range(3)))
    assert (report.grade, report.counts.new) == ("partial", 3)
    assert "no next page can be found: UnreadableFeed: { in json" in report.reasons[0]
