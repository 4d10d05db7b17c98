"""Access to pages and sockets: credentials, origins, security headers, consumer groups."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from services.backbone import names
from services.backbone.kafka import EventConsumer, EventProducer
from services.kafidx.settings import Settings
from tests.contract.kafidx.serving import (
    BAD_QUERY,
    LOGIN,
    PASSWORD,
    REFUSED,
    Kafidx,
    Opened,
    event,
    produce,
    serving,
)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!"},
        {"Authorization": "Basic " + base64.b64encode(b"kafidx").decode()},
        {"Authorization": "Bearer " + base64.b64encode(f"kafidx:{PASSWORD}".encode()).decode()},
    ],
)
async def test_request_without_credentials_is_refused_and_opens_no_reader(
    kafidx: Kafidx, opened: Opened, headers: dict[str, str]
) -> None:
    for path in (
        "/",
        "/kafidx",
        "/kafidx/event?partition=0&offset=0",
        "/consumers",
        "/dead",
        "/static/push/push.css",
        "/no",
    ):
        status, _, response = await kafidx.get(path, headers)
        assert (status, response["WWW-Authenticate"][:5]) == (REFUSED, "Basic")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with kafidx.socket("from=beginning", headers):
            pass
    assert refused.value.status == REFUSED
    assert opened.readers == 0


async def test_request_with_a_wrong_password_is_refused_and_opens_no_reader(kafidx: Kafidx, opened: Opened) -> None:
    wrong = {"Authorization": "Basic " + base64.b64encode(b"kafidx:wrong").decode()}
    for path in ("/", "/kafidx/event?partition=0&offset=0", "/no"):
        status, _, response = await kafidx.get(path, wrong)
        assert (status, response["WWW-Authenticate"][:5]) == (REFUSED, "Basic")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with kafidx.socket("from=beginning", wrong):
            pass
    assert refused.value.status == REFUSED
    assert opened.readers == 0


async def test_page_of_another_site_cannot_open_the_socket(kafidx: Kafidx, opened: Opened) -> None:
    for origin in ("http://evil.example", "null", "http://127.0.0.1"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with kafidx.socket("", LOGIN | {"Origin": origin}):
                pass
        assert refused.value.status == 403
    assert opened.readers == 0
    async with kafidx.socket("", LOGIN | {"Origin": kafidx.url}) as socket:
        await socket.frame("hello")


@pytest.mark.usefixtures("own_topics")
async def test_only_loopback_host_names_are_allowed_when_no_password_is_set(environ: dict[str, str]) -> None:
    async with serving(environ | {"KAFIDX_PASSWORD": ""}) as kafidx:
        assert (await kafidx.get("/", {}))[0] == 200
        assert (await kafidx.get("/", {"Host": "rebound.example"}))[0] == 403


async def test_every_response_has_the_security_headers(kafidx: Kafidx) -> None:
    for path in ("/", "/kafidx", "/consumers", "/dead", "/no", "/static/push/push.css"):
        _, _, headers = await kafidx.get(path)
        assert "default-src 'none'; script-src 'self'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


async def test_production_group_as_session_is_refused_and_the_group_is_unchanged(
    kafidx: Kafidx, environ: dict[str, str], opened: Opened, producer: EventProducer, kafka_broker: Any
) -> None:
    if kafka_broker.kind == "tansu":
        pytest.skip("aiokafka cannot decode Tansu's response with the offsets of a group")
    await produce(producer, [event(number) for number in range(30)])
    settings = Settings.from_env(environ)
    group = names.consumer_group("event_counter")

    async def from_the_beginning(partitions: Sequence[int]) -> Mapping[int, int | None]:
        return dict.fromkeys(partitions)

    member = EventConsumer(settings, topic=names.EVENTS_TOPIC, group=group, positions=from_the_beginning)
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()

    async def state() -> Any:
        offsets = await admin.list_consumer_group_offsets(group)
        (described,) = await admin.describe_consumer_groups([group])
        return offsets, described.to_object()

    try:
        async with member:
            await member.commit({0: 3})
            before = await state()
            async with kafidx.socket("gid=event_counter&from=beginning") as socket:
                error = await socket.frame()
                assert (error["kind"], error["parameter"], error["position"]) == ("error", "gid", 0)
                assert await socket.closed() == BAD_QUERY
            assert (await kafidx.get("/kafidx?gid=event_counter"))[0] == 400
            assert await state() == before
    finally:
        await admin.close()
    assert opened.readers == 0
