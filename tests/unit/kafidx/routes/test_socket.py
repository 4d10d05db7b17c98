import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from starlette.websockets import WebSocket

from services.kafidx.core.positions import Start
from services.kafidx.routes.socket import LiveSocket, _listen, _resume
from services.kafidx.settings import Settings


@pytest.mark.parametrize(
    "message", ['{"kind":"resume","positions":{"0":5,"2":0}}', b'{"kind":"resume","positions":{"0":5,"2":0}}']
)
def test_resume_message_sets_the_start_offsets(message: str | bytes) -> None:
    assert _resume(message) == Start("offset", offsets={0: 5, 2: 0})


def test_resume_message_ignores_impossible_positions() -> None:
    assert _resume(f'{{"kind":"resume","positions":{{"-1":5,"0":-1,"1":{2**63},"2":7}}}}') == Start(
        "offset", offsets={2: 7}
    )


@pytest.mark.parametrize(
    "message",
    ["", "resume", "[]", "{}", b"\xff", '{"kind":"pause","positions":{}}', '{"kind":"resume"}',
     '{"kind":"resume","positions":{"0":"5"}}', '{"kind":"resume","positions":{"x":5}}'],
)  # fmt: skip
def test_any_other_message_is_not_a_resume(message: str | bytes) -> None:
    assert _resume(message) is None


class Peer:
    """A socket that receives these messages in order."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self._messages = list(messages)

    async def receive(self) -> dict[str, Any]:
        return self._messages.pop(0)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], None),
        (['{"kind":"resume","positions":{"0":5}}'], Start("offset", offsets={0: 5})),
        (["hello", '{"kind":"resume","positions":{"0":5}}'], None),
    ],
)
async def test_only_the_first_message_can_resume_and_listening_ends_at_the_disconnect(
    texts: list[str], expected: Start | None
) -> None:
    messages = [{"type": "websocket.receive", "text": text} for text in texts]
    peer = Peer(*messages, {"type": "websocket.disconnect"})
    first: asyncio.Future[Start | None] = asyncio.get_running_loop().create_future()
    await _listen(cast("WebSocket", peer), first)
    assert first.result() == expected


class Frames:
    """A subscriber with one frame, or with an error."""

    def __init__(self, error: RuntimeError | None = None) -> None:
        self._error = error

    async def frames(self) -> AsyncIterator[str]:
        if self._error is not None:
            raise self._error
        yield "{}"


class Gone:
    """A peer that has closed the socket."""

    async def send_text(self, text: str) -> None:
        raise RuntimeError(text)


async def test_error_in_a_subscriber_is_raised_and_not_treated_as_a_disconnect() -> None:
    live = LiveSocket(cast("Any", None), Settings.from_env({}), cast("Any", None))
    await live._send(cast("WebSocket", Gone()), cast("Any", Frames()))
    with pytest.raises(RuntimeError, match="our own"):
        await live._send(cast("WebSocket", Gone()), cast("Any", Frames(RuntimeError("our own"))))
