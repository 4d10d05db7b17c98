"""`POST /store/geo`: moves the mobile objects of a device to a location fix."""

import contextlib
from typing import Any

import msgspec
from fastapi import Request, Response

from services.storage.core.extras import InvalidValue
from services.storage.core.fields import MAX_OWNER_CHARACTERS, FieldError, InvalidInput, parse_number, parse_time_ms
from services.storage.core.filters import ListFilter
from services.storage.core.matching import SubjectKind
from services.storage.core.movement import Fix, FixEffect, effect_of
from services.storage.core.objects import StoredObject, move_object
from services.storage.core.sphere import InvalidLocation, parse_point
from services.storage.routes.context import ApiContext
from services.storage.routes.errors import ApiError, json_response
from services.storage.routes.requests import caller_of, has_object, parameters_of, read_object, text_parameter

_KINDS: tuple[SubjectKind, ...] = ("offer", "search")
_MAX_OBJECTS = 1_000
"""The most objects of each kind that one fix moves. It bounds the time of a request."""


class GeoRoutes:
    """Location fixes of devices."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context

    async def move(self, request: Request) -> Response:
        """Move the mobile objects of a device, and make them due.

        The parameters are in the query, in a JSON body or in a form: `di` device, `lt` latitude, `lg` longitude, `a`
        accuracy in metres, `ts` time of the fix in ms (absent: now). `status` is `stale` if each object has a newer
        fix.
        """
        device, fix = self._parse(await self._parameters(request))
        caller = caller_of(request)
        if not caller.may_change(device):
            raise ApiError(403, "forbidden", f"only a service or the device {device} can move its objects")
        results: list[dict[str, Any]] = []
        for kind in _KINDS:
            results += await self._move_kind(kind, device, fix)
        is_stale = bool(results) and all(result["effect"] == "stale" for result in results)
        return json_response({"status": "stale" if is_stale else "donegeo", "results": results})

    async def _move_kind(self, kind: SubjectKind, device: str, fix: Fix) -> list[dict[str, Any]]:
        context = self._context
        mobile = ListFilter(owner=device, is_mobile=True, only_valid=False)
        results: list[dict[str, Any]] = []
        found = context.stores.lists.stream(kind, mobile, now_ms=context.now_ms(), sees_true=True)
        async with contextlib.aclosing(found) as objects:
            async for stored in objects:
                effect = self._effect(stored, fix)
                # A device at rest costs the read alone.
                if effect in ("moved", "inexact"):
                    effect = await self._write(stored, fix)
                results.append({"kind": kind, "_id": stored.id, "effect": effect})
                if len(results) >= _MAX_OBJECTS:
                    break
        return results

    async def _write(self, stored: StoredObject, fix: Fix) -> FixEffect:
        context = self._context
        effects: list[FixEffect] = []

        def move(current: StoredObject) -> StoredObject | None:
            effect = self._effect(current, fix)
            effects.append(effect)
            if effect in ("stale", "unmoved"):
                return None
            # Anybody can send `geo` events of a device. They must not show where its other objects are.
            unit = context.stores.public_key.unit(f"{current.fields.owner} moved", fix.location)
            now_ms = context.now_ms()
            moved = move_object(current, fix, exact=effect == "moved", now_ms=now_ms, random_unit=unit)
            if moved.due_at_ms is None:
                return moved
            # No event of this change follows, so the matcher must not wait for one.
            without_grace_ms = now_ms - round(1000 * context.settings.match_grace_s)
            return msgspec.structs.replace(moved, due_at_ms=min(moved.due_at_ms, without_grace_ms))

        done = await context.stores.objects.change(stored.kind, stored.id, move)
        if done is None:  # deleted meanwhile
            return "stale"
        if effects[-1] == "moved":
            context.metrics.changes.labels(stored.kind, "move").inc()
        return effects[-1]

    def _effect(self, stored: StoredObject, fix: Fix) -> FixEffect:
        return effect_of(
            fix,
            last=stored.fix,
            matched=stored.current_matched_location,
            is_leaving=stored.is_leaving,
            max_accuracy_m=self._context.settings.max_accuracy_m,
        )

    async def _parameters(self, request: Request) -> dict[str, Any]:
        parameters: dict[str, Any] = {name: values[-1] for name, values in parameters_of(request).items()}
        settings = self._context.settings
        if has_object(request):
            parameters |= await read_object(
                request, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s
            )
        return parameters

    def _parse(self, parameters: dict[str, Any]) -> tuple[str, Fix]:
        device = text_parameter(parameters.get("di"), "di", most=MAX_OWNER_CHARACTERS)
        errors: list[FieldError] = []
        numbers: dict[str, float] = {}
        for name in ("lt", "lg", "a"):
            value = parameters.get(name, "0" if name == "a" else None)
            try:
                numbers[name] = parse_number("0" if name == "a" and value in ("", None) else value)
            except InvalidValue as error:
                errors.append(FieldError(name, str(error)))
        now_ms = at_ms = self._context.now_ms()
        try:
            if parameters.get("ts") not in (None, ""):
                # A fix of the future would make all later fixes stale.
                at_ms = min(parse_time_ms(parameters["ts"]), now_ms)
        except InvalidValue as error:
            errors.append(FieldError("ts", str(error)))
        if numbers.get("a", 0.0) < 0.0:
            errors.append(FieldError("a", "must not be negative"))
        if errors:
            raise InvalidInput(*errors)
        try:
            return device, Fix(at_ms, parse_point(numbers["lg"], numbers["lt"]), numbers["a"])
        except InvalidLocation as error:
            field = "lt" if "latitude" in str(error) else "lg"
            raise InvalidInput(FieldError(field, str(error))) from None
