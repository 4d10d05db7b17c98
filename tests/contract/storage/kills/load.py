"""Clients that create, edit, switch and delete objects while servers are killed, and what must be true afterwards."""

import asyncio
import contextlib
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx

from services.storage.core.documents import to_document
from services.storage.store import Database
from tests.contract.storage.storing import new_object

CROWD: Final = 40
"""The searches that each offer of the crowd matches."""
_CLIENTS: Final = 3
_PAUSE_S: Final = 0.05
_SHOWN_CHARACTERS: Final = 8_000
_AT: Final = {"type": "Point", "coordinates": [13.4, 52.5]}

Document = dict[str, Any]


class Load:
    """Clients that send changes until stopped. A request without a response may have been effective."""

    def __init__(self, port: int, credentials: tuple[str, str], log: Path) -> None:
        self._log = log
        self._http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", auth=credentials, timeout=10.0, trust_env=False
        )
        self._numbers = itertools.count()
        self._dice = random.Random(14)
        self.created: set[str] = set()
        """The ids of objects whose creation was acknowledged."""
        self.to_delete: set[str] = set()
        """The ids of objects whose deletion was requested."""
        self.deleted: set[str] = set()
        """The ids of objects whose deletion was acknowledged."""
        self._stopping = False
        self.failures = 0
        """Requests without a response, or with a 503."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send changes until the block ends. A request in flight is awaited: it could be effective afterwards."""
        async with self._http, asyncio.TaskGroup() as tasks:
            for _ in range(_CLIENTS):
                tasks.create_task(self._send_groups())
            yield
            self._stopping = True

    async def until_created(self, number: int) -> None:
        """Wait until this number of further objects is created."""
        until = len(self.created) + number
        async with asyncio.timeout(60):
            while len(self.created) < until:  # noqa: ASYNC110 - each response changes it
                await asyncio.sleep(0.02)

    async def _send_groups(self) -> None:
        while not self._stopping:
            with contextlib.suppress(_NoResponse):
                await self._send_group(next(self._numbers))
            await asyncio.sleep(_PAUSE_S)

    async def _send_group(self, number: int) -> None:
        """Create a search and offers that match it; edit one of them, switch one off and on, and delete one."""
        keyword = f"group{number}"
        edited = ["searches", "offers"]
        self._dice.shuffle(edited)
        for collection in edited:
            crowd = ["crowd"] if collection == "offers" and number % 3 == 0 else []
            name = await self._create(collection, [keyword, *crowd])
            await self._send("PUT", f"/{collection}/{name}", {"text": f"edited {number}"})
        switched = await self._create("offers", [keyword])
        for value in ("false", "true"):
            await self._send("POST", f"/offers/{switched}/set_active/{value}")
        removed = await self._create("offers", [keyword])
        self.to_delete.add(removed)
        await self._send("DELETE", f"/offers/{removed}")
        self.deleted.add(removed)

    async def _create(self, collection: str, keywords: list[str]) -> str:
        document = {"owner": f"owner-of-{collection}", "keywords": keywords, "location": _AT, "text": "created"}
        created = await self._send("POST", f"/{collection}", document)
        name = str(created["_id"])
        self.created.add(name)
        return name

    async def _send(self, method: str, path: str, document: Document | None = None) -> Document:
        if self._stopping:
            raise _NoResponse
        try:
            response = await self._http.request(method, path, json=document)
        except httpx.HTTPError as error:
            self.failures += 1
            raise _NoResponse from error
        if response.status_code == 503:
            self.failures += 1
            raise _NoResponse
        if response.status_code != 200:
            log = self._log.read_text()[-_SHOWN_CHARACTERS:]
            raise AssertionError(f"{method} {path}: {response.status_code} {response.text}\n{log}")
        body: Document = response.json()
        return body


class _NoResponse(Exception):
    """The request may have been effective or not."""


