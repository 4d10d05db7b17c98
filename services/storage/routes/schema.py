"""The parts of the OpenAPI description that the code of the routes does not show: parameters, bodies and examples."""

from typing import Any, Final

_EXAMPLE: Final[dict[str, Any]] = {
    "_id": "65f1c0ffee5eed5eed5eed01",
    "owner": "0123456789abcdef",
    "text": "Fresh bread, every morning",
    "keywords": ["bread", "bakery"],
    "location": {"type": "Point", "coordinates": [13.4132, 52.5219]},
    "radiusMeters": 500,
    "place": {"en": {"route": "Alexanderplatz", "locality": "Berlin", "country": "Germany"}},
    "showLocation": True,
    "allowContacts": True,
    "isMobile": False,
    "isActive": True,
    "trusted": False,
    "images": ["/assets/images/17"],
    "extdata": {},
    "validfrom": 1_764_000_000_000,
    "validuntil": 1_795_536_000_000,
    "created": 1_764_000_000_000,
    "modified": 1_764_000_000_000,
    "version": 1,
}
_SENT: Final = {
    name: _EXAMPLE[name] for name in ("owner", "text", "keywords", "location", "radiusMeters", "showLocation")
}
_RANKED: Final = {**_EXAMPLE, "rank": 1, "isKeyword": [0]}
_OK: Final = {"status": "ok"}
_CHANNEL: Final = {
    "searchid": "65f1c0ffee5eed5eed5eed02",
    "offerid": "65f1c0ffee5eed5eed5eed01",
    "url": "sendbird_group_channel_1",
}

Operation = dict[str, Any]


def _query(name: str, description: str, kind: str = "string", example: Any = None) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "array", "items": {"type": "string"}} if kind == "array" else {"type": kind}
    parameter = {"name": name, "in": "query", "required": False, "description": description, "schema": schema}
    return parameter if example is None else {**parameter, "example": example}


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string"}}


def _operation(
    example: Any,
    *,
    status: str = "200",
    parameters: tuple[dict[str, Any], ...] = (),
    body: Any = None,
    body_required: bool = True,
) -> Operation:
    error = {"version": "1.0", "error": "invalid", "detail": "radiusMeters: must be a number"}
    fields = {**error, "fields": [{"field": "radiusMeters", "detail": "must be a number"}]}
    operation: Operation = {
        "parameters": list(parameters),
        "responses": {
            status: {"description": "Done.", "content": {"application/json": {"example": example}}},
            "422": {
                "description": "A field or parameter is wrong; the response names it.",
                "content": {"application/json": {"example": fields}},
            },
            "503": {"description": "The database does not respond."},
        },
    }
    if body is not None:
        content = {"application/json": {"schema": {"type": "object"}, "example": body}}
        operation["requestBody"] = {"required": body_required, "content": content}
    return operation


_BOX: Final = tuple(
    _query(f"{corner}[{axis}]", f"A box: the {axis} of its {side} corner.", "number")
    for corner, side in (("sw", "south-western"), ("ne", "north-eastern"))
    for axis in ("latitude", "longitude")
)
_IF_MATCH: Final = _header("If-Match", "Fail with 412 unless the object has this entity tag.")
_OWNER: Final = _query("owner", "Only objects of this owner. A service gets their true locations.")

LIST: Final = _operation(
    {"version": "1.0", "data": [_RANKED], "next": None, "keyword_search": "substring"},
    parameters=(
        _query(
            "keywords[]",
            "Keywords: equal to or the beginning of a keyword or a word of the text. With a region of at most 10,000 "
            "objects also anywhere in a keyword; `keyword_search` in the response names the kind. Empty: no filter.",
            "array",
            ["bread"],
        ),
        _OWNER,
        _query("not_owner", "No objects of this owner. Wins over `owner`."),
        *_BOX,
        _query("center[latitude]", "A circle: the latitude of its centre. Wins over a box.", "number"),
        _query("center[longitude]", "A circle: the longitude of its centre.", "number"),
        _query("radius", "A circle: its radius in metres.", "number"),
        _query("_id", "Only the object with this id."),
        _query("is_active", "`true`: only active objects; any other value: only inactive ones."),
        _query("trusted", "`true`: only trusted objects; any other value: only others."),
        _query("limit", "The most objects, at most 200.", "integer", 200),
        _query("page", "The number of the page, from 0.", "integer", 0),
        _query("next", "The value of `next` of the previous part. It skips and repeats nothing."),
    ),
)
READ: Final = _operation(
    {"version": "1.0", "data": [_RANKED]},
    parameters=(_OWNER, _header("If-None-Match", "Respond 304 if the object has this entity tag.")),
)
CREATE: Final = _operation(_EXAMPLE, body=_SENT)
CHANGE: Final = _operation(
    _EXAMPLE,
    parameters=(_query("return", "`before`: return the object before the change."), _IF_MATCH),
    body={"text": "Fresh bread", "isActive": True},
)
DELETE: Final = _operation(_EXAMPLE, parameters=(_IF_MATCH,))
SET_ACTIVE: Final = _operation(_OK, parameters=(_IF_MATCH,))
NOTIFY: Final = _operation(_OK)
BULK_READ: Final = _operation({"version": "1.0", "data": [_EXAMPLE]}, parameters=_BOX)
BULK_WRITE: Final = _operation(
    {"status": "ok", "results": [{"list": "new_offers", "index": 0, "status": "created", "_id": _EXAMPLE["_id"]}]},
    body={
        "new_offers": [_SENT],
        "old_offers": [{"_id": _EXAMPLE["_id"], "text": "Fresh bread"}],
        "remove_offers": [{"_id": _CHANNEL["searchid"]}],
    },
)
BULK_DELETE: Final = _operation({"status": "ok", "deleted": 1})
BULK_NOTIFY: Final = _operation({"status": "ok", "marked": 1})
CHAT: Final = _operation([_RANKED], parameters=(_query("_id", "The id of an offer or a search."),))
CHAT_MANY: Final = _operation(
    {"offers": [_RANKED], "searches": []},
    parameters=(_query("_id", "Ids, repeated or joined by `_`.", "array", [_EXAMPLE["_id"]]),),
)
CHANNELS: Final = _operation([{"_id": "65f1c0ffee5eed5eed5eed03", **_CHANNEL, "created": 1_764_000_000_000}])
ADD_CHANNEL: Final = _operation(
    {"_id": "65f1c0ffee5eed5eed5eed03", **_CHANNEL, "created": 1_764_000_000_000}, body=_CHANNEL
)
ISSUE_TOKEN: Final = _operation({"device": _EXAMPLE["owner"], "token": "...", "header": "X-Device-Token"}, status="201")
MOVE: Final = _operation(
    {"status": "donegeo", "results": [{"kind": "offer", "_id": _EXAMPLE["_id"], "effect": "moved"}]},
    parameters=(
        _query("di", "The device.", example=_EXAMPLE["owner"]),
        _query("lt", "The latitude.", "number", 52.5219),
        _query("lg", "The longitude.", "number", 13.4132),
        _query("a", "The accuracy in metres.", "number", 12),
        _query("ts", "The time of the fix in ms since 1970. Absent: now.", "integer"),
    ),
    body={"di": _EXAMPLE["owner"], "lt": 52.5219, "lg": 13.4132, "a": 12},
    body_required=False,
)
