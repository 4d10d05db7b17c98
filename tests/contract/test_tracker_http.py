"""The HTTP contract of the tracker: the real process, real sockets, a real Redis."""

import asyncio
import gzip
import json
import re
import shlex
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from services.backbone import names
from tests.contract.tracker_process import LIMIT, OK, Tracker, read_response, wait_until

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", ["/t/open.gif?x=1", "/", "//", "/a%zz%00?%ff=%zz&&=", "/%0A", "http://h/p?x", "*"])
def test_every_path_becomes_an_event(tracker: Tracker, target: str) -> None:
    response = tracker.ask("GET", target)
    assert response.status == 200
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["access-control-allow-origin"] == "*"
    tracker.event()


def test_response_is_an_image_or_json(tracker: Tracker) -> None:
    assert tracker.ask("GET", "/open.gif").body.startswith(b"GIF89a")
    assert tracker.ask("GET", "/open", "Accept: image/webp,image/*,*/*;q=0.8").headers["content-type"] == "image/gif"
    assert tracker.ask("GET", "/open", "Accept: */*").body == OK
    assert tracker.ask("POST", "/open.gif", body=b"a=1").body == OK


def test_head_is_get_without_a_body(tracker: Tracker) -> None:
    with tracker.connect() as connection:
        connection.sendall(b"HEAD /open.gif?x=1 HTTP/1.1\r\nHost: x\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n")
        first = read_response(connection, "HEAD")
    assert (first.status, first.headers["content-length"]) == (200, "43")
    wait_until(lambda: tracker.redis.llen(names.RAW_EVENTS_LIST) == 2)
    assert [event.path for event in tracker.events()] == [b"/open.gif", b"/next"]


def test_headers_and_path_are_stored_unchanged(tracker: Tracker) -> None:
    tracker.send(
        b"GET /a/b?x=%zz&x=+ HTTP/1.1\r\nHost: trk.example:80\r\nUser-Agent: \xff\xfe\r\nReferer: \x80\r\n"
        b"X-Forwarded-For: 6.6.6.6, 2001:db8::1\r\nIdempotency-Key: my-id\r\n\r\n"
    )
    event = tracker.event()
    assert (event.path, event.query, event.host) == (b"/a/b", b"x=%zz&x=+", b"trk.example:80")
    assert (event.user_agent, event.referrer, event.address) == (b"\xff\xfe", b"\x80", "2001:db8::1")
    assert event.id == "my-id"
    assert abs(event.received_at_ms - time.time() * 1000) < 10_000


