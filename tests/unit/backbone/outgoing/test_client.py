"""The client on real sockets. A listener counts the connections that reach it."""

import asyncio
import contextlib
import gzip
import socket
import ssl
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from services.backbone.outgoing import BodyRefused, DownloadLimits, OutgoingClient, OutgoingFailed, OutgoingRefused
from services.backbone.outgoing import client as client_module
from tests.unit.backbone.outgoing.certificates import certificate

EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))
LOOPBACK = (ip_network("127.0.0.0/8"),)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CLOSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"

REFUSED = (
    # The spellings of one loopback address.
    *("127.0.0.1", "127.0.0.1.", "127.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "127.255.255.254"),
    *("localhost", "LOCALHOST", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    *("[::7f00:1]", "[2002:7f00:1::]", "[64:ff9b::7f00:1]", "[2001:0:909:909::80ff:fffe]"),
    # Unspecified, private, shared, link-local, site-local, multicast, reserved, documentation.
    *("0.0.0.0", "0", "[::]", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254"),
    *("[::ffff:169.254.169.254]", "[fe80::1%25lo]", "[fe80::1]", "[fec0::1]", "[fd00::1]", "224.0.0.1", "[ff02::1]"),
    *("240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "[2001:db8::1]", "[64:ff9b:1::1]"),
)
REACH_THE_LISTENER = REFUSED[:14]


class Listener(NamedTuple):
    port: int
    accepted: list[str]
    """The local address of each connection."""
    requests: list[bytes]


@contextlib.asynccontextmanager
async def listening(
    response: bytes = OK, *, tls: ssl.SSLContext | None = None, hang: bool = False
) -> AsyncIterator[Listener]:
    accepted: list[str] = []
    requests: list[bytes] = []
    closing = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer.get_extra_info("sockname")[0])
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while not closing.is_set():
                requests.append(await reader.readuntil(b"\r\n\r\n"))
                if hang:
                    await closing.wait()
                writer.write(response)
                await writer.drain()
        writer.close()

    # One socket for both families: `::` takes IPv4 connections too.
    both = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    server = await asyncio.start_server(serve, sock=both, ssl=tls)
    try:
        yield Listener(both.getsockname()[1], accepted, requests)
    finally:
        closing.set()
        server.close()
        await asyncio.sleep(0)


class FixedResolver(AbstractResolver):
    """Resolves each name to the next of some addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        del family
        address = self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]
        found = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [ResolveResult(hostname=host, host=address, port=port, family=found, proto=0, flags=0)]

    async def close(self) -> None:
        pass


def test_corpus_has_forty_targets() -> None:
    assert len(set(REFUSED)) + len(("user@host", "public first", "redirect")) >= 40


async def test_no_connection_reaches_a_refused_address_and_the_reason_is_given() -> None:
    async with listening() as listener, OutgoingClient(timeout_s=3.0) as client:
        for host in REFUSED:
            with pytest.raises(OutgoingRefused, match=r" is "):
                await client.post(f"http://{host}:{listener.port}/", body=b"x", headers={})
        assert listener.accepted == []


async def test_listener_would_count_the_connections_of_a_client_without_the_check() -> None:
    async with listening() as listener, OutgoingClient(timeout_s=3.0, allowed=EVERYTHING) as client:
        for host in REACH_THE_LISTENER:
            with contextlib.suppress(OutgoingFailed, OutgoingRefused):
                await client.post(f"http://{host}:{listener.port}/", body=b"x", headers={})
        assert len(listener.accepted) >= 7


@pytest.mark.parametrize(
    "url",
    [
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://example.com@127.0.0.1/",
        "http://example.com\\@127.0.0.1/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http:///path",
        "http://a..b/",
        "http://" + "a" * 70 + ".example/",
        "http://[::1/",
        "http://example.com:99999/",
        "//example.com/",
        "http://example.com/a b",
        "http://example.com/" + "a" * 3_000,
    ],
)
async def test_url_of_another_form_is_refused(url: str) -> None:
    async with OutgoingClient(timeout_s=1.0, resolver=FixedResolver("127.0.0.1"), allowed=EVERYTHING) as client:
        with pytest.raises(OutgoingRefused, match="URL"):
            await client.post(url, body=b"", headers={})


async def test_url_is_sent_as_it_is() -> None:
    target = "/ok/%41%2f?sig=%2F%3a%7e&k[]=1&b={c}|d"
    async with listening() as listener, OutgoingClient(timeout_s=3.0, allowed=EVERYTHING) as client:
        await client.post(f"HTTP://127.0.0.1:{listener.port}{target}", body=b"", headers={})
        await client.post(f"http://127.0.0.1:{listener.port}/ü?q=ä", body=b"", headers={})
        lines = [request.split(b"\r\n")[0].decode() for request in listener.requests]
    assert lines == [f"POST {target} HTTP/1.1", "POST /%C3%BC?q=%C3%A4 HTTP/1.1"]


async def test_name_that_resolves_to_a_refused_address_later_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_DNS_CACHE_S", 0)
    own = (ip_network("127.0.0.2/32"),)
    resolver = FixedResolver("127.0.0.2", "127.0.0.1")
    async with listening(CLOSE) as listener, OutgoingClient(timeout_s=3.0, resolver=resolver, allowed=own) as client:
        url = f"http://rebinding.example:{listener.port}/"
        # A client that checks by a look-up of its own would connect to the second address here.
        assert (await client.post(url, body=b"", headers={})).status == 200
        with pytest.raises(OutgoingRefused, match=r"127\.0\.0\.1 is loopback"):
            await client.post(url, body=b"", headers={})
        assert listener.accepted == ["::ffff:127.0.0.2"]


class BothResolver(FixedResolver):
    """Resolves each name to all addresses."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [(await FixedResolver(address).resolve(host, port, family))[0] for address in self.addresses]


async def test_name_with_a_refused_address_is_not_refused_when_a_connection_to_another_one_failed() -> None:
    async with listening() as listener:
        pass
    resolver = BothResolver("127.0.0.1", "127.0.0.2")
    own = (ip_network("127.0.0.2/32"),)
    async with OutgoingClient(timeout_s=3.0, resolver=resolver, allowed=own) as client:
        with pytest.raises(OutgoingFailed, match=r"Cannot connect.*127\.0\.0\.2"):
            await client.post(f"http://both.example:{listener.port}/", body=b"", headers={})


SECRET = "SECRET?token=abc"


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (b"SECRET 200 OK\r\n\r\n", "ClientResponseError: the response is not valid HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nSECRET\r\n", "Client"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: token=abc\r\n\r\n", "ClientResponseError: the response is not valid"),
    ],
)
async def test_reason_has_no_path_no_query_and_no_part_of_the_response(response: bytes, reason: str) -> None:
    async with listening(response) as listener, OutgoingClient(timeout_s=3.0, allowed=LOOPBACK) as client:
        with pytest.raises(OutgoingFailed) as failed:
            await client.post(f"http://127.0.0.1:{listener.port}/{SECRET}", body=b"", headers={})
    assert str(failed.value).startswith(reason)
    assert "SECRET" not in str(failed.value)
    assert "abc" not in str(failed.value)


async def test_reason_of_a_refused_url_has_no_path_and_no_query() -> None:
    async with OutgoingClient(timeout_s=3.0, allowed=EVERYTHING) as client:
        with pytest.raises(OutgoingRefused) as refused:
            await client.post(f"http://0177.0.0.1/{SECRET}", body=b"", headers={})
    assert str(refused.value) == "the URL is not accepted; its host is 0177.0.0.1"


async def test_redirect_to_loopback_is_not_followed() -> None:
    async with listening() as listener:
        location = f"http://127.0.0.1:{listener.port}/inside"
        redirect = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        own = (ip_network("127.0.0.2/32"),)
        async with listening(redirect) as receiver, OutgoingClient(timeout_s=3.0, allowed=own) as client:
            response = await client.post(f"http://127.0.0.2:{receiver.port}/", body=b"", headers={})
        assert response.status == 302
        assert len(receiver.accepted) == 1
        assert listener.accepted == []


async def test_environment_has_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening() as proxy, listening() as listener:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with OutgoingClient(timeout_s=3.0, allowed=LOOPBACK) as client:
            assert (await client.post(f"http://127.0.0.1:{listener.port}/", body=b"", headers={})).body == b"ok"
        assert proxy.accepted == []


async def test_response_that_does_not_end_fails_after_the_time_limit() -> None:
    async with listening(hang=True) as listener, OutgoingClient(timeout_s=0.2, allowed=LOOPBACK) as client:
        with pytest.raises(OutgoingFailed, match="time limit"):
            await client.post(f"http://127.0.0.1:{listener.port}/", body=b"", headers={})


async def test_body_is_read_up_to_the_limit() -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"a" * 300_000
    async with listening(endless) as listener, OutgoingClient(timeout_s=3.0, allowed=LOOPBACK) as client:
        response = await client.post(f"http://127.0.0.1:{listener.port}/", body=b"", headers={})
    assert response.body == b"a" * 65_536


async def test_closed_port_fails_with_a_reason() -> None:
    async with listening() as listener, OutgoingClient(timeout_s=3.0, allowed=LOOPBACK) as client:
        pass
    async with OutgoingClient(timeout_s=3.0, allowed=LOOPBACK) as client:
        with pytest.raises(OutgoingFailed, match="Cannot connect"):
            await client.post(f"http://127.0.0.1:{listener.port}/", body=b"", headers={})


async def test_public_name_is_reached_and_tls_is_checked_against_the_name(tmp_path: Path) -> None:
    server, trusting = certificate(tmp_path, "hooks.example")
    async with (
        listening(tls=server) as listener,
        OutgoingClient(
            timeout_s=3.0, allowed=LOOPBACK, resolver=FixedResolver("127.0.0.1"), ssl_context=trusting
        ) as client,
    ):
        response = await client.post(f"https://hooks.example:{listener.port}/", body=b"", headers={})
        assert response.status == 200
        assert f"Host: hooks.example:{listener.port}".encode() in listener.requests[0]
        with pytest.raises(OutgoingFailed, match="Certificate"):
            await client.post(f"https://other.example:{listener.port}/", body=b"", headers={})
        assert len(listener.requests) == 1


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 1000\r\n\r\nok",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
    ],
    ids=["fewer bytes", "no end"],
)
async def test_body_without_its_end_is_cut_and_the_status_counts(rest: bytes) -> None:
    async with (
        listening(b"HTTP/1.1 202 Accepted\r\n" + rest) as listener,
        OutgoingClient(timeout_s=0.3, allowed=LOOPBACK) as client,
    ):
        response = await client.post(f"http://127.0.0.1:{listener.port}/", body=b"", headers={})
    assert (response.status, response.body, response.is_cut) == (202, b"ok", True)


