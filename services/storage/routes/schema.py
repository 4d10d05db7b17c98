"""The parts of the OpenAPI description that the code of the routes does not show: parameters, bodies and examples."""

from typing import Any, Final

from services.storage.routes.schema_parts import (
    CHANGED_OBJECT,
    CHANNEL,
    EXAMPLE,
    NEW_OBJECT,
    OBJECT,
    OBJECT_ID,
    OK,
    RANKED,
    RANKED_OBJECT,
    SENT,
    Schema,
    responses,
)

Operation = dict[str, Any]
"""`parameters`, `responses` and `requestBody` of an operation. The first status is the one of success."""


def _query(name: str, description: str, kind: str = "string", example: Any = None) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "array", "items": {"type": "string"}} if kind == "array" else {"type": kind}
    parameter = {"name": name, "in": "query", "required": False, "description": description, "schema": schema}
    return parameter if example is None else {**parameter, "example": example}


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string"}}


def _operation(  # noqa: PLR0913 - the parts of an operation
    example: Any,
    schema: Schema,
    *,
    status: int = 200,
    parameters: tuple[dict[str, Any], ...] = (),
    errors: tuple[int, ...] = (),
    body: Any = None,
    body_schema: Schema | None = None,
    body_required: bool = True,
) -> Operation:
    operation: Operation = {
        "status": status,
        "parameters": list(parameters),
        "responses": responses(status, schema, example, errors=errors, has_body=body is not None),
    }
    if body is not None:
        content = {"application/json": {"schema": body_schema or {"type": "object"}, "example": body}}
        operation["requestBody"] = {"required": body_required, "content": content}
    return operation


