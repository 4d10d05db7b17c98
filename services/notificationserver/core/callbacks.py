"""The body of a callback: a form with the fields of the old system."""

from typing import Final
from urllib.parse import urlencode

from services.notificationserver.core.messages import Message

CONTENT_TYPE: Final = "application/x-www-form-urlencoded"


def callback_body(message: Message) -> bytes:
    """Return the form that is signed and sent: url, msg, locale, title, data[...] and params[...]."""
    fields = {"url": message.url, "msg": message.body, "locale": message.locale, "title": message.title}
    data = {f"data[{name}]": value for name, value in {"message_id": message.id, **message.data}.items()}
    return urlencode({**fields, **data, **message.params}).encode()
