"""What the tests of storage share: objects, a stub of the notificationserver, and matchers."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from prometheus_client import CollectorRegistry

from services.backbone.clients import NotificationClient
from services.storage.core.matching import SubjectKind
from services.storage.core.objects import RANK_SINGLE, ObjectFields, StoredObject, create_object
from services.storage.core.sphere import GeoPoint
from services.storage.metrics import Metrics
from services.storage.settings import MatcherSettings
from services.storage.store import Database, ObjectStore, PairStore
from services.storage.worker import Matcher, Notifier

BERLIN = GeoPoint(13.4, 52.5)
FAR = GeoPoint(2.35, 48.85)
UNIT = random.Random(14).random
AT_ONCE = MatcherSettings.from_env({"MATCH_GRACE_S": "0.01", "MATCH_LEASE_S": "2", "MATCH_POLL_S": "0.05"})


def new_object(
    kind: SubjectKind, object_id: str, *, now_ms: int | None = None, rank: int = RANK_SINGLE, **fields: Any
) -> StoredObject:
    """Return an object in Berlin, with a keyword and an owner of its kind."""
    values = {"owner": f"owner-of-{kind}", "location": BERLIN, "keywords": ("coffee",), "text": object_id, **fields}
    now_ms = time.time_ns() // 1_000_000 - 1000 if now_ms is None else now_ms
    return create_object(kind, object_id, ObjectFields(**values), now_ms=now_ms, random_unit=UNIT, rank=rank)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms


class StubNotificationServer:
    """Accepts notifications as the notificationserver does. `status` is its response."""

    def __init__(self) -> None:
        self.status = 200
        self.statuses: dict[str, int] = {}
        """Other responses, by the id of the notification. 0: no response."""
        self.closing = threading.Event()
        self.bodies: list[dict[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == "/notify"
                assert self.headers["Idempotency-Key"] == body["id"]
                status = outer.statuses.get(body["id"], outer.status)
                if status == 200:
                    outer.bodies.append(body)
                if not status:
                    outer.closing.wait(60)
                    return
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def received(self) -> Counter[str]:
        """The ids of the accepted notifications, each with its number."""
        return Counter(body["id"] for body in self.bodies)


class Storage:
    """The stores, a matcher and a notifier on one database."""

    def __init__(
        self,
        database: Database,
        client: NotificationClient,
        *,
        settings: MatcherSettings = AT_ONCE,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        at_point: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.metrics = Metrics(CollectorRegistry())
        self.objects = ObjectStore(database)
        self.pairs = PairStore(database)
        self.notifier = Notifier(database, client, settings, self.metrics, now_ms=now_ms, at_point=at_point)
        self.matcher = Matcher(
            database,
            settings,
            self.metrics,
            on_encounters=self.notifier.wake,
            now_ms=now_ms,
            at_point=at_point,
        )

    async def work(self) -> None:
        """Match all that is due, and report all that is owed."""
        while await self.matcher.match_due():
            pass
        while await self.notifier.notify_owed():
            pass

    async def change(self, kind: SubjectKind, object_id: str, change: Callable[[StoredObject], StoredObject]) -> None:
        """Change an object, which must be known."""
        assert await self.objects.change(kind, object_id, change)