async def test_body_of_a_closed_connection_is_cut_and_the_status_counts() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nok")
        await writer.drain()
        writer.close()

    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        OutgoingClient(timeout_s=3.0, allowed=LOOPBACK) as client,
    ):
        response = await client.post(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", body=b"", headers={})
    assert (response.status, response.body, response.is_cut) == (200, b"ok", True)


LIMITS = DownloadLimits(max_bytes=1_000_000)


async def test_download_is_decompressed() -> None:
    body = gzip.compress(b"data" * 10_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with listening(head + body) as listener, OutgoingClient(timeout_s=3.0, allowed=LOOPBACK) as client:
        found = await client.download("GET", f"http://127.0.0.1:{listener.port}/", limits=LIMITS)
    assert (found.status, found.body, found.received_bytes, found.is_cut) == (200, b"data" * 10_000, len(body), False)
    assert b"Accept-Encoding: gzip, deflate\r\n" in listener.requests[0]


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 1000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n64\r\n"],
)
async def test_download_that_is_cut_has_what_arrived(head: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"half of it")
        await writer.drain()
        writer.close()

    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        OutgoingClient(timeout_s=3.0, allowed=LOOPBACK) as client,
    ):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        found = await client.download("GET", url, limits=LIMITS)
    assert (found.body, found.is_cut) == (b"half of it", True)


async def test_download_beyond_the_limit_is_refused_and_its_connection_closed() -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"a" * 2_000_000
    async with listening(endless) as listener, OutgoingClient(timeout_s=3.0, allowed=LOOPBACK) as client:
        for _ in range(2):
            with pytest.raises(BodyRefused, match="more than 1000000 bytes"):
                await client.download("GET", f"http://127.0.0.1:{listener.port}/", limits=LIMITS)
        assert len(listener.accepted) == 2


async def test_wait_for_a_piece_has_a_time_limit() -> None:
    async with (
        listening(hang=True) as listener,
        OutgoingClient(timeout_s=30.0, read_timeout_s=0.2, allowed=LOOPBACK) as client,
    ):
        with pytest.raises(OutgoingFailed, match="time limit"):
            await client.download("GET", f"http://127.0.0.1:{listener.port}/", limits=LIMITS)


async def test_download_connects_to_allowed_addresses_only() -> None:
    async with listening() as listener, OutgoingClient(timeout_s=3.0) as client:
        with pytest.raises(OutgoingRefused, match="is loopback"):
            await client.download("GET", f"http://127.0.0.1:{listener.port}/", limits=LIMITS)
        assert listener.accepted == []
