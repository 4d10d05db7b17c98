"""Cases of HTTP/1.1 framing: the bytes that a client sends, and the requests that a server must find in them.

Each case has its own connection, and one more request (`END`) follows it. When a server reads a byte too many or too
few, that request is missing or another one appears.
"""

from collections.abc import Iterator
from typing import NamedTuple

FIELDS = b"Host: x\r\nUser-Agent: suite\r\n"
END = b"GET /end HTTP/1.1\r\n" + FIELDS + b"Connection: close\r\n\r\n"
BODY = b"3\r\nx=1\r\n0\r\n"
"""A chunked body without the empty line after the trailers."""
ONE = (b"/a",)
POSTED = (b"/a?x=1",)


class Case(NamedTuple):
    name: str
    sent: bytes
    statuses: tuple[int, ...]
    """The tracker's statuses. A proxy may refuse a request with another status."""
    events: tuple[bytes, ...]
    """The targets of the stored events, in order."""
    corrected: tuple[bytes, ...] | None = None
    """The events when a proxy corrects an invalid request; None when no proxy may do so."""
    refusable: bool = False
    """Whether a proxy may refuse requests that the tracker stores."""
    ends: bool = False
    """Whether the client closes its side after the sent bytes. Then `END` does not follow."""

    @property
    def readings(self) -> set[tuple[bytes, ...]]:
        """The allowed events behind a proxy, which may also refuse a request and serve the next one."""
        readings = {self.events}
        if self.refusable:
            readings.add(())
        if self.statuses[-1:] != (200,) and not self.ends:
            readings.add((*self.events, b"/end"))
            if self.corrected is not None:
                readings |= {self.corrected, (*self.corrected, b"/end")}
        return readings


def head(line: bytes, *fields: bytes) -> bytes:
    """Return a head with Host as bytes."""
    return line + b"\r\n" + FIELDS + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def get(*fields: bytes) -> bytes:
    return head(b"GET /a HTTP/1.1", *fields)


def post(*fields: bytes) -> bytes:
    return head(b"POST /a HTTP/1.1", *fields)


