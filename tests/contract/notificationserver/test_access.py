"""Who may call what, registrations, and the signature of chat webhooks."""

import asyncio
import contextlib
import hashlib
import hmac
import json
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from deploy.develop.localstack.ports import free_port
from services.backbone.mongo import Database
from tests.contract.notificationserver.serving import (
    CHAT_APP,
    CHAT_TOKEN,
    PHONE,
    EventStub,
    Receiver,
    client_of,
    match,
    register,
    running,
    until,
)


async def test_requests_without_credentials_are_refused(service: httpx.AsyncClient, environ: dict[str, str]) -> None:
    del service
    async with client_of(environ, None) as stranger, client_of(environ, ("notify", "wrong")) as guesser:
        for path in ("/notify", "/register", "/notification"):
            assert (await stranger.post(path, json={})).status_code == 401
        assert (await guesser.post("/notify", json=match())).status_code in (401, 429)


async def test_phone_may_only_register_what_concerns_itself(
    service: httpx.AsyncClient, environ: dict[str, str], database: Database
) -> None:
    await register(service, "d1", callback_url="https://example.com/")
    async with client_of(environ, PHONE) as phone:
        allowed = {"device_id": "d1", "onesignal_id": "p1", "locale": "de"}
        assert (await phone.post("/register", json=allowed)).json() == {"status": "ok"}
        old_app = allowed | {"onesignal_id": "p2", "sendbird_id": "anna", "callback_url": "https://evil.example/"}
        response = await phone.post("/register", data=old_app)
        assert response.status_code == 200
        assert response.json() == {"status": "ok", "ignored": ["callback_url", "sendbird_id"]}
        stored = await database["mappings"].find_one({"_id": "d1"})
        assert stored is not None
        assert stored["callback_url"] == "https://example.com/"
        assert (stored["onesignal_id"], stored["sendbird_id"]) == ("p2", "")
        assert (await phone.post("/notify", json=match())).status_code == 403
        assert (await phone.post("/notification", json={})).status_code == 403


async def test_get_that_changed_something_names_the_method(service: httpx.AsyncClient) -> None:
    response = await service.get("/notify")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    old = await service.get("/register", params={"device_id": "d1", "callback_url": "http://example.com/"})
    assert (old.status_code, old.headers["allow"]) == (405, "POST")


async def test_registration_by_form_keeps_what_is_blank_and_unsets_by_name(
    service: httpx.AsyncClient, database: Database
) -> None:
    form = {"device_id": "d1", "onesignal_id": "p1", "sendbird_id": "", "locale": "de", "callback_url": ""}
    assert (await service.post("/register", data=form)).json() == {"status": "ok"}
    moved = await service.post("/register", data={"device_id": "d1", "onesignal_id": "", "redirect": "1"})
    assert (moved.status_code, moved.headers["location"]) == (303, "/mappings")
    await service.post("/register", data={"device_id": "d1", "unset": "locale"})
    await register(service, "d1", time_zone="Europe/Vienna", quiet_from="22:00", quiet_to="07:00")
    stored = await database["mappings"].find_one({"_id": "d1"})
    assert stored is not None
    assert (stored["onesignal_id"], stored["locale"], stored["time_zone"]) == ("p1", "", "Europe/Vienna")
    assert await database["mappings"].count_documents({}) == 1


async def test_log_of_a_failed_write_has_the_class_and_no_device_id(
    service: httpx.AsyncClient, database: Database
) -> None:
    await database.command("collMod", "mappings", validator={"never": {"$exists": True}})
    try:
        with capture_logs() as logged:
            response = await service.post("/register", json={"device_id": "anna@example.com"})
    finally:
        await database.command("collMod", "mappings", validator={})
    assert response.status_code == 503
    (failed,) = (each for each in logged if each["event"] == "database_failed")
    assert (failed["route"], failed["error"]) == ("/register", "WriteError 121")
    assert "anna" not in str(logged)


