"""Notifications: what others report. Each has an id, and one or several recipients."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Meta

MAX_ID_CHARACTERS: Final = 200
MAX_TITLE_CHARACTERS: Final = 10_000
MAX_MEMBERS: Final = 1_000
_ID: Final = re.compile(rf"[A-Za-z0-9._:-]{{1,{MAX_ID_CHARACTERS}}}")
ID_FORM: Final = f"1 to {MAX_ID_CHARACTERS} of the characters A-Z a-z 0-9 . _ : -"
_EVENT_ID_CHARACTERS: Final = 120
"""The tracker accepts ids of at most 128 characters."""
_EVENT_TEXT_CHARACTERS: Final = 1_000
_EVENT_MEMBERS_BYTES: Final = 65_536
"""The most bytes of the members in an event, as they are sent. The tracker rejects an event over MAX_EVENT_BYTES."""

Name = Annotated[str, Meta(min_length=1, max_length=256)]
Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]


class InvalidNotification(ValueError):
    """A notification has a wrong form. The message names the field."""


class MatchedObject(msgspec.Struct, frozen=True):
    """One side of a match. Its location is the public one: the other side receives it."""

    id: Name
    device_id: Name
    title: Annotated[str, Meta(max_length=MAX_TITLE_CHARACTERS)]
    lat: Latitude
    lng: Longitude
    radi: Annotated[float, Meta(ge=0)]
    """The radius in metres."""


class MatchNotice(msgspec.Struct, frozen=True, tag="match"):
    """An offer and a search match. Each side is a recipient."""

    offer: MatchedObject
    search: MatchedObject


class ChatNotice(msgspec.Struct, frozen=True, tag="chat"):
    """A message in a channel of the chat provider. The members but the sender are recipients."""

    channel_name: str
    channel_url: str
    sender: str
    members: tuple[str, ...]
    """The ids of all members at the chat provider, with the sender."""
    text: str

    @property
    def recipients(self) -> tuple[str, ...]:
        """The members that the message is for."""
        return tuple(dict.fromkeys(member for member in self.members if member != self.sender))


class TextNotice(msgspec.Struct, frozen=True, tag="text"):
    """A free text for one device."""

    device_id: str
    text: str
    url: str = ""


Notice = MatchNotice | ChatNotice | TextNotice


class Notification(msgspec.Struct, frozen=True):
    """A notice under its id."""

    id: Annotated[str, Meta(pattern=_ID.pattern)] = msgspec.field(name="_id")
    accepted_ms: int
    notice: Notice


class OwedNotice(msgspec.Struct, frozen=True):
    """The event that a notification owes to the tracker."""

    type: str
    id: str
    params: dict[str, str | list[str]]


class _MatchBody(msgspec.Struct, frozen=True):
    category: str
    offer: MatchedObject
    search: MatchedObject
    id: str = ""


_decode_match: Final = msgspec.json.Decoder(_MatchBody).decode


def parse_match(body: bytes, *, header_id: str = "") -> tuple[str, MatchNotice]:
    """Return the id (empty without one) and the match of a body of `POST /notify`. Raises InvalidNotification.

    `header_id` is the header Idempotency-Key, which counts if the body has no id.
    """
    try:
        sent = _decode_match(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidNotification(str(error)) from None
    if sent.category != "match_found":
        raise InvalidNotification(f"category: {sent.category[:50]!r} is unknown; the only category is match_found")
    notification_id = sent.id or header_id
    if notification_id and not is_id(notification_id):
        raise InvalidNotification(f"id: {notification_id[:50]!r} is not {ID_FORM}")
    return notification_id, MatchNotice(sent.offer, sent.search)


def is_id(value: object) -> bool:
    """Return whether a value can be the id of a notification: it becomes a part of headers."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def digest_of(notice: Notice) -> str:
    """Return a digest of the content, for notices without an id."""
    return hashlib.sha256(msgspec.json.encode(notice)).hexdigest()[:40]


def content_id(digest: str, ending: str) -> str:
    """Return an id for a notification without one. Equal contents have the same digest in their ids."""
    return f"{digest}.{ending}"


