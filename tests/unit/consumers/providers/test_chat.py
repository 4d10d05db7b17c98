import pytest

from services.backbone.clients import RequestRefused, ServiceFailed, ServiceUnavailable
from services.consumers.providers.chat import ChatClient
from tests.unit.consumers.providers.replaying import Replay, replaying


async def sent(name: str, status: int = 200, headers: dict[str, str] | None = None) -> Replay:
    async with replaying(name, status=status, headers=headers) as (replay, provider, url):
        client = ChatClient(provider, url=url, token="token of the app")
        await client.send("channel_1", user_id="MeetupCom", text="19:00 ☕", message_id="action-1")
    return replay


async def test_message_is_sent_by_its_user_with_the_token_and_an_id() -> None:
    replay = await sent("message_sent")
    (request,) = replay.requests
    assert (request.method, request.path) == ("POST", "/v3/group_channels/channel_1/messages")
    assert request.headers["api-token"] == "token of the app"
    assert request.body == {
        "message_type": "MESG",
        "user_id": "MeetupCom",
        "message": "19:00 ☕",
        "dedup_id": "action-1",
    }


async def test_message_that_the_provider_has_already_is_sent() -> None:
    await sent("duplicate_message", 400)


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("no_channel", 400, RequestRefused),
        ("", 400, RequestRefused),
        ("", 413, RequestRefused),
        ("", 302, ServiceUnavailable),
        ("wrong_token", 400, ServiceUnavailable),
        ("", 401, ServiceUnavailable),
        ("", 403, ServiceUnavailable),
        ("", 404, ServiceUnavailable),
        ("", 405, ServiceUnavailable),
        ("over_rate_limit", 429, ServiceUnavailable),
        ("", 500, ServiceFailed),
        ("", 502, ServiceUnavailable),
        ("", 503, ServiceUnavailable),
        ("", 504, ServiceUnavailable),
    ],
)
async def test_error_depends_on_whether_a_retry_helps(name: str, status: int, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        await sent(name, status)
    assert type(raised.value) is error
    assert "token of the app" not in str(raised.value)
