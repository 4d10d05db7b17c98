"""ChatClient: sends messages by the platform API of the chat provider (Sendbird, version 3)."""

from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import msgspec

from services.backbone.clients import RequestRefused
from services.consumers.providers.requests import Provider

_WRONG_TOKEN: Final = 400401
"""The provider's code for an API token that it does not know. Its status is 400."""
_NOT_UNIQUE: Final = 400202
"""The provider's code for a value that exists already: the id of a message that it has."""


class _ErrorBody(msgspec.Struct):
    code: int = 0
    message: str = ""


class ChatClient:
    """Sends messages into group channels."""

    def __init__(self, provider: Provider, *, url: str, token: str) -> None:
        self._provider = provider
        self._url = url
        self._headers = {"Content-Type": "application/json; charset=utf8", "Api-Token": token}

    async def send(self, channel_url: str, *, user_id: str, text: str, message_id: str) -> None:
        """Send a message of a user. Returns when the provider has it.

        The provider checks `message_id` for duplicates. At least once all the same: it does not say for how long.
        Raises ServiceUnavailable, ServiceFailed or RequestRefused.
        """
        message = {"message_type": "MESG", "user_id": user_id, "message": text, "dedup_id": message_id}
        url = f"{self._url}/group_channels/{quote(channel_url, safe='')}/messages"
        body = msgspec.json.encode(message)
        response = await self._provider.request("POST", url, body=body, headers=self._headers)
        if response.status == HTTPStatus.BAD_REQUEST:
            error = _error_of(response.body)
            if error.code == _NOT_UNIQUE:
                return
            if error.code == _WRONG_TOKEN:
                raise self._provider.unavailable("it does not know SENDBIRD_API_TOKEN")
            if error.code:
                raise RequestRefused(f"the chat provider: {error.code} {error.message[:200]}")
        await self._provider.check_status(response)


def _error_of(body: bytes) -> _ErrorBody:
    try:
        return msgspec.json.decode(body, type=_ErrorBody)
    except msgspec.MsgspecError:
        return _ErrorBody()
