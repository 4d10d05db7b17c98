"""A local server in place of the sources of the importers, so that the demo imports offers without the internet.

It responds with the files of `feeds`, one for each host. We wrote them: their places are invented.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from deploy.develop.localstack.ports import LOOPBACK

FEEDS: Final = Path(__file__).with_name("feeds")
SOURCES: Final = Path(__file__).with_name("sources")
"""The YAML files of the demo's own sources."""
_TYPES: Final = {".json": "application/json", ".csv": "text/csv"}
_NOW: Final = "{{now}}"
"""The place of the time in UTC: readings of sensors are dropped when they are old."""


@contextlib.contextmanager
def feed_server() -> Iterator[str]:
    """Serve the feeds on a free port. Yield the URL for OFFERS_STAND_IN_URL."""
    with ThreadingHTTPServer((LOOPBACK, 0), _FeedHandler) as server:
        thread = threading.Thread(target=server.serve_forever, name="feeds", daemon=True)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def feed_of(path: str) -> tuple[bytes, str] | None:
    """Return the feed for a path `/HOST/...` and its Content-Type. None: there is no feed of this host."""
    host = path.lstrip("/").partition("/")[0]
    for kind, content_type in _TYPES.items():
        file = FEEDS / f"{host}{kind}"
        if host and file.parent == FEEDS and file.is_file():
            now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
            return file.read_text(encoding="utf-8").replace(_NOW, now).encode(), content_type
    return None


class _FeedHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = feed_of(self.path.partition("?")[0])
        if found is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        body, content_type = found
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{content_type}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """Read the query of a client, which the feed does not depend on."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the library
        """Log nothing: the page of an importer shows its requests."""
