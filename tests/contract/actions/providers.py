"""A stand-in for the chat provider and GeoNames, with recorded responses."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

RECORDED = Path(__file__).parents[2] / "unit" / "consumers" / "providers" / "recorded"
TOKEN = "token of the app"
PATHS = {"/searchJSON": "search_poi", "/findNearbyWikipediaJSON": "articles", "/getJSON": "place"}


class SentMessage(NamedTuple):
    """A message that the chat provider has accepted."""

    channel: str
    user_id: str
    text: str
    message_id: str
    at_s: float


class Providers:
    """Accepts messages and responds to searches. `status` is its response, if it is not 200."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.messages: list[SentMessage] = []
        self.refused = 0
        self.hold_s = 0.0
        """Seconds between the acceptance of a message and the response."""
        self.searches: list[str] = []
        """The paths of the requests for places."""
        self.url = ""

    @contextmanager
    def served(self) -> Iterator[None]:
        """Serve until the block ends."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.headers["Api-Token"] == TOKEN
                _, groups, channel, messages = self.path.split("/")
                assert (groups, messages, body["message_type"]) == ("group_channels", "messages", "MESG")
                if outer.status == 200:
                    message = SentMessage(channel, body["user_id"], body["message"], body["dedup_id"], time.monotonic())
                    outer.messages.append(message)
                    time.sleep(outer.hold_s)
                self._respond("message_sent")

            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                outer.searches.append(path)
                self._respond(PATHS[path])

            def _respond(self, recorded: str) -> None:
                outer.refused += outer.status != 200
                content = (RECORDED / f"{recorded}.json").read_bytes() if outer.status == 200 else b""
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with suppress(BrokenPipeError, ConnectionResetError):  # the worker was killed
                    self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