def _record(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_VERSION: Final[Schema] = {"const": "1.0"}
_TEXT: Final[Schema] = {"type": "string"}
_NUMBER: Final[Schema] = {"type": "number"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_IS_OK: Final = _record(status={"const": "ok"})
_CHANNEL_ID: Final = "65f1c0ffee5eed5eed5eed03"
_CREATED_MS: Final = 1_764_000_000_000
_BOX: Final = tuple(
    _query(f"{corner}[{axis}]", f"A box: the {axis} of its {side} corner.", "number")
    for corner, side in (("sw", "south-western"), ("ne", "north-eastern"))
    for axis in ("latitude", "longitude")
)
_IF_MATCH: Final = _header("If-Match", "Fail with 412 unless the object has this entity tag.")
_OWNER: Final = _query("owner", "Only objects of this owner. A service gets their true locations.")

LIST: Final = _operation(
    {"version": "1.0", "data": [RANKED], "next": "WzEsIiIsIiJd", "keyword_search": "substring"},
    _record(version=_VERSION, data=_list(RANKED_OBJECT), next={"type": ["string", "null"]}),
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
    {"version": "1.0", "data": [RANKED]},
    _record(version=_VERSION, data=_list(RANKED_OBJECT)),
    parameters=(_OWNER, _header("If-None-Match", "Respond 304 if the object has this entity tag.")),
    errors=(304, 404),
)
CREATE: Final = _operation(EXAMPLE, OBJECT, body=SENT, body_schema=NEW_OBJECT)
CHANGE: Final = _operation(
    EXAMPLE,
    OBJECT,
    parameters=(_query("return", "`before`: return the object before the change."), _IF_MATCH),
    errors=(404, 412),
    body={"text": "Fresh bread", "isActive": True},
    body_schema=CHANGED_OBJECT,
)
DELETE: Final = _operation(EXAMPLE, OBJECT, parameters=(_IF_MATCH,), errors=(404, 412))
SET_ACTIVE: Final = _operation(OK, _IS_OK, parameters=(_IF_MATCH,), errors=(404, 412))
NOTIFY: Final = _operation(OK, _IS_OK)
# 404: the path of an owner cannot have a line break.
BULK_READ: Final = _operation(
    {"version": "1.0", "data": [EXAMPLE]}, _record(version=_VERSION, data=_list(OBJECT)), parameters=_BOX, errors=(404,)
)
_EXTDATA_ROW: Final = {
    "_id": EXAMPLE["_id"],
    "validuntil": None,
    "extdata": {"id": "market-1"},
    "images": EXAMPLE["images"],
}
BULK_EXTDATA: Final = _operation(
    {"version": "1.0", "data": [_EXTDATA_ROW]},
    _record(version=_VERSION, data=_list(_record(_id=OBJECT_ID, extdata={"type": "object"}))),
    parameters=({**_query("names", "Names in `extdata`, with commas.", "string", "id"), "required": True},),
    errors=(404,),
)
_RESULT: Final[Schema] = {
    **_record(list=_TEXT, index=_COUNT, status=_TEXT),
    "description": "status: created, known, changed, unchanged, removed, unknown, conflict or refused "
    "(the first 1,000 with `fields`).",
}
BULK_WRITE: Final = _operation(
    {"status": "ok", "results": [{"list": "new_offers", "index": 0, "status": "created", "_id": EXAMPLE["_id"]}]},
    _record(status={"const": "ok"}, results=_list(_RESULT)),
    parameters=(
        _query("event", "When the event `bud` is sent: now, later (by a later request) or none."),
        _query("until", "The last ms since 1970 at which the request is accepted. Later: 408.", "integer"),
    ),
    body={
        "new_offers": [SENT],
        "old_offers": [{"_id": EXAMPLE["_id"], "text": "Fresh bread"}],
        "remove_offers": [{"_id": CHANNEL["searchid"]}],
    },
    body_schema={
        "type": "object",
        "properties": {
            "new_offers": _list(NEW_OBJECT),
            "old_offers": _list({**CHANGED_OBJECT, "required": ["_id"]}),
            "remove_offers": _list(_record(_id=OBJECT_ID)),
        },
    },
)
BULK_DELETE: Final = _operation(
    {"status": "ok", "deleted": 1}, _record(status={"const": "ok"}, deleted=_COUNT), errors=(404,)
)
BULK_NOTIFY: Final = _operation(
    {"status": "ok", "marked": 1}, _record(status={"const": "ok"}, marked=_COUNT), errors=(404,)
)
CHAT: Final = _operation(
    [RANKED],
    {"anyOf": [_list(RANKED_OBJECT), {"type": "object", "maxProperties": 0}]},
    parameters=(_query("_id", "The id of an offer or a search."),),
)
CHAT_MANY: Final = _operation(
    {"offers": [RANKED], "searches": []},
    _record(offers=_list(RANKED_OBJECT), searches=_list(RANKED_OBJECT)),
    parameters=(_query("_id", "Ids, repeated or joined by `_`.", "array", [EXAMPLE["_id"]]),),
)
_CHANNEL: Final = _record(_id=OBJECT_ID, searchid=OBJECT_ID, offerid=OBJECT_ID, url=_TEXT, created=_COUNT)
CHANNELS: Final = _operation([{"_id": _CHANNEL_ID, **CHANNEL, "created": _CREATED_MS}], _list(_CHANNEL))
ADD_CHANNEL: Final = _operation(
    {"_id": _CHANNEL_ID, **CHANNEL, "created": _CREATED_MS},
    _CHANNEL,
    errors=(404,),
    body=CHANNEL,
    body_schema=_record(searchid=OBJECT_ID, offerid=OBJECT_ID, url=_TEXT),
)
ISSUE_TOKEN: Final = _operation(
    {"device": EXAMPLE["owner"], "token": "...", "header": "X-Device-Token"},
    _record(device=_TEXT, token=_TEXT, header=_TEXT),
    status=201,
    errors=(409,),
)
_MOVED: Final = _record(kind={"enum": ["offer", "search"]}, _id=OBJECT_ID, effect=_TEXT)
MOVE: Final = _operation(
    {"status": "donegeo", "results": [{"kind": "offer", "_id": EXAMPLE["_id"], "effect": "moved"}]},
    _record(status={"enum": ["donegeo", "stale"]}, results=_list(_MOVED)),
    parameters=(
        _query("di", "The device.", example=EXAMPLE["owner"]),
        _query("lt", "The latitude.", "number", 52.5219),
        _query("lg", "The longitude.", "number", 13.4132),
        _query("a", "The accuracy in metres.", "number", 12),
        _query("ts", "The time of the fix in ms since 1970. Absent: now.", "integer"),
    ),
    body={"di": EXAMPLE["owner"], "lt": 52.5219, "lg": 13.4132, "a": 12},
    body_schema={"type": "object", "properties": {"di": _TEXT, "lt": _NUMBER, "lg": _NUMBER, "a": _NUMBER}},
    body_required=False,
)
