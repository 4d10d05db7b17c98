"""A tracker process that tests send requests to, stop and kill; they read the stored events from its Redis."""

import contextlib
import json
import re
import socket
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import redis

from deploy.develop.localstack.ports import LOOPBACK, free_port, is_listening
from deploy.develop.localstack.services import ServiceProcess
from services.backbone import names
from services.backbone.events import RawEvent, decode_raw

LIMIT = 65_536
OK = b'{"status":"ok"}'
_START_S = 30


class ReceivedResponse(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Tracker(ServiceProcess):
    """A running tracker, and a client of its Redis."""

    def __init__(self, redis_url: str, logs: Path, **environ: str) -> None:
        self.port = free_port()
        self.redis = redis.Redis.from_url(redis_url)
        environ = {
            "REDIS_URL": redis_url,
            "TRACKER_PORT": str(self.port),
            "TRUSTED_PROXIES": "127.0.0.0/8",
            "TRACKER_DRAIN_S": "0.3",
            "TRACKER_PUSH_TIMEOUT_S": "1",
            "TRACKER_BODY_TIMEOUT_S": "2",
            "MAX_EVENT_BYTES": str(LIMIT),
            "LOG_FORMAT": "json",
            **environ,
        }
        super().__init__("tracker", label="tracker", logs=logs, env=environ)
        self.start()
        self.process.wait_until(lambda: is_listening(self.port), timeout_s=_START_S)

    def internal(self, path: str) -> int:
        """Return the status of a path on the internal port, or 0 without a response."""
        try:
            return self._get(path)[0]
        except (OSError, HTTPException):
            return 0

    def ask_readiness(self) -> tuple[int, Any]:
        """Return the status and the decoded body of readiness."""
        status, body = self._get("/readyz")
        return status, json.loads(body)

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.metrics(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def connect(self) -> socket.socket:
        return socket.create_connection((LOOPBACK, self.port), timeout=5)

    def send(self, *pieces: bytes, method: str = "GET") -> ReceivedResponse:
        """Send bytes unchanged; return the first response other than 100."""
        with self.connect() as connection:
            with contextlib.suppress(ConnectionError):  # the tracker may respond and close before all bytes are sent
                for piece in pieces:
                    connection.sendall(piece)
            return read_response(connection, method)

    def ask(self, method: str, target: str, *headers: str, body: bytes = b"") -> ReceivedResponse:
        lines = [f"{method} {target} HTTP/1.1", "Host: trk.example", *headers]
        lines += [f"Content-Length: {len(body)}"] if body else []
        return self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body, method=method)

    def events(self) -> list[RawEvent]:
        """Remove all stored events from the list and return them."""
        with self.redis.pipeline() as pipeline:
            pipeline.lrange(names.RAW_EVENTS_LIST, 0, -1)
            pipeline.delete(names.RAW_EVENTS_LIST)
            entries = pipeline.execute()[0]
        return [decode_raw(entry) for entry in entries]

    def event(self) -> RawEvent:
        [event] = self.events()
        return event

    def problems(self) -> list[str]:
        levels = ('"level": "warning"', '"level": "error"', "Traceback")
        return [line for line in self.log.read_text().splitlines() if any(level in line for level in levels)]

    def end(self) -> int:
        """Stop the tracker as a container is stopped, and return the exit code."""
        self.redis.close()
        self.process.stop(grace_s=12)
        code = self.process.exit_code
        assert code is not None
        return code


def wait_until(condition: Callable[[], bool], limit_s: float = 15) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"the condition is still false after {limit_s} s"
        time.sleep(0.02)


def read_response(connection: socket.socket, method: str = "GET") -> ReceivedResponse:
    with connection.makefile("rb") as stream:
        while True:
            status = int(stream.readline().split(b" ")[1])
            headers = {}
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.decode("latin-1").partition(": ")
                headers[name] = value
            if status != 100:
                break
        size = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
        return ReceivedResponse(status, headers, stream.read(size))
