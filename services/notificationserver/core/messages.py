"""Messages: what one device receives. Each side of a match learns the title and the public location of the other."""

from collections.abc import Sequence
from typing import Any, Final, Literal, Self
from urllib.parse import quote

import msgspec

from services.backbone.names import notify_window_key
from services.notificationserver.core.notifications import ChatNotice, MatchedObject, MatchNotice, Notification
from services.notificationserver.core.texts import Language, text
from services.notificationserver.core.web_push import topic_of

MessageKind = Literal["match", "chat", "text", "merged"]
MessageState = Literal["sent", "suppressed", "held", "merged", "unreachable"]
"""sent: it has deliveries. merged: another message contains it. unreachable: the device had no channel."""

LIFE_MS: Final = 24 * 3_600_000
"""A message that is older is stale: it is not delivered any more."""
_SHOWN_TITLE_CHARACTERS: Final = 150
_SHOWN_TEXT_CHARACTERS: Final = 500
_MERGED_LINES: Final = 5


class Message(msgspec.Struct, frozen=True):
    """A message to a device, in its language."""

    id: str = msgspec.field(name="_id")
    """`<notification>.<side>`. It has no ~. Receivers know a repeated message by it."""
    notification_id: str
    device_id: str
    kind: MessageKind
    title: str
    body: str
    url: str
    locale: str
    accepted_ms: int
    expires_ms: int
    topic: str
    """Messages of one topic replace each other at a push service while they wait."""
    data: dict[str, str]
    params: dict[str, str]
    """The form fields `params[...]` of a callback."""
    window: str = ""
    """The key of its rate limit; empty without a limit."""
    merged_ids: tuple[str, ...] = ()
    """The held messages that this one contains."""

    def to_document(self) -> dict[str, Any]:
        """Return the document of this message."""
        document: dict[str, Any] = msgspec.to_builtins(self)
        return document

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Return the message of a document. The fields of its state are ignored."""
        return msgspec.convert(document, cls, strict=False)


def compose(notification: Notification, side: str, device_id: str, language: Language) -> Message:
    """Return the message to one recipient. `side` is offer or search for a match."""
    notice = notification.notice
    common: dict[str, Any] = {
        "id": f"{notification.id}.{side}",
        "notification_id": notification.id,
        "device_id": device_id,
        "locale": language,
        "accepted_ms": notification.accepted_ms,
        "expires_ms": notification.accepted_ms + LIFE_MS,
    }
    if isinstance(notice, MatchNotice):
        return Message(**common, **_match(notice, side, language))
    if isinstance(notice, ChatNotice):
        name, url = _short(notice.channel_name, _SHOWN_TITLE_CHARACTERS), notice.channel_url
        body = _short(notice.text, _SHOWN_TEXT_CHARACTERS)
        return Message(
            **common,
            kind="chat",
            title=text(language, "chat", channel=name),
            body=body,
            url=f"pushtech://chat/{quote(name, safe='')}/open/{quote(url, safe='')}",
            topic=topic_of(f"chat {notification.id}"),
            data={"chat_name": name, "chat_id": url},
            params={
                "params[key]": "new_chat_message",
                "params[chat_message][channel_name]": name,
                "params[chat_message][channel_url]": url,
                "params[chat_message][message]": body,
            },
        )
    return Message(
        **common,
        kind="text",
        title=text(language, "text"),
        body=_short(notice.text, _SHOWN_TEXT_CHARACTERS),
        url=notice.url,
        topic=topic_of(f"text {notification.id}"),
        data={},
        params={},
    )


def _match(notice: MatchNotice, side: str, language: Language) -> dict[str, Any]:
    offer, search = notice.offer, notice.search
    is_offer = side == "offer"
    own, other = (offer, search) if is_offer else (search, offer)
    found, other_side = ("search_found", "search") if is_offer else ("offer_found", "offer")
    title = _short(other.title, _SHOWN_TITLE_CHARACTERS) or text(language, "untitled")
    link = (offer.id, search.id) if is_offer else (search.id, offer.id)
    window = notify_window_key(side, search.id, offer.id)
    return {
        "kind": "match",
        "title": text(language, found),
        "body": text(language, "match", title=title),
        "url": f"pushtech://{side}/{quote(link[0], safe='')}/{quote(link[1], safe='')}/matched",
        "topic": topic_of(window),
        "window": window,
        "data": {
            "search_id": search.id,
            "search_title": _short(search.title, _SHOWN_TITLE_CHARACTERS),
            "offer_id": offer.id,
            "offer_title": _short(offer.title, _SHOWN_TITLE_CHARACTERS),
            f"{side}_device_id": own.device_id,
            f"{other_side}_lat": repr(other.lat),
            f"{other_side}_lng": repr(other.lng),
        },
        "params": {
            "params[key]": f"{side}_matched_{other_side}",
            f"params[{side}][table][device_id]": own.device_id,
            **_table(side, own),
            **_table(other_side, other),
        },
    }


def _table(side: str, matched: MatchedObject) -> dict[str, str]:
    values = {
        "id": matched.id,
        "title": matched.title,
        "lat": repr(matched.lat),
        "lng": repr(matched.lng),
        "radi": f"{matched.radi:g}",
    }
    return {f"params[{side}][table][{name}]": value for name, value in values.items()}


def merge(messages: Sequence[Message], message_id: str, language: Language, *, now_ms: int) -> Message:
    """Return one message for those that were held during the quiet hours of a device."""
    lines = [f"{message.title}: {message.body}" for message in messages[:_MERGED_LINES]]
    if len(messages) > _MERGED_LINES:
        lines.append(text(language, "more", count=len(messages) - _MERGED_LINES))
    first = messages[0]
    return Message(
        id=message_id,
        notification_id=message_id,
        device_id=first.device_id,
        kind="merged",
        title=text(language, "merged", count=len(messages)),
        body="\n".join(lines),
        url=first.url,
        locale=language,
        accepted_ms=now_ms,
        expires_ms=max(message.expires_ms for message in messages),
        topic=topic_of(f"merged {message_id}"),
        data={"count": str(len(messages))},
        params={
            "params[key]": "merged",
            **{f"params[messages][{index}]": message.id for index, message in enumerate(messages)},
        },
        merged_ids=tuple(message.id for message in messages),
    )


def _short(value: str, most: int) -> str:
    return value if len(value) <= most else value[: most - 1] + "…"
