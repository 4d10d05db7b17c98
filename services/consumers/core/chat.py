"""Which chat messages the chatbot replies to: those that people send to machine owners. Pure: no I/O, no clock."""

import re
from typing import Final

import msgspec

from services.backbone.events import EncodedEvent, InvalidEvent, parameter, parameters
from services.consumers.core.actions import DOT_SEGMENTS, ActionRule, checked_text, text_of
from services.consumers.core.chat_commands import MACHINES

_MOST_MEMBERS: Final = 1_000
"""The notificationserver sends at most 999."""
_MOST_MESSAGE_CHARS: Final = 20_000
_MOST_NAME_CHARS: Final = 1_000
_CHANNEL_URL: Final = re.compile(r"[A-Za-z0-9_.~-]{1,256}").fullmatch
"""Anybody can send events, and it becomes a part of the path of a request."""
_OBJECT_ID: Final = re.compile(r"[0-9a-f]{24}").fullmatch
_MOST_IDS: Final = 2


class ReplyInChat(msgspec.Struct, frozen=True):
    """Reply to a chat message as a machine owner."""

    owner: str
    channel_url: str
    """The name of the channel at the chat provider."""
    ids: tuple[str, ...]
    """The objects that the chat is about: an offer, and mostly a search."""
    message: str


def reply_in_chat(event: EncodedEvent) -> ReplyInChat | None:
    """Read a `chm` event. Only messages to a machine owner need an action, and none that the machine has sent.

    The name of a channel is `<id>_<id>`, or an id and a word of the website or the app, such as `undefined`.
    """
    params = text_of(event)
    sender = parameter(params, "snder") or ""
    members = [value for name, value in parameters(params) if name == "mbers"]
    if len(members) > _MOST_MEMBERS:
        raise InvalidEvent(f"mbers: must have at most {_MOST_MEMBERS} values, has {len(members)}")
    owner = next((member for member in members if member in MACHINES), None)
    if owner is None or sender in MACHINES:  # two machines would reply to each other for ever
        return None
    name = checked_text(parameter(params, "chnam") or "", "chnam", most=_MOST_NAME_CHARS)
    ids = tuple(dict.fromkeys(part for part in name.lower().split("_") if _OBJECT_ID(part)))[:_MOST_IDS]
    if not ids:
        raise InvalidEvent("chnam: must contain the id of an object")
    channel_url = parameter(params, "churl") or ""
    if not _CHANNEL_URL(channel_url) or channel_url in DOT_SEGMENTS:
        raise InvalidEvent("churl: is not the name of a channel")
    return ReplyInChat(
        owner=owner,
        channel_url=channel_url,
        ids=ids,
        message=checked_text(parameter(params, "msg") or "", "msg", least=0, most=_MOST_MESSAGE_CHARS),
    )


CHATBOT: Final = ActionRule("chatbot", frozenset({b"chm"}), reply_in_chat, provider_wait_s=600.0)