async def insert_crowd(database: Database) -> None:
    """Insert the searches of the crowd, which are not due."""
    searches = [to_document(new_object("search", f"crowd{n}", keywords=("crowd",))) for n in range(CROWD)]
    for search in searches:
        del search["due_at"]
    await database["searches"].insert_many(searches)


async def waiting(database: Database) -> dict[str, int]:
    """Return the numbers of the marks of work that is to be done."""
    counts = {"owed encounters": await database["pairs"].count_documents({"owed_at": {"$exists": True}})}
    for name in ("offers", "searches"):
        counts |= {
            f"due {name}": await database[name].count_documents({"due_at": {"$exists": True}}),
            f"{name} that owe events": await database[name].count_documents({"owed.id": {"$exists": True}}),
            f"deleted {name}": await database[name].count_documents({"deleted": {"$exists": True}}),
        }
    return {name: number for name, number in counts.items() if number}


async def wait_until_drained(database: Database, *, limit_s: float = 60.0) -> None:
    """Wait until no work is to be done. Raises AssertionError with what is left after `limit_s` without a change."""
    before: dict[str, int] = {}
    until = 0.0
    while left := await waiting(database):
        now = asyncio.get_running_loop().time()
        if left != before:
            before, until = left, now + limit_s
        assert now < until, left
        await asyncio.sleep(0.1)


async def assert_nothing_is_lost(database: Database, load: Load, received: str) -> str:
    """Assert that each encounter and each event arrived and that each encounter began once. Return a summary.

    Objects that exist without an acknowledgement count as well: a client would find them.
    """
    lines = received.splitlines()
    reports = Counter(line for line in lines if not line.startswith("event "))
    events = {line.removeprefix("event ") for line in lines if line.startswith("event ")}
    offers = {each["_id"]: each async for each in database["offers"].find()}
    searches = {each["_id"]: each async for each in database["searches"].find()}
    pairs = {each["_id"]: each async for each in database["pairs"].find()}
    assert load.created - load.to_delete <= offers.keys() | searches.keys(), "an acknowledged object is lost"
    assert not load.deleted & offers.keys(), "a deleted object is left"

    by_key: dict[str, list[Document]] = defaultdict(list)
    for offer in offers.values():
        for key in offer["keys"] if offer["isActive"] else ():
            by_key[key].append(offer)
    matching = {
        f"{search['_id']}.{offer['_id']}": offer
        for search in searches.values()
        for key in search["keys"]
        for offer in by_key[key]
    }
    wrong = {name for name, pair in pairs.items() if pair["in"]} ^ matching.keys()
    assert not wrong, [(name, pairs.get(name), matching.get(name)) for name in sorted(wrong)[:3]]
    for name, offer in matching.items():
        encounter = pairs[name]["encounter"]
        # Only an offer that was switched off may have entered twice.
        assert encounter == 1 or (encounter == 2 and _was_switched(offer)), (name, encounter)
        assert f"{name}.{encounter}" in reports, f"the encounter {name}.{encounter} was not reported"
    for report in reports:
        name, _, encounter_text = report.rpartition(".")
        assert 1 <= int(encounter_text) <= pairs[name]["encounter"], f"{report} did not happen"

    for document in (*offers.values(), *searches.values()):
        if document["_id"].startswith("crowd"):
            continue
        expected = ["create", *_later_actions(document)]
        assert {f"{document['_id']}.{n}.{action}" for n, action in enumerate(expected, start=1)} <= events
    assert {f"{name}.2.delete" for name in load.deleted} <= events
    return (
        f"{len(offers) + len(searches)} objects, {len(matching)} pairs in, {len(reports)} encounters reported, "
        f"{reports.total() - len(reports)} of them again, {len(events)} events, {load.failures} requests failed"
    )


def _was_switched(offer: Document) -> bool:
    return bool(offer["version"] == 3)


def _later_actions(document: Document) -> list[str]:
    """Return the actions of the versions after the first one."""
    if document["text"] == "created":
        return ["setact"] * (document["version"] - 1)
    return ["update"]
