"""DeliveryStore: the deliveries that are due, their results, and the dead list."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from pymongo import ASCENDING, DESCENDING, UpdateOne

from services.backbone.mongo import Database
from services.notificationserver.core.deliveries import Delivery, DeliveryAttempt, NextStep
from services.notificationserver.store.database import (
    DEAD,
    DELIVERIES,
    DUE_OF_HOST,
    Lease,
    claim,
    expiry,
    insert_new,
    is_claimable,
    lease_fields,
    waiting,
)

_MOST_PASSES: Final = 8
_MOST_TEXT_CHARACTERS: Final = 500
_MOST_HOSTS: Final = 100
"""MongoDB merges the index ranges of at most 200 hosts in the order of their due times."""
_SEARCH_TIMEOUT_MS: Final = 5_000
"""The text of a search is not indexed: with a very long dead list the search fails instead of loading the database."""


class AttemptResult(NamedTuple):
    """What is written after an attempt."""

    delivery: Delivery
    token: str
    """The token of its lease."""
    attempt: DeliveryAttempt | None
    """None if no attempt was made: the delivery was stale or postponed, or its channel is gone."""
    step: NextStep


class DeadFilter(NamedTuple):
    """Which deliveries of the dead list are meant."""

    text: str = ""
    """A part of the reason, the host, the channel or the message id, in lower or upper case. Empty: all."""
    ids: tuple[str, ...] | None = None
    """Only these; None: all."""

    def query(self) -> dict[str, Any]:
        """Return the query. The text is a value: it has no operators and no patterns."""
        query: dict[str, Any] = {"state": "dead"}
        if "\0" in self.text or len(self.text) > _MOST_TEXT_CHARACTERS:
            return query | {"_id": {"$in": []}}  # no field has it, and MongoDB rejects it as a pattern
        if self.text:
            pattern = {"$regex": re.escape(self.text), "$options": "i"}
            query["$or"] = [{field: pattern} for field in ("reason", "host", "channel", "message_id")]
        if self.ids is not None:
            query["_id"] = {"$in": list(self.ids)}
        return query


class DeliveryStore:
    """Deliveries. All methods raise PyMongoError while the database is not available."""

    def __init__(self, database: Database, *, keep_days: int) -> None:
        self._deliveries = database[DELIVERIES]
        self._keep_days = keep_days

    async def insert(self, deliveries: Iterable[Delivery], *, due_ms: int) -> None:
        """Insert deliveries that are due at this time. Known ones stay as they are."""
        await insert_new(self._deliveries, (self._document(delivery, due_ms) for delivery in deliveries))

    def _document(self, delivery: Delivery, due_ms: int) -> dict[str, Any]:
        dated = {"due_at": due_ms, "expire_on": expiry(delivery.accepted_ms, self._keep_days)}
        return delivery.to_document() | dated

    async def claim(self, free_of: Callable[[str], int], *, limit: int, lease: Lease) -> list[dict[str, Any]]:
        """Claim due deliveries, oldest first, but no more of a host than `free_of` returns for it.

        Return their documents, since some may not be readable. The deliveries of hosts without free slots are not read:
        however many there are, they delay no other host.
        """
        hosts = [host for host in await self._due_hosts(lease.now_ms) if free_of(host) > 0]
        chosen: dict[str, str] = {}
        taken: Counter[str] = Counter()
        for _ in range(_MOST_PASSES):
            if not hosts or len(chosen) >= limit:
                break
            wanted = {"host": {"$in": hosts[:_MOST_HOSTS]}, **is_claimable("due_at", now_ms=lease.now_ms)}
            found = await self._deliveries.find(
                wanted, {"host": 1}, sort=[("due_at", ASCENDING)], limit=limit, hint=DUE_OF_HOST
            ).to_list()
            for document in found:
                host = document["host"]
                if len(chosen) < limit and taken[host] < free_of(host):
                    chosen[document["_id"]] = host
                    taken[host] += 1
            if len(found) < limit:
                hosts = hosts[_MOST_HOSTS:]
            else:  # the hosts that have had no turn
                seen = {document["host"] for document in found}
                hosts = [host for host in hosts if host not in seen]
        return await claim(self._deliveries, list(chosen), field="due_at", lease=lease)

    async def _due_hosts(self, now_ms: int) -> list[str]:
        """Return the hosts of due deliveries, also of claimed ones, by their oldest delivery.

        The database skips from host to host in the index (DISTINCT_SCAN). It does this for a partial index only with a
        condition on the host.
        """
        first: list[dict[str, Any]] = [
            {"$match": {"host": {"$gte": ""}, "due_at": {"$lte": now_ms}}},
            {"$sort": {"host": ASCENDING, "due_at": ASCENDING}},
            {"$group": {"_id": "$host", "due_at": {"$first": "$due_at"}}},
            {"$sort": {"due_at": ASCENDING}},
        ]
        return [document["_id"] async for document in await self._deliveries.aggregate(first, hint=DUE_OF_HOST)]

    async def release(self, ids: list[str], *, token: str) -> None:
        """End the leases of deliveries that were not attempted."""
        mine = {"_id": {"$in": ids}, "due_at_token": token}
        await self._deliveries.update_many(mine, {"$unset": lease_fields("due_at")})

    async def defer(self, delivery_id: str, *, until_ms: int, token: str) -> None:
        """Make a claimed delivery that was not attempted due at a later time."""
        mine = {"_id": delivery_id, "due_at_token": token}
        await self._deliveries.update_one(mine, {"$set": {"due_at": until_ms}, "$unset": lease_fields("due_at")})

    async def move(self, hosts: Mapping[str, str], *, token: str) -> None:
        """Note the new hosts of claimed deliveries, by id, and end their leases."""
        if not hosts:
            return
        released = {"$unset": lease_fields("due_at")}
        await self._deliveries.bulk_write(
            [
                UpdateOne({"_id": delivery_id, "due_at_token": token}, {"$set": {"host": host}, **released})
                for delivery_id, host in hosts.items()
            ],
            ordered=False,
        )

    async def write(self, results: list[AttemptResult], *, now_ms: int) -> None:
        """Write the results of attempts in one request.

        A delivery that another process has claimed after the lease keeps its state, except after a success.
        """
        await self._deliveries.bulk_write([_operation(result, now_ms) for result in results], ordered=False)

    async def are_all_dead(self, message_id: str) -> bool:
        """Return whether every channel of a message has failed for good."""
        alive = {"message_id": {"$eq": message_id}, "state": {"$ne": "dead"}}
        return await self._deliveries.find_one(alive, {"_id": 1}) is None

    async def replay(self, wanted: DeadFilter, *, now_ms: int, life_ms: int) -> int:
        """Make dead deliveries due again, with ten more attempts. Return their number."""
        again: Sequence[dict[str, Any]] = [
            {
                "$set": {
                    "state": "due",
                    "due_at": now_ms,
                    "expires_ms": now_ms + life_ms,
                    "reason": "",
                    "replayed": {"$size": "$attempts"},
                }
            },
            {"$unset": "ended_ms"},
        ]
        hint = DEAD if wanted.ids is None else None
        return (await self._deliveries.update_many(wanted.query(), again, hint=hint)).modified_count

    async def waiting(self, *, now_ms: int) -> tuple[int, int]:
        """Return the number of deliveries that are due or wait, and how long the oldest one has been due in ms."""
        return await waiting(self._deliveries, field="due_at", now_ms=now_ms)

    async def dead_page(self, wanted: DeadFilter, *, skip: int, limit: int) -> tuple[list[Delivery], int]:
        """Return a part of the dead list, newest first, and the number of all that match."""
        query = wanted.query()
        found = self._deliveries.find(
            query, sort=[("ended_ms", DESCENDING)], skip=skip, limit=limit, max_time_ms=_SEARCH_TIMEOUT_MS, hint=DEAD
        )
        total = await self._deliveries.count_documents(query, maxTimeMS=_SEARCH_TIMEOUT_MS, hint=DEAD)
        return [Delivery.from_document(each) async for each in found], total

    async def of_messages(self, message_ids: Iterable[str]) -> dict[str, list[Delivery]]:
        """Return the deliveries of messages, by message."""
        found: dict[str, list[Delivery]] = {}
        async for document in self._deliveries.find({"message_id": {"$in": list(message_ids)}}):
            delivery = Delivery.from_document(document)
            found.setdefault(delivery.message_id, []).append(delivery)
        return found

    async def newest_of(self, device_ids: Iterable[str]) -> dict[str, Delivery]:
        """Return the newest delivery of each device."""

        async def newest(device_id: str) -> Delivery | None:
            document = await self._deliveries.find_one(
                {"device_id": {"$eq": device_id}}, sort=[("accepted_ms", DESCENDING)]
            )
            return None if document is None else Delivery.from_document(document)

        found = await asyncio.gather(*map(newest, device_ids))
        return {delivery.device_id: delivery for delivery in found if delivery is not None}

    async def dead(self) -> int:
        """Return the number of deliveries in the dead list."""
        return await self._deliveries.count_documents({"state": "dead"}, hint=DEAD)


def _operation(result: AttemptResult, now_ms: int) -> UpdateOne:
    step = result.step
    wanted: dict[str, Any] = {"_id": result.delivery.id, "state": "due"}
    if step.state != "delivered":
        wanted["due_at_token"] = result.token
    changes: dict[str, Any] = {"state": step.state, "reason": step.reason}
    removed = lease_fields("due_at")
    if step.due_ms is None:
        changes["ended_ms"] = now_ms
        removed["due_at"] = ""
    else:
        changes["due_at"] = step.due_ms
    update: dict[str, Any] = {"$set": changes, "$unset": removed}
    if result.attempt is not None:
        update["$push"] = {"attempts": msgspec.to_builtins(result.attempt)}
    return UpdateOne(wanted, update)
