import http.server
import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest

from deploy.bench import wrk
from deploy.errors import OperatorError

pytestmark = pytest.mark.slow  # a round of wrk takes at least a second


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    paths: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.paths.append(self.path)
        known = 304 if self.headers["If-None-Match"] == '"a"' else 503
        self.send_response({"/busy": 503, "/known": known}.get(self.path, 200))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature that is overridden
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_requests_and_rate_are_parsed(url: str) -> None:
    ran = wrk.run(f"{url}/", seconds=1, connections=2)
    assert ran.requests > 0
    assert ran.rate == pytest.approx(ran.requests, rel=0.5)
    assert 0 < ran.p50_ms <= ran.p99_ms < 1_000


def test_requests_are_sent_in_rotation_with_their_headers_and_304_is_no_error(url: str) -> None:
    Handler.paths.clear()
    requests = [wrk.WrkRequest("/known", {"If-None-Match": '"a"'}), wrk.WrkRequest("/other")]
    ran = wrk.run(url, seconds=1, connections=1, requests=requests)
    # wrk takes a request from the script before the first one that it sends.
    assert Handler.paths[:4] == ["/other", "/known", "/other", "/known"]
    assert len(Handler.paths) >= ran.requests > 0


def test_text_that_is_not_printable_ascii_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot send"):
        wrk.rotation("http://localhost", [wrk.WrkRequest("/a\nb")])


def test_response_other_than_2xx_is_an_error_with_the_output_of_wrk(url: str) -> None:
    with pytest.raises(OperatorError, match="Non-2xx"):
        wrk.run(f"{url}/busy", seconds=1, connections=2)
