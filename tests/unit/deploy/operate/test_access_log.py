import gzip
from pathlib import Path

import pytest

from deploy.operate.access_log import LogFormatError, TrackingRequest, count_requests, parse_line, read_log

LINE = (
    '203.0.113.9 - - [17/May/2015:10:05:03 +0000] "GET /a/b.gif?k=v&k=w HTTP/1.1" 200 12 "http://r.example/" "UA/1.0"'
)


def test_line_becomes_one_tracking_request() -> None:
    assert parse_line(LINE) == TrackingRequest("/a/b.gif?k=v&k=w", "203.0.113.9", "UA/1.0", "http://r.example/")


def test_dash_is_an_empty_field() -> None:
    request = parse_line('1.2.3.4 - - [x] "GET / HTTP/1.1" 200 - "-" "-"')
    assert request == TrackingRequest("/", "1.2.3.4", "", "")


def test_truncated_line_keeps_its_complete_fields() -> None:
    assert parse_line(LINE.removesuffix('"')).user_agent == "UA/1.0"


def test_escaped_quote_is_part_of_the_field() -> None:
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
def test_target_is_sent_as_logged_unless_http_forbids_it(logged: str, sent: str) -> None:
    assert parse_line(f'1.2.3.4 - - [x] "{logged}" 200 3 "-" "-"').target == sent


def test_invalid_line_is_rejected_with_its_number(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text(f"{LINE}\n\nno log line\n")
    with pytest.raises(LogFormatError, match=r"access\.log, line 3: not in Combined Log Format"):
        list(read_log(log))


def test_gzip_log_yields_the_same_requests_as_a_plain_log(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.log", tmp_path / "a.log.gz"
    plain.write_text(f"{LINE}\n" * 3)
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(read_log(plain)) == list(read_log(packed)) == [parse_line(LINE)] * 3


@pytest.mark.parametrize("keep", [3, 40, -5])
def test_truncated_gzip_file_is_rejected(tmp_path: Path, keep: int) -> None:
    cut = tmp_path / "cut.log.gz"
    cut.write_bytes(gzip.compress(f"{LINE}\n".encode() * 50)[:keep])
    with pytest.raises(LogFormatError, match=r"cut\.log\.gz"):
        count_requests(cut)


def test_log_without_requests_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "empty.log").write_text("\n\n")
    with pytest.raises(LogFormatError, match="contains no request"):
        count_requests(tmp_path / "empty.log")


def test_count_requests_counts_every_line(tmp_path: Path) -> None:
    (tmp_path / "three.log").write_text(f"{LINE}\n" * 3)
    assert count_requests(tmp_path / "three.log") == 3