def test_post_event_has_parameters_of_query_and_body(tracker: Tracker) -> None:
    json_body = gzip.compress(b'{"c":[1]}')
    tracker.ask("POST", "/p?a=1", "Content-Type: application/x-www-form-urlencoded", body=b"b=2")
    tracker.ask("POST", "/p?a=1", "Content-Type: application/json", "Content-Encoding: gzip", body=json_body)
    tracker.send(b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nd=4\r\n0\r\n\r\n")
    assert [event.query for event in tracker.events()] == [b"a=1&b=2", b"a=1&c=[1]", b"d=4"]


@pytest.mark.parametrize(
    "path",
    ["/batch", "/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch", "/batch/", "//v1/batch", "/v1//batch//"],
)
def test_batch_stores_valid_entries_and_refuses_invalid_ones(tracker: Tracker, path: str) -> None:
    entries = [
        {"type": "a", "params": {"x": 1}, "id": "i1"},
        {"params": {}},
        {"type": "big", "params": {"x": "y" * LIMIT}},
        {"type": "cut", "params": {"x": "\ud83d"}},
    ]
    body = gzip.compress(json.dumps({"events": entries}).encode())
    response = tracker.ask("POST", path, "Content-Encoding: gzip", body=body)
    reported = json.loads(response.body)
    assert (response.status, reported["stored"], reported["refused"]) == (200, 1, 3)
    assert [result["status"] for result in reported["results"]] == ["stored", "refused", "refused", "refused"]
    assert "MAX_EVENT_BYTES" in reported["results"][2]["reason"]
    assert "surrogate" in reported["results"][3]["reason"]
    event = tracker.event()
    assert (event.id, event.path, event.query) == ("i1", b"/a", b"x=1")


def test_encoded_batch_size_is_bounded_when_headers_are_long(tracker: Tracker) -> None:
    body = b"[%s]" % b",".join([b'{"type":"a"}'] * 10_000)
    response = tracker.ask("POST", "/batch", "User-Agent: " + "x" * 50_000, body=body)
    assert response.status == 413
    assert "TRACKER_MAX_BATCH_BYTES" in json.loads(response.body)["detail"]
    assert tracker.events() == []


def test_batch_of_thousands_is_one_push(tracker: Tracker) -> None:
    pushes = tracker.metric("push_tracker_push_events_count")
    body = b"\n".join(b'{"type":"t","params":{"n":%d}}' % number for number in range(5000))
    assert json.loads(tracker.ask("POST", "/batch", body=body).body)["stored"] == 5000
    assert tracker.redis.llen(names.RAW_EVENTS_LIST) == 5000
    assert tracker.metric("push_tracker_push_events_count") == pushes + 1


def test_preflight_allows_any_origin(tracker: Tracker) -> None:
    response = tracker.ask("OPTIONS", "/batch", "Origin: https://a.example", "Access-Control-Request-Headers: x-a")
    assert (response.status, response.body) == (204, b"")
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["access-control-allow-headers"] == "x-a"
    assert "access-control-allow-credentials" not in response.headers
    assert tracker.ask("OPTIONS", "*").status == 204
    assert tracker.events() == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/a", "/batch"])
def test_other_methods_are_refused(tracker: Tracker, method: str, path: str) -> None:
    response = tracker.ask(method, path)
    assert (response.status, response.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST")
    assert response.headers["access-control-allow-origin"] == "*"
    assert tracker.events() == []


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /batch HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{",
        b"POST /batch HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n\r\n" + b"[" * 50_000,
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50000\r\n\r\n"
        + b"[" * 50_000,
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: 3\r\n\r\nxse",
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_malformed_request_gets_400_and_is_not_logged(tracker: Tracker, data: bytes) -> None:
    logged = tracker.log.read_bytes()
    response = tracker.send(data)
    assert response.status == 400
    assert json.loads(response.body)["error"] == "malformed"
    assert response.headers["access-control-allow-origin"] == "*"
    assert tracker.log.read_bytes() == logged


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (b"\x16\x03\x01\r\n\r\n", b"400"),
        (b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"CONNECT h:443 HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
    ],
    ids=["no HTTP", "broken body", "CONNECT"],
)
@pytest.mark.parametrize("before", [1, 3])
def test_refusal_follows_responses_to_earlier_requests(
    tracker: Tracker, before: int, end: bytes, status: bytes
) -> None:
    with tracker.connect() as connection:
        connection.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * before + end)
        reported = b"".join(iter(lambda: connection.recv(LIMIT), b""))
    assert re.findall(rb"HTTP/1.1 (\d+) ", reported) == [b"200"] * before + [status]
    assert [event.path for event in tracker.events()] == [b"/a"] * before


def test_upgrade_is_declined_and_connection_continues(tracker: Tracker) -> None:
    upgrade = b"Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"
    with tracker.connect() as connection:
        for request in (b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n%s\r\nx=1", b"GET /b?x=1 HTTP/1.1\r\n%s\r\n") * 2:
            connection.sendall(request % upgrade)
            assert read_response(connection).status == 200
    assert [event.query for event in tracker.events()] == [b"x=1"] * 4
    assert tracker.ask("CONNECT", "h:443").status == 405


def test_expect_continue_gets_100(tracker: Tracker) -> None:
    with tracker.connect() as connection:
        connection.sendall(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"x=1")
        assert read_response(connection).status == 200
    assert tracker.event().query == b"x=1"


def test_disconnect_within_a_request_does_not_affect_other_clients(tracker: Tracker) -> None:
    for data in (
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc",
        b"GET /a",
        b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
    ):
        connection = tracker.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset instead of close
        connection.sendall(data)
        connection.close()
    assert tracker.ask("GET", "/b").status == 200


async def test_simultaneous_requests_share_pushes(tracker: Tracker) -> None:
    pushes = tracker.metric("push_tracker_push_events_count")

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", tracker.port)
        for turn in range(20):
            writer.write(b"GET /c?n=%d HTTP/1.1\r\nHost: x\r\n\r\n" % (number * 20 + turn))
            assert b" 200 " in await reader.readline()
            await reader.readuntil(OK)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client(number) for number in range(40)))
    assert len({event.query for event in tracker.events()}) == 800
    assert tracker.metric("push_tracker_push_events_count") - pushes < 400


def test_single_request_is_pushed_at_once(tracker: Tracker) -> None:
    times = []
    with tracker.connect() as connection:
        for _ in range(50):
            begin = time.perf_counter()
            connection.sendall(b"GET /lone HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read_response(connection).status == 200
            times.append(time.perf_counter() - begin)
    assert sorted(times)[25] < 0.02


def test_internal_paths_are_events_on_public_port(tracker: Tracker) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/openapi.json"):
        assert tracker.internal(path) == 200
        assert tracker.ask("GET", path).body == OK
    assert len(tracker.events()) == 4


def readme_samples() -> list[str]:
    text = (ROOT / "services" / "tracker" / "README.md").read_text()
    block = text.partition("```console\n")[2].partition("```")[0]
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ curl")]


@pytest.mark.parametrize("command", readme_samples())
def test_readme_sample_works(tracker: Tracker, command: str, tmp_path: Path) -> None:
    (tmp_path / "events.ndjson.gz").write_bytes(gzip.compress(b'{"type":"a"}\n{"type":"b"}\n'))
    words = [word.replace("127.0.0.1:5222", f"127.0.0.1:{tracker.port}") for word in shlex.split(command)]
    done = subprocess.run(
        [*words, "--fail", "--max-time", "5"], cwd=tmp_path, capture_output=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
    assert tracker.events() or "OPTIONS" in command


@pytest.mark.parametrize("field", ["Sec-GPC: 1 ", "Sec-GPC:\t1\t", "DNT:1 \t "])
def test_opt_out_is_honoured_when_white_space_surrounds_its_value(tracker: Tracker, field: str) -> None:
    assert tracker.ask("GET", "/a?di=7&x=1", "User-Agent: bot", field).status == 200
    event = tracker.event()
    assert event.opted_out
    assert (event.address, event.query, event.user_agent) == ("", b"x=1", b"")


def test_value_of_a_header_is_stored_without_white_space_around_it(tracker: Tracker) -> None:
    headers = ("User-Agent: \tmy bot\t ", "Referer: https://a.example/ ", "Idempotency-Key: key \t")
    assert tracker.ask("GET", "/a", *headers).status == 200
    event = tracker.event()
    assert (event.user_agent, event.referrer, event.id) == (b"my bot", b"https://a.example/", "key")
