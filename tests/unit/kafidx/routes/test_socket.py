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
def test_a_resume_says_where_to_go_on(message: str | bytes) -> None:
    assert _resume(message) == Start("offset", offsets={0: 5, 2: 0})


def test_positions_that_no_topic_can_have_are_left_out() -> None:
    assert _resume(f'{{"kind":"resume","positions":{{"-1":5,"0":-1,"1":{2**63},"2":7}}}}') == Start(
        "offset", offsets={2: 7}
    )


@pytest.mark.parametrize(
    "message",
    ["", "resume", "[]", "{}", b"\xff", '{"kind":"pause","positions":{}}', '{"kind":"resume"}',
     '{"kind":"resume","positions":{"0":"5"}}', '{"kind":"resume","positions":{"x":5}}'],
)  # fmt: skip
def test_anything_else_is_no_resume(message: str | bytes) -> None:
    assert _resume(message) is None


class Peer:
    """What a socket receives, one message after the other."""

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
async def test_only_the_first_message_can_resume_and_listening_ends_with_the_peer(
    texts: list[str], expected: Start | None
) -> None:
    messages = [{"type": "websocket.receive", "text": text} for text in texts]
    peer = Peer(*messages, {"type": "websocket.disconnect"})
    first: asyncio.Future[Start | None] = asyncio.get_running_loop().create_future()
    await _listen(cast("WebSocket", peer), first)
    assert first.result() == expected


class Frames:
    """A watcher with one frame, or with a fault."""

    def __init__(self, fault: RuntimeError | None = None) -> None:
        self._fault = fault

    async def frames(self) -> AsyncIterator[str]:
        if self._fault is not None:
            raise self._fault
        yield "{}"


class Gone:
    """A peer that has left."""

    async def send_text(self, text: str) -> None:
        raise RuntimeError(text)


async def test_a_fault_of_our_own_is_not_taken_for_a_peer_that_left() -> None:
    live = LiveSocket(cast("Any", None), Settings.from_env({}), cast("Any", None))
    await live._send(cast("WebSocket", Gone()), cast("Any", Frames()))
    with pytest.raises(RuntimeError, match="our own"):
        await live._send(cast("WebSocket", Gone()), cast("Any", Frames(RuntimeError("our own"))))
