"""What follows from the response to an attempt, for each channel."""

from http import HTTPStatus
from typing import Final, Literal, NamedTuple

import msgspec

OutcomeKind = Literal["delivered", "retry", "error", "dead", "retire"]
"""What follows from an attempt.

- retry: another attempt
- error: another attempt, after an error of this service and not of the receiver
- dead: nothing, because another attempt does not help
- retire: as dead, and the address is not used again
"""

_GONE: Final = 410
_TOO_LARGE: Final = 413


class Outcome(NamedTuple):
    """The result of one attempt."""

    result: OutcomeKind
    reason: str = ""
    """Why it was not delivered. It has no personal data."""
    status: int | None = None
    """The HTTP status, if there was a response."""
    retry_after_s: float | None = None


def callback_outcome(status: int, retry_after_s: float | None) -> Outcome:
    """Return the outcome of a callback: 2xx is a success, 410 retires it, and all else is attempted again."""
    if is_success(status):
        return Outcome("delivered", status=status)
    if status == _GONE:
        return Outcome("retire", "the receiver responded 410", status)
    return Outcome("retry", _named(status), status, retry_after_s)


def web_push_outcome(status: int, retry_after_s: float | None) -> Outcome:
    """Return the outcome of a push message: 404 and 410 end the subscription (RFC 8030), 413 is an error of ours."""
    if is_success(status):
        return Outcome("delivered", status=status)
    if status in (HTTPStatus.NOT_FOUND, _GONE):
        return Outcome("retire", f"the subscription has ended ({status})", status)
    if status == _TOO_LARGE:
        return Outcome("dead", "the push service rejects the size (413)", status)
    return Outcome("retry", _named(status), status, retry_after_s)


class _OneSignalResponse(msgspec.Struct, frozen=True):
    id: str = ""
    errors: msgspec.Raw = msgspec.Raw(b"null")


def one_signal_outcome(status: int, body: bytes, retry_after_s: float | None) -> Outcome:
    """Return the outcome of a message to OneSignal. It responds 200 also when nobody could receive the message."""
    if not is_success(status):
        # 400 names an error in the message. Others, such as a wrong key, another configuration can change.
        result: OutcomeKind = "dead" if status == HTTPStatus.BAD_REQUEST else "retry"
        return Outcome(result, _named(status), status, retry_after_s)
    try:
        response = msgspec.json.decode(body, type=_OneSignalResponse)
    except msgspec.MsgspecError:
        return Outcome("retry", "the response of the provider is not understood", status)
    errors = bytes(response.errors)
    if b"invalid_aliases" in errors or b"invalid_player_ids" in errors:
        return Outcome("dead", "the provider does not know this device", status)
    if not response.id:
        return Outcome("dead", "the provider has no subscribed device of this id", status)
    return Outcome("delivered", status=status)


def is_success(status: int) -> bool:
    """Return whether a status is 2xx."""
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _named(status: int) -> str:
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return f"the receiver redirects ({status})"
    return f"the receiver responded {status}"
