"""A request to Redis whose response is lost."""

from typing import Any

import pytest
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError


def lose_next_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the connection after the next request, before its response is read."""
    read_response = Connection.read_response

    async def lose(self: Connection, *arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(Connection, "read_response", read_response)
        await read_response(self, *arguments, **named)
        await self.disconnect()
        raise RedisConnectionError("lost")

    monkeypatch.setattr(Connection, "read_response", lose)
