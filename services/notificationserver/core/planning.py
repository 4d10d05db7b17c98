"""From a notification to the messages of its recipients."""

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from services.notificationserver.core import quiet
from services.notificationserver.core.mappings import DeviceMapping
from services.notificationserver.core.notifications import ChatNotice, MatchNotice, Notification

_MOST_SIDES: Final = 2
"""Recipients of a notification that is not of a chat."""


class Recipient(NamedTuple):
    """A device that a notification is for."""

    device_id: str
    side: str
    """The last part of the message id."""


def recipients_of(notification: Notification, chat_devices: Mapping[str, Sequence[str]]) -> Iterator[Recipient]:
    """Yield the recipients. `chat_devices` has the devices of each user of the chat provider."""
    notice = notification.notice
    if isinstance(notice, MatchNotice):
        yield Recipient(notice.offer.device_id, "offer")
        yield Recipient(notice.search.device_id, "search")
    elif isinstance(notice, ChatNotice):
        for user in notice.recipients:
            for device_id in chat_devices.get(user, ()):
                yield Recipient(device_id, hashlib.sha256(device_id.encode()).hexdigest()[:16])
    else:
        yield Recipient(notice.device_id, "text")


def groups_of(notifications: Iterable[Notification], *, most: int) -> Iterator[list[Notification]]:
    """Yield the notifications in groups of at most `most` recipients, or of one notification with more.

    The members of a chat count once, however many devices they have.
    """
    group: list[Notification] = []
    size = 0
    for notification in notifications:
        notice = notification.notice
        number = len(notice.recipients) if isinstance(notice, ChatNotice) else _MOST_SIDES
        if group and size + number > most:
            yield group
            group, size = [], 0
        group.append(notification)
        size += number
    if group:
        yield group


def quiet_until_ms(mapping: DeviceMapping | None, *, now_ms: int, default_zone: str) -> int | None:
    """Return when the quiet hours of a device end; None if it may be disturbed now."""
    hours = None if mapping is None else mapping.quiet_hours
    if mapping is None or hours is None:
        return None
    now = dt.datetime.fromtimestamp(now_ms / 1000.0, dt.UTC)
    end = quiet.until(now, mapping.time_zone, *hours, default_zone=default_zone)
    return None if end is None else round(end.timestamp() * 1000)
