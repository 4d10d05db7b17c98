"""What a source can send instead of its feed: the grade and the numbers of each, and that nothing is removed."""

import asyncio
import gzip
from typing import Any, NamedTuple

import pytest

from services.offerserver.core.reports import RunReport
from tests.contract.offerserver.bench import ImportBench, feed, thing, things
from tests.unit.offerserver.hostile import reply

KNOWN = range(100)
FULL = things(KNOWN)
HALF = FULL[: len(FULL) // 2]
BOMB = gzip.compress(bytes(50_000_000))
RENAMED = feed(thing(number, id=f"new-{number}") for number in KNOWN)


class HostileCase(NamedTuple):
    """A response, and what must come of it."""

    name: str
    response: Any
    grade: str
    reason: str = ""
    items: int = 0
    rejected: int = 0


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"features":[')
    while True:
        writer.write(b'{"a":1},' * 10_000)
        await writer.drain()


async def silent(writer: asyncio.StreamWriter) -> None:
    del writer
    await asyncio.sleep(60)


def with_last(**changes: Any) -> bytes:
    """Return the feed with a changed last item."""
    return reply(feed([*(thing(number) for number in KNOWN[:-1]), thing(KNOWN[-1], **changes)]))


LAST_REJECTED: dict[str, Any] = {"grade": "trusted", "items": 99, "rejected": 1}
"""One bad row of 100."""
ALL: dict[str, Any] = {"grade": "trusted", "items": 100}

CASES = (
    HostileCase("empty body", reply(""), "partial", "it has no items"),
    HostileCase("empty list", reply(feed([])), "partial", "it has no items"),
    HostileCase("empty object", reply("{}"), "partial", "it has no items"),
    HostileCase("login page", reply("<!doctype html><title>Log in</title>"), "failed", "is an HTML page (Log in)"),
    HostileCase("login page as JSON", reply("<html>", Content_Type="application/json"), "failed", "is an HTML page"),
    HostileCase("half without a length", reply(HALF, closes=True), "partial", "not well formed", items=50),
    HostileCase("half with a length", reply(HALF, length=len(FULL)), "partial", "ended early", items=50),
    HostileCase(
        "half compressed",
        reply(gzip.compress(FULL.encode())[:-200], Content_Encoding="gzip"),
        "partial",
        "ended early",
        items=-1,
    ),
    HostileCase("49 % of the items", reply(things(range(49))), "partial", "fewer than 50% of 100", items=49),
    HostileCase("every id changed", reply(RENAMED), "partial", "100 of 100 known items have another id", items=100),
    HostileCase("slow drip", drip, "failed", "within the time limit"),
    HostileCase("never responds", silent, "failed", "within the time limit"),
    HostileCase("endless body", endless, "failed", "more than 10000000 bytes"),
    HostileCase("gzip bomb", reply(BOMB, Content_Encoding="gzip"), "failed", "the body has more than"),
    HostileCase("brotli bomb", reply(BOMB, Content_Encoding="br"), "failed", "was not asked for"),
    HostileCase("depth 100,000", reply('{"features":' + "[" * 100_000), "failed", "nested deeper than 64"),
    HostileCase("entity bomb", reply('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'), "partial", "not well formed"),
    HostileCase("redirect loop", reply(status=302, Location="/feed"), "failed", "more than 5 redirects"),
    HostileCase(
        "redirect to a private address", reply(status=302, Location="http://10.0.0.1/"), "failed", "is private"
    ),
    HostileCase(
        "redirect to link-local", reply(status=301, Location="http://169.254.169.254/"), "failed", "is link-local"
    ),
    HostileCase(
        "redirect to IPv4 in IPv6",
        reply(status=307, Location="http://[::ffff:10.0.0.1]/"),
        "failed",
        "contains 10.0.0.1",
    ),
    HostileCase("429 for a day", reply(status=429, Retry_After="86400"), "failed", "asks to wait for 86400 s"),
    HostileCase("500 for ever", reply(status=500), "failed", "status 500"),
    HostileCase("404", reply(status=404), "failed", "status 404"),
    HostileCase("connection closed", b"", "failed", ""),
    HostileCase("no HTTP", b"SSH-2.0-OpenSSH\r\n\r\n", "failed", "not valid HTTP"),
    HostileCase("a number that is not one", reply(FULL.replace("13.40005", "NaN")), **LAST_REJECTED),
    HostileCase("a number of 400 digits", reply(FULL.replace("13.40005", "1" * 400)), **LAST_REJECTED),
    HostileCase(
        "a fifth out of the area",
        reply(feed([*(thing(n) for n in range(79)), *(thing(n, at=[52.5, 13.4]) for n in range(79, 100))])),
        "partial",
        "21 of 100 rows were rejected",
        items=79,
        rejected=21,
    ),
    HostileCase("500, then well", [reply(status=500), reply(FULL)], **ALL),
    HostileCase("429 with seconds, then well", [reply(status=429, Retry_After="1"), reply(FULL)], **ALL),
    HostileCase("wrong charset", reply(FULL.encode("latin-1"), Content_Type="text/plain; charset=utf-16"), **ALL),
    HostileCase("byte order mark", reply(b"\xef\xbb\xbf" + FULL.encode()), **ALL),
    HostileCase("wrong type", reply(FULL, Content_Type="image/png"), **ALL),
    HostileCase("an id twice", reply(feed([*(thing(n) for n in KNOWN), thing(5)])), **ALL),
    HostileCase("exchanged coordinates", with_last(at=[52.5, 13.4]), **LAST_REJECTED),
    HostileCase("0/0", with_last(at=[0, 0]), **LAST_REJECTED),
    HostileCase("NaN as a text", with_last(at=["NaN", "NaN"]), **LAST_REJECTED),
    HostileCase("200 kB title", with_last(name="x" * 200_000), **LAST_REJECTED),
    HostileCase("no title", with_last(name=None), **LAST_REJECTED),
    HostileCase("HTML in a title", with_last(name="<b>Thing</b> <script>x</script>99"), **ALL),
)


@pytest.mark.timeout(300)
async def test_each_response_has_its_grade_and_removes_nothing(bench: ImportBench) -> None:
    await bench.run(FULL)
    wrong = []
    for case in CASES:
        # Trusted cases lack an item at most once in a row.
        assert (await bench.run(FULL)).grade == "trusted", case.name
        bench.server.responses["/feed"] = list(case.response) if isinstance(case.response, list) else case.response
        report = await bench.run()
        if not _is_as_expected(report, case):
            wrong.append(f"{case.name}: {report.grade} {report.reasons} {report.counts}")
    assert wrong == []
    assert set(await bench.ids()) == {f"thing-{number}" for number in KNOWN}


async def test_half_of_the_items_is_trusted_and_removes_the_rest_at_its_second_time(bench: ImportBench) -> None:
    await bench.run(FULL)
    for removed in (0, 49):
        report = await bench.run(things(range(51)))
        assert (report.grade, report.counts.removed) == ("trusted", removed)


def _is_as_expected(report: RunReport, case: HostileCase) -> bool:
    counts = report.counts
    return (
        report.grade == case.grade
        and any(case.reason in reason for reason in (*report.reasons, ""))
        and (case.items in (-1, counts.items))
        and counts.rejected == case.rejected
        and counts.removed == 0
        and bool(report.reasons) == (case.grade != "trusted")
    )


def test_case_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 35
