"""What the machine owners reply in a chat: a table of commands for each, whose replies are made from `extdata`.

The table is that of the old system. Replies that it fetched from the pages of others have another text here: those
pages change their form, and a chat must not wait for them. Pure: no I/O.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from services.consumers.core.places import PLACES_OWNER

NOT_UNDERSTOOD: Final = "Sorry Dave, I didn't understand that."
NOT_KNOWN: Final = "Sorry, I don't know that about this offer."
ENDED: Final = "Sorry, this offer has ended."
ALL_PAIRS: Final = "{*}"
"""The reply with all pairs of `extdata` but ids and hashes."""
ANYTHING: Final = ""
"""A pattern that each message contains."""

_MOST_REPLY_CHARS: Final = 2_000
_HIDDEN_IN_ALL: Final = frozenset({"id", "vid", "match_hash", "content_hash"})
"""The ids and hashes of importers."""
_FIELD: Final = re.compile(r"\{(\w+)\}")
_FILM: Final = "film"
"""The part of an `id` before its first `|`: the page of a film."""


class Command(NamedTuple):
    """A command: the message contains one of the patterns, in any case."""

    patterns: tuple[str, ...]
    replies: tuple[str, ...]
    """Texts with the names of fields of `extdata` in braces. The first one whose fields all have a value is sent."""


class Machine(NamedTuple):
    """An owner for whom a machine replies."""

    commands: tuple[Command, ...]
    """The first one that fits the message is executed."""
    has_named_fields: bool = False
    """Whether the name of a field in the message is a command for it."""
    ended: str = ENDED
    """The reply when the offer does not exist any more."""


def _command(patterns: str, *replies: str) -> Command:
    """Return a command. The patterns are separated by `|`."""
    return Command(tuple(patterns.split("|")), replies)


_LINK: Final = _command("link", "{link}")
_SENSOR: Final = "https://data.sensor.community/airrohr/v1/sensor/{sid}/"

MACHINES: Final[Mapping[str, Machine]] = {
    "AbandonedBerlin": Machine((_command(ANYTHING, "{id}"),)),
    "BerlinDeDaten": Machine(
        (
            _command("open", "{open}"),
            _command("contact", "{contact}"),
            _command("misc", "{misc}"),
            _command("location", "{location}"),
            _LINK,
        )
    ),
    "BerlinDeKinos": Machine(
        (
            _command("wherelse", "I only know this cinema. All cinemas: {film}"),
            _command("when", "{berlin_time}, {where}", "{berlin_time}"),
            _command("desc|link", "{film}"),
        ),
        ended="Sorry, film has ended...",
    ),
    "BerlinDeNatur": Machine((_LINK,)),
    "DbpediaOrg": Machine((_LINK,)),
    "ExBerlinerLocations": Machine(
        (
            _command("desc", "{desc}"),
            _command("phone", "{phone}", "I don't know the phone number. It may be here: {id}"),
            _command("open", "{open}", "I don't know the opening hours. They may be here: {id}"),
            _command("cuisine", "{cuisine}", "I don't know the cuisine. It may be here: {id}"),
            _command("link", "{id}"),
        )
    ),
    PLACES_OWNER: Machine((_LINK,)),
    "GoogleAlbum": Machine((_LINK,)),
    "IndexBerlin": Machine(
        (
            _command("link", "{elink}", "{ilink}"),
            _command("open", "{otime}"),
            _command("tele", "{tel}"),
            _command("all", ALL_PAIRS),
        )
    ),
    "LuftDatenInfo": Machine(
        (
            _command("link", _SENSOR),
            _command(
                ANYTHING,
                "Temperature {temperature}, humidity {humidity}",
                "PM10 {P1}, PM2.5 {P2}",
                f"I don't know the current values. They are here: {_SENSOR}",
            ),
        )
    ),
    "MeetupCom": Machine(
        (
            _command("group name", "{group_name}"),
            _command("group", "{group_url}"),
            _command("link", "{id}"),
            _command("when", "{berlin_time}"),
        )
    ),
    "NewstralCom": Machine((_LINK,)),
    "UrbaniteNet": Machine((_command("link|url", "{link}", "{id}"),), has_named_fields=True),
}
"""The machine owners. To add one, add a row."""


def reply(owner: str, message: str, extdata: Mapping[str, Any] | None) -> str:
    """Return what a machine owner replies to a message about its offer, at most 2,000 characters.

    `extdata` is that of the offer, None if there is no offer. Raises KeyError for an owner that is no machine.
    """
    machine = MACHINES[owner]
    if extdata is None:
        return machine.ended
    lowered = message.lower()
    command = _command_of(machine, lowered)
    if command is not None:
        return _shortened(_first_known(command.replies, extdata))
    if machine.has_named_fields:
        for name in extdata:
            if name and name.lower() in lowered:
                return _shortened(_text_of(extdata[name]) or NOT_KNOWN)
    return NOT_UNDERSTOOD


def place_without_link(owner: str, message: str, extdata: Mapping[str, Any] | None) -> str | None:
    """Return the GeoNames id of a place if the message requests a link that `extdata` lacks, else None."""
    if owner != PLACES_OWNER or extdata is None or _command_of(MACHINES[owner], message.lower()) is None:
        return None
    geoid = _text_of(extdata.get("geoid"))
    is_lacking = not _text_of(extdata.get("link")) and geoid.isascii() and geoid.isdigit()
    return geoid if is_lacking else None


def _command_of(machine: Machine, lowered: str) -> Command | None:
    return next((each for each in machine.commands if any(pattern in lowered for pattern in each.patterns)), None)


def _first_known(replies: Iterable[str], extdata: Mapping[str, Any]) -> str:
    """Return the first text whose fields all have a value, with the values."""
    for text in replies:
        if text == ALL_PAIRS:
            pairs = ((name, _text_of(value)) for name, value in extdata.items() if name not in _HIDDEN_IN_ALL)
            return "\n".join(f"{name}: {value}" for name, value in pairs if value) or NOT_KNOWN
        values = {name: _value(name, extdata) for name in _FIELD.findall(text)}
        if all(values.values()):
            # Values are not searched for fields.
            return _FIELD.sub(lambda found, known=values: known[found[1]], text)  # type: ignore[misc]
    return NOT_KNOWN


def _value(name: str, extdata: Mapping[str, Any]) -> str:
    if name == _FILM and _FILM not in extdata:
        return _text_of(extdata.get("id")).partition("|")[0]
    return _text_of(extdata.get(name))


def _text_of(value: Any) -> str:
    """Return a value as text, empty if it has none."""
    if value is None or isinstance(value, bool):
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list):
        return ", ".join(text for each in value if (text := _text_of(each)))
    return msgspec.json.encode(value).decode()


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_REPLY_CHARS else f"{text[: _MOST_REPLY_CHARS - 1]}…"