async def test_callback_gets_a_key_that_only_one_response_shows(service: httpx.AsyncClient) -> None:
    first = await register(service, "d1", callback_url="https://example.com/hook")
    assert first["callback_key"].startswith("whsec_")
    assert await register(service, "d1", callback_url="https://example.com/hook") == {"status": "ok"}


async def test_wrong_field_is_named_and_nothing_is_stored(service: httpx.AsyncClient, database: Database) -> None:
    for path, body, field in (
        ("/register", {"device_id": {"$ne": None}}, "device_id"),
        ("/register", {"device_id": "d1", "callback_url": "http://user@example.com/"}, "callback_url"),
        ("/notify", match(category="other"), "category"),
        ("/notify", match(offer={"id": {"$ne": 1}}), "$.offer"),
    ):
        response = await service.post(path, json=body)
        assert response.status_code == 422
        assert field in response.json()["detail"]
    assert await database["notifications"].count_documents({}) == 0
    assert await database["mappings"].count_documents({}) == 0
    for headers, status in (({"content-type": "text/plain"}, 415), ({"content-type": "application/json"}, 400)):
        assert (await service.post("/register", content=b"{", headers=headers)).status_code == status
    assert (await service.post("/notify", content=b"a" * 300_000)).status_code == 413


def chat(**changed: Any) -> bytes:
    body = {
        "app_id": CHAT_APP,
        "category": "group_channel:message_send",
        "sender": {"user_id": "anna"},
        "members": [{"user_id": "anna"}, {"user_id": "ben"}, {"user_id": "unknown"}],
        "channel": {"name": "Brot & Käse", "channel_url": "sendbird_1"},
        "payload": {"message_id": 7, "message": "Ist es noch da?"},
    }
    return json.dumps(body | changed).encode()


def signed(body: bytes, token: str = CHAT_TOKEN) -> dict[str, str]:
    return {"x-sendbird-signature": hmac.new(token.encode(), body, hashlib.sha256).hexdigest()}


async def test_forged_chat_webhook_is_refused_and_nothing_is_stored(
    service: httpx.AsyncClient, environ: dict[str, str], database: Database
) -> None:
    del service
    async with client_of(environ, None) as provider:
        for headers in ({}, signed(chat(), "another token"), signed(chat() + b" ")):
            response = await provider.post("/sendbird/hook", content=chat(), headers=headers)
            assert response.status_code == 401
        other = chat(app_id="another app")
        assert (await provider.post("/sendbird/hook", content=other, headers=signed(other))).status_code == 404
    assert await database["notifications"].count_documents({}) == 0


