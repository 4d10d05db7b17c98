"""The parts of the OpenAPI description that the code of the routes does not show: bodies and examples."""

from typing import Any, Final

_SIDE: Final = {"lat": 52.5219, "lng": 13.4132, "radi": 500}
_MATCH: Final = {
    "id": "65f1c0ffee5eed5eed5eed02.65f1c0ffee5eed5eed5eed01.1",
    "category": "match_found",
    "offer": {"id": "65f1c0ffee5eed5eed5eed01", "device_id": "0123456789abcdef", "title": "Fresh bread", **_SIDE},
    "search": {"id": "65f1c0ffee5eed5eed5eed02", "device_id": "fedcba9876543210", "title": "Bakery", **_SIDE},
}
_REGISTRATION: Final = {
    "device_id": "0123456789abcdef",
    "locale": "de-AT",
    "callback_url": "https://www.example.com/notification/17",
    "time_zone": "Europe/Vienna",
    "quiet_from": "22:00",
    "quiet_to": "07:00",
}
_CHAT: Final = {
    "app_id": "...",
    "category": "group_channel:message_send",
    "sender": {"user_id": "anna"},
    "members": [{"user_id": "anna"}, {"user_id": "ben"}],
    "channel": {"name": "Bread", "channel_url": "sendbird_group_channel_1"},
    "payload": {"message_id": 7, "message": "Is it still there?"},
}


def _operation(example: Any, *, status: str, body: Any, form: bool = False) -> dict[str, Any]:
    kinds = ["application/json", *(["application/x-www-form-urlencoded"] if form else [])]
    error = {"status": "error", "error": "invalid", "detail": "callback_url: must be an http or https URL"}
    return {
        "requestBody": {
            "required": True,
            "content": {kind: {"schema": {"type": "object"}, "example": body} for kind in kinds},
        },
        "responses": {
            status: {"description": "Stored.", "content": {"application/json": {"example": example}}},
            "422": {
                "description": "A field is wrong; the response names it.",
                "content": {"application/json": {"example": error}},
            },
            "503": {"description": "The database does not respond."},
        },
    }


NOTIFY: Final = _operation({"status": "ok", "id": _MATCH["id"]}, status="202", body=_MATCH)
NOTIFICATION: Final = _operation(
    {"status": "ok", "id": "hello.0190"},
    status="202",
    body={"deviceid": "0123456789abcdef", "type": "freeform", "msg": "Hello", "url": "", "id": "hello.0190"},
    form=True,
)
SENDBIRD: Final = _operation({"status": "ok"}, status="200", body=_CHAT)
REGISTER: Final = _operation({"status": "ok", "callback_key": "whsec_..."}, status="200", body=_REGISTRATION, form=True)
