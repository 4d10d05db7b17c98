"""The edit form: an object as the values of its fields, and what a sent form changes."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import Request

from services.storage.core.extras import InvalidValue
from services.storage.core.fields import MAX_TIME_MS, FieldError, InvalidInput, parse_fields, parse_number
from services.storage.core.objects import ObjectFields
from services.storage.core.sphere import InvalidLocation, parse_point
from services.storage.routes.context import ApiContext
from services.storage.routes.errors import ApiError
from services.storage.routes.requests import body_pieces

Form = Mapping[str, str]
_MAX_FIELDS: Final = 100
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_FLAGS: Final[Mapping[str, str]] = {
    "isMobile": "is_mobile",
    "showLocation": "show_location",
    "allowContacts": "allow_contacts",
    "trusted": "trusted",
}
_TIMES: Final[Mapping[str, str]] = {"validfrom": "valid_from_ms", "validuntil": "valid_until_ms"}
_AS_TYPED: Final = ("owner", "text", "radiusMeters", *_FLAGS)
"""The fields that `parse_fields` takes as they are typed."""
_YEARS: Final = (1970, 9999)


async def read_form(request: Request, context: ApiContext) -> dict[str, str]:
    """Return the fields of a sent form; of a repeated one the last value. Raises ApiError (400, 408, 413, 415)."""
    given = request.headers.get("content-type", _FORM_TYPE)  # a request without a body needs no type
    if given.partition(";")[0].strip().lower() != _FORM_TYPE:
        raise ApiError(415, "not_a_form", f"send a form: Content-Type {_FORM_TYPE}")
    settings, body = context.settings, bytearray()
    async for piece in body_pieces(request, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s):
        body += piece
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError:
        raise ApiError(400, "malformed", "the form is not UTF-8, or it has too many fields") from None
    return {name: value.replace("\r\n", "\n") for name, value in pairs}


def form_of(fields: ObjectFields) -> dict[str, str]:
    """Return the values of the form for an object."""
    return {
        "owner": fields.owner,
        "text": fields.text.replace("\r\n", "\n"),
        "keywords": ", ".join(fields.keywords),
        "latitude": f"{fields.location.lat!r}",
        "longitude": f"{fields.location.lng!r}",
        "radiusMeters": f"{fields.radius_m:.15g}",
        **{name: _time_text(getattr(fields, attribute)) for name, attribute in _TIMES.items()},
        **{name: "true" if getattr(fields, attribute) else "false" for name, attribute in _FLAGS.items()},
    }


def changed_fields(form: Form, stored: ObjectFields) -> ObjectFields:
    """Return the fields after a sent form. Raises InvalidInput with all errors.

    A field that shows the stored value changes nothing, so that what a form cannot show stays: a comma in a keyword,
    the milliseconds of a time.
    """
    shown = form_of(stored)
    typed = {name: form[name] for name in shown if name in form and form[name] != shown[name]}
    document: dict[str, Any] = {name: typed[name] for name in _AS_TYPED if name in typed}
    errors: list[FieldError] = []
    if "keywords" in typed:
        document["keywords"] = [part.strip() for part in typed["keywords"].split(",") if part.strip()]
    for name in _TIMES:
        if name in typed:
            try:
                document[name] = _time_ms(typed[name])
            except ValueError:
                errors.append(FieldError(name, "must be a time in UTC such as 2026-01-31T12:00"))
    errors += _add_location(document, typed, shown)
    try:
        fields = parse_fields(document, stored, may_set_trusted=True)
    except InvalidInput as error:
        errors += error.errors
    if errors:
        raise InvalidInput(*errors)
    return fields


def _add_location(document: dict[str, Any], typed: Form, shown: Form) -> list[FieldError]:
    if "latitude" not in typed and "longitude" not in typed:
        return []
    errors: list[FieldError] = []
    numbers: dict[str, float] = {}
    for name in ("latitude", "longitude"):
        try:
            numbers[name] = parse_number(typed.get(name, shown[name]))
            parse_point(*(0.0, numbers[name]) if name == "latitude" else (numbers[name], 0.0))
        except (InvalidValue, InvalidLocation) as error:
            errors.append(FieldError(name, str(error)))
    if not errors:
        document["location"] = {"type": "Point", "coordinates": [numbers["longitude"], numbers["latitude"]]}
    return errors


def _time_text(ms: int | None) -> str:
    if ms is None or not 0 <= ms <= MAX_TIME_MS:
        return ""
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%dT%H:%M:%S}"


def _time_ms(text: str) -> int | None:
    if not text.strip():
        return None
    parsed = datetime.fromisoformat(text.strip())
    if parsed.tzinfo is not None or not _YEARS[0] <= parsed.year <= _YEARS[1]:
        raise ValueError(text)
    return round(parsed.replace(tzinfo=UTC).timestamp() * 1000)