def chunked(*fields: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", *fields)


def stored(name: str, sent: bytes, *events: bytes, refusable: bool = False) -> Case:
    """Return a case whose requests are all stored."""
    events = (*(events or (b"/a",)), b"/end")
    return Case(name, sent, (200,) * len(events), events, refusable=refusable)


def refused(name: str, sent: bytes, status: int, *before: bytes, corrected: tuple[bytes, ...] | None = None) -> Case:
    """Return a case that is refused: only the requests `before` are stored, and nothing after it is read."""
    return Case(name, sent, (*((200,) * len(before)), status), before, corrected)


def last(name: str, sent: bytes, *events: bytes, refusable: bool = False) -> Case:
    """Return a case whose last request closes the connection. The bytes after it are not a request."""
    return Case(name, sent, (200,) * len(events), events, refusable=refusable)


def unfinished(name: str, sent: bytes, *events: bytes) -> Case:
    """Return a case whose client closes its side after a request, or within one."""
    return Case(name, sent, (200,) * len(events), events, ends=True)


def plain() -> Iterator[Case]:
    yield stored("a GET", get())
    yield stored("three pipelined GETs", get() * 3, b"/a", b"/a", b"/a")
    yield stored("an empty Host", b"GET /a HTTP/1.1\r\nHost:\r\nUser-Agent: suite\r\n\r\n", refusable=True)
    yield stored("a Host with port", b"GET /a HTTP/1.1\r\nHost: h.example:80\r\nUser-Agent: suite\r\n\r\n")
    yield stored("a Host that is an address", b"GET /a HTTP/1.1\r\nHost: [::1]:80\r\nUser-Agent: suite\r\n\r\n")
    yield stored("empty lines before a request", b"\r\n\r\n" + get())
    yield stored("a body on a GET", get(b"Content-Length: 3") + b"x=1")
    yield stored("a chunked body on a GET", get(b"Transfer-Encoding: chunked") + BODY + b"\r\n")
    yield stored("a body on a GET that contains a request", get(b"Content-Length: %d" % len(END)) + END)
    yield stored("an absolute target", head(b"GET http://x/a HTTP/1.1"))
    yield stored("a field repeated", get(b"X-Other: 1", b"X-Other: 2"))
    yield stored("no spaces around a value", b"GET /a HTTP/1.1\r\nHost:x\r\nUser-Agent:suite\r\n\r\n")
    yield last("Connection: close, then a request", get(b"Connection: close"), b"/a")
    yield last("HTTP/1.0, then a request", head(b"GET /a HTTP/1.0"), b"/a")
    yield last("HTTP/1.0 without Host", b"GET /a HTTP/1.0\r\nUser-Agent: suite\r\n\r\n", b"/a")
    yield last(
        "a POST that closes, then a request", post(b"Connection: close", b"Content-Length: 3") + b"x=1", b"/a?x=1"
    )
    yield last("a pipelined request that closes", get() + get(b"Connection: close"), b"/a", b"/a")
    yield last("nonsense after a request that closes", get(b"Connection: close") + b"\x16\x03\x01", b"/a")
    yield stored("an upgrade", get(b"Connection: Upgrade", b"Upgrade: h2c"))
    yield stored(
        "an upgrade with a body",
        post(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 3") + b"x=1",
        b"/a?x=1",
    )
    yield stored("an upgrade, chunked", chunked(b"Connection: Upgrade", b"Upgrade: h2c") + BODY + b"\r\n", b"/a?x=1")
    yield last("an upgrade in HTTP/1.0", head(b"GET /a HTTP/1.0", b"Connection: Upgrade", b"Upgrade: h2c"), b"/a")
    yield unfinished("a half-closed GET", get(), b"/a")
    yield unfinished("half a head after a GET", get() + b"GET /b HT", b"/a")
    yield unfinished("half a body after a GET", get() + post(b"Content-Length: 9") + b"x=1", b"/a")
    yield unfinished("half a body", post(b"Content-Length: 9") + b"x=1")
    yield unfinished("half a body of a GET", get(b"Content-Length: 9") + b"x=1")
    yield unfinished("half a chunked body", chunked() + b"3\r\nx=1\r\n")
    yield unfinished("half of the trailers", chunked() + BODY + b"X-Other: 1\r\n")


def lines() -> Iterator[Case]:
    """Yield cases of the request line and of field lines (RFC 9112, 2.2, 3 and 5)."""
    for version in (b"HTTP/2.0", b"HTTP/0.9", b"HTTP/3.0", b"HTTP/1.9"):
        yield refused(f"{version.decode()} in the request line", head(b"GET /a " + version), 505, corrected=ONE)
    for version in (b"HTTP/1.10", b"HTTP/1.1 "):
        yield refused(f"{version.decode()!r} in the request line", head(b"GET /a " + version), 400, corrected=ONE)
    for version in (b"HTTP/1", b"HTTP/01.1", b"http/1.1", b"HTTP/x.y", b"HTTQ/1.1"):
        yield refused(f"{version.decode()} in the request line", head(b"GET /a " + version), 400)
    yield refused("no version", b"POST /a\r\n\r\n", 505)
    yield refused("HTTP/2.0 after a GET", get() + head(b"GET /b HTTP/2.0"), 505, b"/a", corrected=(b"/a", b"/b"))
    yield refused(
        "HTTP/2.0 with an upgrade",
        head(b"GET /a HTTP/2.0", b"Connection: upgrade", b"Upgrade: h2c"),
        505,
        corrected=ONE,
    )
    yield refused("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400)
    yield refused("a target with a space", head(b"GET /a b HTTP/1.1"), 400)
    yield refused("a target with NUL", head(b"GET /a\x00b HTTP/1.1"), 400)
    yield refused("a tab after the method", head(b"GET\t/a HTTP/1.1"), 400, corrected=ONE)
    yield refused("a space before the method", head(b" GET /a HTTP/1.1"), 400)
    yield refused("no Host", b"GET /a HTTP/1.1\r\nUser-Agent: suite\r\n\r\n", 400)
    yield refused("no Host on a POST", b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nx=1", 400)
    yield refused("no Host with an upgrade", b"GET /a HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 400)
    yield refused("no Host after a GET", get() + b"GET /b HTTP/1.1\r\n\r\n", 400, b"/a")
    yield refused("two Hosts", get(b"Host: y"), 400)
    yield refused("two equal Hosts", get(b"Host: x"), 400, corrected=ONE)
    yield refused("two Hosts in HTTP/1.0", head(b"GET /a HTTP/1.0", b"Host: y"), 400)
    yield refused(
        "a Host after a chunked body",
        b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY + b"Host: x\r\n\r\n",
        400,
    )
    for host in (b"x y", b"x, y/", b"x/a", b"u@x", b"http://x", b"x?", b"[x", b"\xff", b"x\ty"):
        yield refused(f"the Host {host.decode('latin-1')!r}", b"GET /a HTTP/1.1\r\nHost: %s\r\n\r\n" % host, 400)
    yield refused(
        "a Host with a bad port", b"GET /a HTTP/1.1\r\nHost: x:y\r\nUser-Agent: suite\r\n\r\n", 400, corrected=ONE
    )
    yield refused("a space before the colon", get(b"Content-Length : 3") + b"x=1", 400)
    yield refused("a space before Host's colon", b"GET /a HTTP/1.1\r\nHost : x\r\n\r\n", 400)
    yield refused("a folded field", get(b"X-Other: 1\r\n 2"), 400, corrected=ONE)
    yield refused("a space before the first field", b"GET /a HTTP/1.1\r\n X-Other: 1\r\n" + FIELDS + b"\r\n", 400)
    yield refused("a field without a colon", get(b"X-Other"), 400, corrected=ONE)
    yield refused("a field without a name", get(b": 1"), 400)
    yield refused("a NUL in a field", get(b"X-Other: \x00"), 400)
    yield refused("a bare CR in a field", get(b"X-Other: 1\rX-Push-IP: 6.6.6.6"), 400)
    yield refused("bare LFs", get().replace(b"\r\n", b"\n"), 400, corrected=ONE)
    yield refused("a bare LF in a field", get(b"X-Other: 1\nX-Push-IP: 6.6.6.6"), 400, corrected=ONE)
    yield refused("a bare LF after the head", get()[:-2] + b"\n", 400, corrected=ONE)


def lengths() -> Iterator[Case]:
    """Yield cases of Content-Length (RFC 9112, 6.2 and 6.3)."""
    yield stored("a length", post(b"Content-Length: 3") + b"x=1", b"/a?x=1")
    yield stored("the length 0", post(b"Content-Length: 0"))
    yield stored("no length", post())
    yield stored("a length with zeros before it", post(b"Content-Length: 003") + b"x=1", b"/a?x=1")
    zeros = b"0" * 5000  # Python refuses to convert 5,001 digits to an integer
    yield stored(
        "a length with thousands of zeros before it",
        post(b"Content-Length: " + zeros + b"3") + b"x=1",
        b"/a?x=1",
        refusable=True,
    )
    yield stored("a length of thousands of zeros", get(b"Content-Length: " + zeros), refusable=True)
    yield stored("a length with spaces around it", post(b"Content-Length: \t3 ") + b"x=1", b"/a?x=1", refusable=True)
    yield stored("a length with an underscore", post(b"Content_Length: 9"))
    for length in (
        b"+3",
        b"-3",
        b"0x3",
        b"3 3",
        b"3;a",
        b"3.0",
        b'"3"',
        b"",
        b"3\x0b",
        b"18446744073709551619",
    ):
        yield refused(f"the length {length.decode()!r}", post(b"Content-Length: " + length) + b"x=1", 400)
    yield refused("a list of lengths", post(b"Content-Length: 3, 3") + b"x=1", 400, corrected=POSTED)
    yield refused("two lengths", post(b"Content-Length: 3", b"Content-Length: 4") + b"x=1", 400)
    yield refused("two equal lengths", post(b"Content-Length: 3", b"Content-Length: 3") + b"x=1", 400, corrected=POSTED)


def codings() -> Iterator[Case]:
    """Yield cases of Transfer-Encoding (RFC 9112, 6.1 and 6.3)."""
    yield stored("chunked", chunked() + BODY + b"\r\n", b"/a?x=1")
    yield stored("chunked in capitals", post(b"Transfer-Encoding: CHUNKED") + BODY + b"\r\n", b"/a?x=1")
    yield stored("chunked with a space after it", post(b"Transfer-Encoding: chunked ") + BODY + b"\r\n", b"/a?x=1")
    yield refused("a tab after chunked", post(b"Transfer-Encoding: chunked\t") + BODY + b"\r\n", 400, corrected=POSTED)
    yield stored("a coding with an underscore", post(b"Transfer_Encoding: chunked"))
    for coding in (b"gzip, chunked", b"identity, chunked", b"gzip,chunked", b"gzip\r\nTransfer-Encoding: chunked"):
        yield refused(f"the coding {coding.decode()!r}", post(b"Transfer-Encoding: " + coding) + BODY + b"\r\n", 501)
    for coding in (
        *(b"gzip", b"identity", b"chunked, gzip", b"chunked, chunked", b"chunked;q=1", b", chunked", b"chunked,"),
        *(
            b"",
            b'"chunked"',
            b"xchunked",
            b"chunkedx",
            b"x chunked",
            b"\x0bchunked",
            b"chunked\r\nTransfer-Encoding: chunked",
        ),
        *(b"chunked\r\nTransfer-Encoding: gzip", b"chunked\r\nTransfer-Encoding:", b"gz@ip, chunked"),
    ):
        yield refused(f"the coding {coding.decode()!r}", post(b"Transfer-Encoding: " + coding) + BODY + b"\r\n", 400)
    yield refused("the coding gzip on a GET", get(b"Transfer-Encoding: gzip"), 400)
    yield refused("chunked, then a length", chunked(b"Content-Length: 3") + BODY + b"\r\n", 400, corrected=POSTED)
    yield refused(
        "a length, then chunked",
        post(b"Content-Length: 3", b"Transfer-Encoding: chunked") + BODY + b"\r\n",
        400,
        corrected=POSTED,
    )
    yield refused("identity and a length", post(b"Transfer-Encoding: identity", b"Content-Length: 3") + b"x=1", 400)
    yield refused("chunked in HTTP/1.0", head(b"POST /a HTTP/1.0", b"Transfer-Encoding: chunked") + BODY + b"\r\n", 400)
    yield refused("a space before its colon", post(b"Transfer-Encoding : chunked") + BODY + b"\r\n", 400)
    yield refused("folded", post(b"Transfer-Encoding:\r\n chunked") + BODY + b"\r\n", 400, corrected=POSTED)
    yield refused("with an upgrade", chunked(b"Connection: upgrade", b"Upgrade: x", b"Content-Length: 3") + BODY, 400)


def chunks() -> Iterator[Case]:
    """Yield cases of chunked bodies (RFC 9112, 7.1)."""
    yield stored("zeros before a size", chunked() + b"0003\r\nx=1\r\n000\r\n\r\n", b"/a?x=1")
    yield stored("an extension", chunked() + b"3;a=b\r\nx=1\r\n0;c\r\n\r\n", b"/a?x=1")
    yield stored("a quoted extension", chunked() + b'3;a="b;c"\r\nx=1\r\n0\r\n\r\n', b"/a?x=1")
    yield stored("two chunks", chunked() + b"1\r\nx\r\n2\r\n=1\r\n0\r\n\r\n", b"/a?x=1")
    for name, body in (
        ("a size that is not hexadecimal", b"zz\r\nx=1\r\n0\r\n\r\n"),
        ("a size with 0x", b"0x3\r\nx=1\r\n0\r\n\r\n"),
        ("a size with a sign", b"+3\r\nx=1\r\n0\r\n\r\n"),
        ("a space before a size", b" 3\r\nx=1\r\n0\r\n\r\n"),
        ("a size over 64 bits", b"10000000000000003\r\nx=1\r\n0\r\n\r\n"),
        ("no size", b"\r\nx=1\r\n0\r\n\r\n"),
        ("a bare CR after a size", b"3\rX\nx=1\r\n0\r\n\r\n"),
        ("a bare LF in an extension", b"3;a=\n\r\nx=1\r\n0\r\n\r\n"),
        ("a line in a quoted extension", b'3;a="\r\n"\r\nx=1\r\n0\r\n\r\n'),
        ("a chunk longer than its size", b"3\r\nx=1XX0\r\n\r\n"),
        ("no end of line after a chunk", b"3\r\nx=10\r\n\r\n"),
    ):
        yield refused(name, chunked() + body, 400)
    yield refused("bare LFs in a chunked body", chunked() + b"3\nx=1\n0\n\n", 400, corrected=POSTED)
    yield refused("a bare LF after the last chunk", chunked() + b"3\r\nx=1\r\n0\n\r\n", 400, corrected=POSTED)
    yield refused("a bad size on a GET", get(b"Transfer-Encoding: chunked") + b"zz\r\n\r\n", 400)
    yield refused("a bad size on a PUT", head(b"PUT /a HTTP/1.1", b"Transfer-Encoding: chunked") + b"zz\r\n\r\n", 400)
    yield refused("a bad size after a GET", get() + chunked() + b"zz\r\n\r\n", 400, b"/a")


def trailers() -> Iterator[Case]:
    """Yield cases of trailers (RFC 9110, 6.5): none of them changes an event, a response or the connection."""
    for field in (
        *(b"X-Push-IP: 6.6.6.6", b"X-Forwarded-For: 6.6.6.6", b"Forwarded: for=6.6.6.6", b"X-Real-IP: 6.6.6.6"),
        *(b"Idempotency-Key: forged", b"User-Agent: forged", b"Referer: http://forged/", b"Sec-GPC: 1", b"DNT: 1"),
        *(b"Host: forged", b"Content-Type: application/json", b"Content-Encoding: gzip", b"Expect: 100-continue"),
        *(b"Connection: close", b"Connection: upgrade\r\nUpgrade: h2c", b"X-Other: " + b"y" * 5000),
    ):
        name = f"the trailer {field.decode()[:40]!r}"
        yield stored(name, chunked() + BODY + field + b"\r\n\r\n", b"/a?x=1")
    yield stored("trailers on a GET", get(b"Transfer-Encoding: chunked") + BODY + b"X-Push-IP: 6.6.6.6\r\n\r\n")
    yield stored(
        "trailers announced",
        chunked(b"Trailer: X-Push-IP", b"TE: trailers") + BODY + b"X-Push-IP: 6.6.6.6\r\n\r\n",
        b"/a?x=1",
    )
    yield stored(
        "trailers with an upgrade",
        chunked(b"Connection: upgrade", b"Upgrade: h2c") + BODY + b"X-Push-IP: 6.6.6.6\r\n\r\n",
        b"/a?x=1",
    )
    yield stored("trailers twice", (chunked() + BODY + b"X-Push-IP: 6.6.6.6\r\n\r\n") * 2, b"/a?x=1", b"/a?x=1")
    yield stored("a trailer before a GET", chunked() + BODY + b"DNT: 1\r\n\r\n" + get(), b"/a?x=1", b"/a")
    yield refused("a length as trailer", chunked() + BODY + b"Content-Length: 3\r\n\r\n", 400, corrected=POSTED)
    yield refused(
        "a coding as trailer", chunked() + BODY + b"Transfer-Encoding: chunked\r\n\r\n", 400, corrected=POSTED
    )
    yield refused("a folded trailer", chunked() + BODY + b"X-Other: 1\r\n 2\r\n\r\n", 400, corrected=POSTED)
    yield refused("a trailer without a colon", chunked() + BODY + b"X-Other\r\n\r\n", 400, corrected=POSTED)
    yield refused("a bare LF in a trailer", chunked() + BODY + b"X-Other: 1\n\r\n", 400, corrected=POSTED)


CASES = [*plain(), *lines(), *lengths(), *codings(), *chunks(), *trailers()]
