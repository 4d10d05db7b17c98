import http.server
import threading
from collections.abc import Iterator

import pytest

from deploy.bench import wrk
from deploy.errors import OperatorError

pytestmark = pytest.mark.slow  # a round of wrk takes at least a second


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
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


def test_headers_are_sent_and_304_is_no_error(url: str) -> None:
    assert wrk.run(f"{url}/known", seconds=1, connections=2, headers=['If-None-Match: "a"']).requests > 0


def test_response_other_than_2xx_is_an_error_with_the_output_of_wrk(url: str) -> None:
    with pytest.raises(OperatorError, match="Non-2xx"):
        wrk.run(f"{url}/busy", seconds=1, connections=2)