def digest_in(notification_id: str) -> str:
    """Return the digest in an id of `content_id`, or the beginning of another id."""
    return notification_id.partition(".")[0]


def owed_event(notification: Notification) -> OwedNotice | None:
    """Return the event that a notification owes: `mtf` for a match, `chm` for a chat message."""
    notice = notification.notice
    if isinstance(notice, MatchNotice):
        offer, search = notice.offer, notice.search
        return OwedNotice(
            "mtf",
            _event_id(notification.id, "mtf"),
            {
                "oid": offer.id,
                "olat": repr(offer.lat),
                "olng": repr(offer.lng),
                "oradi": f"{offer.radi:g}",
                "sid": search.id,
                "slat": repr(search.lat),
                "slng": repr(search.lng),
                "sradi": f"{search.radi:g}",
            },
        )
    if isinstance(notice, ChatNotice):
        params: dict[str, str | list[str]] = {
            "churl": notice.channel_url,
            "chnam": notice.channel_name,
            "snder": notice.sender,
            "mbers": list(_first_members(notice.members)),
            "msg": notice.text[:_EVENT_TEXT_CHARACTERS],
        }
        return OwedNotice("chm", _event_id(notification.id, "chm"), params)
    return None


def _first_members(members: Iterable[str]) -> Iterator[str]:
    left = _EVENT_MEMBERS_BYTES
    for member in members:
        left -= len(quote(member, safe="")) + len("&mbers=")
        if left < 0:
            return
        yield member


def _event_id(notification_id: str, event_type: str) -> str:
    if len(notification_id) > _EVENT_ID_CHARACTERS:
        notification_id = hashlib.sha256(notification_id.encode()).hexdigest()
    return f"{notification_id}.{event_type}"


class _ChatUser(msgspec.Struct, frozen=True):
    user_id: Name


class _ChatChannel(msgspec.Struct, frozen=True):
    name: Annotated[str, Meta(max_length=1_000)]
    channel_url: Name


class _ChatPayload(msgspec.Struct, frozen=True):
    message: Annotated[str, Meta(max_length=20_000)] = ""
    message_id: int | None = None


class _ChatBody(msgspec.Struct, frozen=True):
    app_id: str
    category: str
    sender: _ChatUser
    members: Annotated[tuple[_ChatUser, ...], Meta(max_length=MAX_MEMBERS)]
    channel: _ChatChannel
    payload: _ChatPayload


class _ChatKind(msgspec.Struct, frozen=True):
    app_id: str = ""
    category: str = ""


CHAT_CATEGORY: Final = "group_channel:message_send"


def parse_chat(body: bytes, *, app_id: str) -> tuple[str, ChatNotice] | None:
    """Return the id and the notice of a webhook of the chat provider; None if it is of another category.

    Raises UnknownApp for another app, and InvalidNotification.
    """
    try:
        kind = msgspec.json.decode(body, type=_ChatKind)
        if kind.app_id != app_id:
            raise UnknownApp("app_id: is not ours")
        if kind.category != CHAT_CATEGORY:
            return None
        sent = msgspec.json.decode(body, type=_ChatBody)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidNotification(str(error)) from None
    members = tuple(member.user_id for member in sent.members)
    notice = ChatNotice(sent.channel.name, sent.channel.channel_url, sent.sender.user_id, members, sent.payload.message)
    # The provider may send a webhook again: the same message has the same id.
    message = body if sent.payload.message_id is None else str(sent.payload.message_id).encode()
    digest = hashlib.sha256(notice.channel_url.encode() + b"\n" + message).hexdigest()[:40]
    return f"chat.{digest}", notice


class UnknownApp(Exception):
    """A webhook is for another app."""


def to_document(notification: Notification) -> dict[str, Any]:
    """Return the document of a notification."""
    document: dict[str, Any] = msgspec.to_builtins(notification)
    return document


def from_document(document: dict[str, Any]) -> Notification:
    """Return the notification of a document."""
    return msgspec.convert(document, Notification, strict=False)
