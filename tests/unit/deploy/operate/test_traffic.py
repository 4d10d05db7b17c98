import asyncio
import gzip
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest
from aiohttp import web

from deploy.errors import OperatorError
from deploy.operate import traffic
from deploy.operate.traffic import (
    LogFormatError,
    Tally,
    TrackingRequest,
    count_requests,
    parse_line,
    parse_rate,
    read_log,
    synthetic_visitors,
)

LINE = (
    '203.0.113.9 - - [17/May/2015:10:05:03 +0000] "GET /a/b.gif?k=v&k=w HTTP/1.1" 200 12 "http://r.example/" "UA/1.0"'
)


def test_a_line_becomes_the_request_it_stands_for() -> None:
    assert parse_line(LINE) == TrackingRequest("/a/b.gif?k=v&k=w", "203.0.113.9", "UA/1.0", "http://r.example/")


def test_dashes_stand_for_absent_fields() -> None:
    request = parse_line('1.2.3.4 - - [x] "GET / HTTP/1.1" 200 - "-" "-"')
    assert request == TrackingRequest("/", "1.2.3.4", "", "")


def test_a_line_cut_short_keeps_what_is_there() -> None:
    assert parse_line(LINE.removesuffix('"')).user_agent == "UA/1.0"


def test_escaped_quotes_belong_to_the_field() -> None:
    request = parse_line(r'1.2.3.4 - - [x] "GET /x HTTP/1.1" 200 3 "-" "a\"b\\c\x41"')
    assert request.user_agent == 'a"b\\cA'


@pytest.mark.parametrize(
    ("logged", "sent"),
    [
        ("GET /a b HTTP/1.0", "/a%20b"),
        ("POST /form HTTP/1.1", "/form"),
        ("GET http://other.example/p?q=1 HTTP/1.1", "/p?q=1"),
        ("GET /caf\u00e9 HTTP/1.1", "/caf%C3%A9"),
        (r"GET /caf\xc3\xa9 HTTP/1.1", "/caf%C3%A9"),
        ("GET /100% HTTP/1.1", "/100%"),
        ("-", "/"),
    ],
)
def test_a_target_goes_out_as_logged_where_http_allows(logged: str, sent: str) -> None:
    assert parse_line(f'1.2.3.4 - - [x] "{logged}" 200 3 "-" "-"').target == sent


def test_a_foreign_line_is_refused_with_its_number(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(f"{LINE}\n\nno log line\n")
    with pytest.raises(LogFormatError, match=r"access\.log, line 3: not in Combined Log Format"):
        list(read_log(log))


def test_plain_and_gzip_read_alike(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.log", tmp_path / "a.log.gz"
    plain.write_text(f"{LINE}\n" * 3)
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(read_log(plain)) == list(read_log(packed)) == [parse_line(LINE)] * 3


@pytest.mark.parametrize("keep", [3, 40, -5])
def test_a_gzip_file_that_is_cut_short_is_told(tmp_path: Path, keep: int) -> None:
    cut = tmp_path / "cut.log.gz"
    cut.write_bytes(gzip.compress(f"{LINE}\n".encode() * 50)[:keep])
    with pytest.raises(LogFormatError, match=r"cut\.log\.gz"):
        count_requests(cut)


def test_a_log_without_requests_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty.log").write_text("\n\n")
    with pytest.raises(LogFormatError, match="holds no request"):
        count_requests(tmp_path / "empty.log")


def test_requests_are_counted_before_they_are_sent(tmp_path: Path) -> None:
    (tmp_path / "three.log").write_text(f"{LINE}\n" * 3)
    assert count_requests(tmp_path / "three.log") == 3


@pytest.mark.parametrize("text", ["0", "-5", "abc", "nan", "inf"])
def test_a_rate_is_more_than_nothing(text: str) -> None:
    with pytest.raises(OperatorError, match=f"--rate {text}"):
        parse_rate(text)


def test_no_rate_is_no_limit() -> None:
    assert parse_rate("") is None
    assert parse_rate("2.5") == 2.5


def test_synthetic_visitors_repeat_by_seed_and_vary() -> None:
    first = list(islice(synthetic_visitors(seed=7), 500))
    assert first == list(islice(synthetic_visitors(seed=7), 500))
    assert len({request.target for request in first}) == 500
    assert len({request.address for request in first}) > 8


async def _collector(answers: Counter[int], port: int) -> tuple[web.AppRunner, list[web.Request]]:
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request)
        status = 503 if request.path == "/refuse" else 200
        answers[status] += 1
        return web.Response(status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner, seen


async def test_each_request_is_sent_once_and_its_outcome_counted(unused_tcp_port: int) -> None:
    answers: Counter[int] = Counter()
    runner, seen = await _collector(answers, unused_tcp_port)
    try:
        tally = Tally()
        requests = [TrackingRequest(f"/e{number}?a=%2F&b=+", "203.0.113.7", "UA", "R") for number in range(40)]
        requests.append(TrackingRequest("/refuse", "203.0.113.7"))
        await traffic.send(requests, f"http://127.0.0.1:{unused_tcp_port}", tally=tally, connections=4)
    finally:
        await runner.cleanup()
    assert (tally.sent, tally.answered, dict(tally.failures)) == (41, 40, {"HTTP 503": 1})
    assert sorted(request.raw_path for request in seen) == sorted(request.target for request in requests)
    assert {request.headers["X-Forwarded-For"] for request in seen} == {"203.0.113.7"}


async def test_a_rate_is_kept(unused_tcp_port: int) -> None:
    runner, _ = await _collector(Counter(), unused_tcp_port)
    try:
        tally, loop = Tally(), asyncio.get_running_loop()
        begun = loop.time()
        url = f"http://127.0.0.1:{unused_tcp_port}"
        await traffic.send([TrackingRequest("/e", "::1")] * 50, url, tally=tally, rate=100, connections=4)
        assert 0.45 < loop.time() - begun < 3
    finally:
        await runner.cleanup()


async def test_an_unreachable_tracker_is_counted_not_raised(unused_tcp_port: int) -> None:
    tally = Tally()
    await traffic.send([TrackingRequest("/e", "::1")] * 3, f"http://127.0.0.1:{unused_tcp_port}", tally=tally)
    assert (tally.sent, tally.answered, tally.failures.total()) == (3, 0, 3)