async def response_to_head(environ: dict[str, str], *headers: str) -> tuple[bytes, asyncio.StreamWriter]:
    """Send a webhook without its body. Return the status line, or nothing if none comes in 2 s."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(environ["NOTIFY_PORT"]))
    head = ("POST /sendbird/hook HTTP/1.1", "Host: x", "Content-Length: 200000", *headers)
    writer.write("\r\n".join((*head, "", "half of a body")).encode())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            return await reader.readline(), writer
    return b"", writer


async def test_webhook_without_a_possible_signature_is_refused_before_its_body(
    service: httpx.AsyncClient, environ: dict[str, str]
) -> None:
    del service
    for headers in ((), ("X-Sendbird-Signature: short",)):
        line, writer = await response_to_head(environ, *headers)
        assert line.startswith(b"HTTP/1.1 401 ")
        writer.close()
    ports = {name: str(free_port()) for name in ("NOTIFY_PORT", "INTERNAL_PORT")}
    without_chat = environ | ports | {"SENDBIRD_APP_ID": "", "SENDBIRD_API_TOKEN": ""}
    async with running(without_chat):
        line, writer = await response_to_head(without_chat, f"X-Sendbird-Signature: {'a' * 64}")
        assert line.startswith(b"HTTP/1.1 404 ")
        writer.close()


async def test_few_webhooks_are_in_memory_at_a_time(
    service: httpx.AsyncClient, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.notificationserver.routes.notify._MOST_OPEN_BODIES", 2)
    await register(service, "device-of-ben", sendbird_id="ben")
    slow = [await response_to_head(environ, f"X-Sendbird-Signature: {'a' * 64}") for _ in range(2)]
    assert [line for line, _ in slow] == [b"", b""]
    async with client_of(environ, None) as provider:
        response = await provider.post("/sendbird/hook", content=chat(), headers=signed(chat()))
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        for _, writer in slow:
            writer.close()
        async with asyncio.timeout(10):
            while response.status_code == 503:
                response = await provider.post("/sendbird/hook", content=chat(), headers=signed(chat()))
    assert response.status_code == 200


async def test_chat_message_reaches_the_members_but_the_sender_once(
    service: httpx.AsyncClient, environ: dict[str, str], receiver: Receiver, tracker: EventStub
) -> None:
    for user in ("anna", "ben"):
        await register(service, f"device-of-{user}", sendbird_id=user, callback_url=f"{receiver.url}/{user}")
    async with client_of(environ, None) as provider:
        for _ in range(3):  # the provider sends a webhook again
            response = await provider.post("/sendbird/hook", content=chat(), headers=signed(chat()))
            assert (response.status_code, response.json()["status"]) == (200, "ok")
    await receiver.until(1)
    await until(lambda: len(tracker.ids) == 1)
    assert [each.path for each in receiver.requests] == ["/ben"]
    form = receiver.requests[0].form
    assert (form["msg"], form["title"]) == ("Ist es noch da?", "Message: Brot & Käse")
    assert form["url"] == "pushtech://chat/Brot%20%26%20K%C3%A4se/open/sendbird_1"
    _, event_type, params = tracker.requests[0]
    assert event_type == "chm"
    assert [value for name, value in params if name == "mbers"] == ["anna", "ben", "unknown"]


async def test_free_text_reaches_a_registered_device(service: httpx.AsyncClient, receiver: Receiver) -> None:
    await register(service, "d1", callback_url=receiver.url)
    form = {"deviceid": "d1", "type": "freeform", "msg": "Hello", "url": "https://example.com/"}
    assert (await service.post("/notification", data=form)).status_code == 202
    await receiver.until(1)
    assert receiver.requests[0].form["msg"] == "Hello"
    assert (await service.post("/notification", data=form | {"deviceid": "d2"})).status_code == 404
    assert (await service.post("/notification", data=form | {"msg": " "})).status_code == 422
    wrong = await service.post("/notification", data=form | {"url": "a" * 2_049})
    assert wrong.json()["fields"] == [{"field": "url", "detail": "must be a text of at most 2048 characters, or blank"}]


async def test_repeated_free_text_is_sent_once(
    service: httpx.AsyncClient, receiver: Receiver, database: Database
) -> None:
    await register(service, "d1", callback_url=receiver.url)
    text = {"deviceid": "d1", "msg": "Hello"}
    by_body, by_header = text | {"id": "a"}, {"idempotency-key": "b"}
    for _ in range(2):
        assert (await service.post("/notification", json=by_body)).json() == {"status": "ok", "id": "a"}
        assert (await service.post("/notification", data=text, headers=by_header)).json()["id"] == "b"
        await service.post("/notification", data=text)
    await receiver.until(3)
    assert await database["notifications"].count_documents({}) == 3
    for wrong in ("a b", {"$ne": 1}):
        response = await service.post("/notification", json=text | {"id": wrong})
        assert response.status_code == 422
        assert response.json()["fields"][0]["field"] == "id"


async def test_form_that_is_not_utf_8_is_refused(service: httpx.AsyncClient, database: Database) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    for body in (b"device_id=dev%FF", b"device_id=dev\xff"):
        assert (await service.post("/register", content=body, headers=form)).status_code == 400
    assert await database["mappings"].count_documents({}) == 0
