"""ObjectChanges: the changes of single objects, for the API and for the pages.

Each change checks the caller and the expected version, owes its event in the same write, and is counted.
"""

from collections.abc import Callable

from services.storage.core.access import Caller
from services.storage.core.filters import parse_id
from services.storage.core.matching import SubjectKind
from services.storage.core.objects import ObjectFields, StoredObject, change_object, delete_object
from services.storage.routes.access import TOKEN_HEADER
from services.storage.routes.context import ApiContext
from services.storage.routes.errors import ApiError
from services.storage.routes.requests import check_if_match
from services.storage.store.objects import EventAction


class ObjectChanges:
    """Changes of the offers or of the searches.

    `if_match` is the value of If-Match, or None. Methods raise ApiError: 403 without the right, 404 for an unknown
    object, 412 if the object has another version.
    """

    def __init__(self, context: ApiContext, kind: SubjectKind) -> None:
        self._context = context
        self._objects = context.stores.objects
        self._kind = kind

    async def change(
        self,
        object_id: str,
        apply: Callable[[StoredObject], ObjectFields],
        *,
        event: EventAction,
        caller: Caller,
        if_match: str | None,
    ) -> tuple[StoredObject, StoredObject]:
        """Replace the fields by the result of `apply`. Return the object before and after. Equal fields: no change."""
        context = self._context

        def change(stored: StoredObject) -> StoredObject | None:
            _check_right(caller, stored)
            check_if_match(if_match, stored.version)
            fields = apply(stored)
            if fields == stored.fields:
                return None
            unit = context.stores.public_key.unit(fields.owner, fields.location)
            return change_object(stored, fields, now_ms=context.now_ms(), random_unit=unit)

        done = await self._objects.change(self._kind, parse_id(object_id, "_id"), change, event=event)
        if done is None:
            raise self.unknown()
        if done[0].version != done[1].version:
            self.count(event)
        return done

    async def delete(self, object_id: str, *, caller: Caller, if_match: str | None) -> StoredObject:
        """Delete an object. Return it as it was."""
        context = self._context

        def delete(stored: StoredObject) -> StoredObject:
            _check_right(caller, stored)
            check_if_match(if_match, stored.version)
            return delete_object(stored, now_ms=context.now_ms())

        done = await self._objects.change(self._kind, parse_id(object_id, "_id"), delete, event="delete")
        if done is None:
            raise self.unknown()
        self.count("delete")
        return done[0]

    async def match(self, object_id: str) -> bool:
        """Match an object now. Return whether there is such an active object."""
        name = parse_id(object_id, "_id")
        due_ms = self._context.now_ms() - round(1000 * self._context.settings.match_grace_s)
        # The mark makes it certain. The call makes it prompt.
        is_due = await self._context.stores.marks.mark(self._kind, name, due_ms)
        if is_due:
            await self._context.match_now(self._kind, name)
        return is_due

    def count(self, action: EventAction) -> None:
        """Count a change that was written, and wake the sender of its event."""
        self._context.metrics.changes.labels(self._kind, action).inc()
        self._context.on_change()

    def unknown(self) -> ApiError:
        """Return the error of an unknown object."""
        return ApiError(404, "not_found", f"there is no such {self._kind}")


def _check_right(caller: Caller, stored: StoredObject) -> None:
    if not caller.may_change(stored.fields.owner):
        detail = f"only a service, or the owner with its token in {TOKEN_HEADER}, can change this object"
        raise ApiError(403, "forbidden", f"{detail}; POST /devices/<id>/token issues it once")
