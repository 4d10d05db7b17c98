"""BulkWriter: writes the elements of a bulk request in slices, and collects a result for each element."""

import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from services.storage.core.bulk_json import BulkItem
from services.storage.core.extras import InvalidValue
from services.storage.core.fields import FieldError, InvalidInput, parse_fields, parse_text
from services.storage.core.filters import BulkEvent, parse_id
from services.storage.core.matching import SubjectKind
from services.storage.core.objects import (
    RANK_IMPORT,
    StoredObject,
    change_object,
    create_object,
    delete_object,
    with_true_location,
)
from services.storage.routes.context import ApiContext
from services.storage.routes.errors import ApiError
from services.storage.store.bulk import SLICE, ObjectChange

LISTS: Final = frozenset({"new_offers", "old_offers", "remove_offers"})
_KIND: Final[SubjectKind] = "offer"
_LONGEST_BULK_MS: Final = 600_000
"""If a process dies during a bulk write, its event is sent after this time."""
_MAX_SLICE_CHARACTERS: Final = 4_000_000
"""The most characters of a slice of more than one element. A slice is in memory, and an element can have 1 MB."""
_LATER: Final = "later"
"""The name of all writes of an owner whose event is that of a later one."""
_MAX_EXPLAINED: Final = 1_000
"""The most refused elements whose wrong fields are in the results. They take up to 1 kB of memory each."""


class BulkWriter:
    """The writes of one request. All methods raise PyMongoError while the database is not available."""

    def __init__(self, context: ApiContext, *, event: BulkEvent = "now") -> None:
        self._context = context
        self._event = event
        self._write_id = _LATER if event == "later" else uuid.uuid4().hex
        self._list = ""
        self._slice: dict[str, BulkItem] = {}
        """The elements that wait for the next write, by the id of their object."""
        self._slice_characters = 0
        self._owners: set[str] = set()
        self._number = 0
        self._refused = 0
        self.results = bytearray()
        """The results as JSON, separated by commas."""

    async def add(self, items: Iterable[BulkItem]) -> None:
        """Take elements. Raises ApiError (413) for too many, and what the iterable raises."""
        most = self._context.settings.max_bulk_objects
        for item in items:
            self._number += 1
            if self._number > most:
                raise ApiError(413, "too_large", f"a bulk request has at most {most} objects")
            characters = self._slice_characters + item.size
            if item.name != self._list or len(self._slice) >= SLICE or characters > _MAX_SLICE_CHARACTERS:
                await self._write()
                self._list = item.name
            try:
                object_id = self._id_of(item)
            except InvalidInput as error:
                self._refuse(item, error)
                continue
            if object_id in self._slice:
                await self._write()
            self._slice[object_id] = item
            self._slice_characters += item.size

    async def finish(self) -> None:
        """Write the rest, and owe the events of the owners."""
        try:
            await self._write()
        finally:
            for owner in self._owners if self._event == "now" else ():
                ended = (self._write_id, _LATER)
                await self._context.stores.owed.end_bulk(owner, ended, now_ms=self._context.now_ms())
            self._context.on_change()

    async def owe(self, owner: str) -> None:
        """Owe the event of this request for an owner, before the first write of an object of the owner."""
        if owner not in self._owners and self._event != "none":
            until_ms = self._context.now_ms() + _LONGEST_BULK_MS
            await self._context.stores.owed.begin_bulk(owner, self._write_id, until_ms=until_ms)
            self._owners.add(owner)

    def _id_of(self, item: BulkItem) -> str:
        if not isinstance(item.value, dict):
            raise InvalidInput(FieldError(item.name, f"element {item.position} must be a JSON object"))
        if item.name == "new_offers" and item.value.get("_id") is None:
            return self._context.new_id()
        try:
            return parse_id(parse_text(item.value.get("_id"), most=64), "_id")
        except InvalidValue as error:
            raise InvalidInput(FieldError("_id", str(error))) from None

    async def _write(self) -> None:
        items, self._slice, self._slice_characters = self._slice, {}, 0
        if not items:
            return
        if self._list == "new_offers":
            await self._create(items)
        else:
            await self._change(items)

    async def _create(self, items: dict[str, BulkItem]) -> None:
        context = self._context
        created: list[StoredObject] = []
        for object_id, item in items.items():
            try:
                fields = parse_fields(item.value, may_set_trusted=True)
            except InvalidInput as error:
                self._refuse(item, error)
                continue
            await self.owe(fields.owner)
            created.append(
                create_object(
                    _KIND,
                    object_id,
                    fields,
                    now_ms=context.now_ms(),
                    random_unit=context.stores.public_key.unit(fields.owner, fields.location),
                    rank=RANK_IMPORT,
                )
            )
        known = frozenset(await context.stores.objects.insert_many(_KIND, created))
        context.metrics.changes.labels(_KIND, "create").inc(len(created) - len(known))
        for stored in created:
            self._add_result(items[stored.id], "known" if stored.id in known else "created", stored.id)

    async def _change(self, items: dict[str, BulkItem]) -> None:
        refused: dict[str, InvalidInput] = {}
        is_removal = self._list == "remove_offers"
        changes = {
            object_id: self._remove if is_removal else self._merge(item, refused) for object_id, item in items.items()
        }

        async def owe(written: Iterable[StoredObject]) -> None:
            for stored in written:
                await self.owe(stored.fields.owner)

        outcomes = await self._context.stores.bulk.change_many(_KIND, changes, before_write=owe)
        changed = 0
        for object_id, item in items.items():
            if object_id in refused:
                self._refuse(item, refused[object_id])
                continue
            outcome = outcomes[object_id]
            changed += outcome == "changed"
            self._add_result(item, "removed" if is_removal and outcome == "changed" else outcome, object_id)
        self._context.metrics.changes.labels(_KIND, "delete" if is_removal else "update").inc(changed)

    def _merge(self, item: BulkItem, refused: dict[str, InvalidInput]) -> ObjectChange:
        context = self._context

        def merge(stored: StoredObject) -> StoredObject | None:
            refused.pop(stored.id, None)
            try:
                fields = with_true_location(stored, parse_fields(item.value, stored.fields, may_set_trusted=True))
            except InvalidInput as error:
                refused[stored.id] = error
                return None
            if fields.owner != stored.fields.owner:
                refused[stored.id] = InvalidInput(FieldError("owner", "cannot be changed by a bulk request"))
                return None
            if fields == stored.fields:
                return None
            unit = context.stores.public_key.unit(fields.owner, fields.location)
            return change_object(stored, fields, now_ms=context.now_ms(), random_unit=unit, rank=RANK_IMPORT)

        return merge

    @property
    def _remove(self) -> Callable[[StoredObject], StoredObject]:
        now_ms = self._context.now_ms()
        return lambda stored: delete_object(stored, now_ms=now_ms, rank=RANK_IMPORT)

    def _refuse(self, item: BulkItem, error: InvalidInput) -> None:
        self._refused += 1
        fields = [each._asdict() for each in error.errors] if self._refused <= _MAX_EXPLAINED else None
        self._add_result(item, "refused", None, fields)

    def _add_result(
        self, item: BulkItem, status: str, object_id: str | None, fields: list[dict[str, str]] | None = None
    ) -> None:
        result: dict[str, Any] = {"list": item.name, "index": item.position, "status": status}
        if object_id is not None:
            result["_id"] = object_id
        if fields is not None:
            result["fields"] = fields
        if self.results:
            self.results += b","
        self.results += msgspec.json.encode(result)
