import base64
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from services.notificationserver.core.signatures import (
    InvalidKey,
    format_key,
    is_from_chat_provider,
    parse_key,
    webhook_headers,
)

OLD, NEW, OTHER = (format_key(bytes([n]) * 32) for n in (1, 2, 3))
BODY = b"msg=Zwei+R%C3%A4der&title=x"


def test_receiver_verifies_each_attempt_with_the_old_and_with_the_new_key() -> None:
    now_s = int(time.time())
    for attempt in range(3):
        headers = webhook_headers("encounter.offer", BODY, (NEW, OLD), now_ms=1000 * (now_s + attempt) + 999)
        assert headers["webhook-id"] == "encounter~offer"
        assert headers["webhook-timestamp"] == str(now_s + attempt)
        for key in (OLD, NEW):
            Webhook(key).verify(BODY, headers, json_parse=False)
        with pytest.raises(WebhookVerificationError):
            Webhook(OTHER).verify(BODY, headers, json_parse=False)


def test_id_of_a_webhook_has_no_dot_and_differs_between_messages() -> None:
    messages = ("s.o.1.offer", "s.o.1", "so.1.offer", "s-o-1-offer", "s:o:1:offer", "s_o_1_offer")
    ids = [webhook_headers(each, BODY, (NEW,), now_ms=0)["webhook-id"] for each in messages]
    assert "." not in "".join(ids)
    assert len(set(ids)) == len(messages)


def test_changed_body_is_not_verified() -> None:
    headers = webhook_headers("a", BODY, (NEW,), now_ms=time.time_ns() // 1_000_000)
    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(BODY + b"x", headers, json_parse=False)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("secret", "whsec_"),
        ("whsec_???", "base64"),
        ("whsec_" + base64.b64encode(b"a" * 23).decode(), "24 to 64 bytes, has 23"),
        ("whsec_" + base64.b64encode(b"a" * 65).decode(), "24 to 64 bytes, has 65"),
    ],
)
def test_key_of_another_form_is_refused_without_showing_it(text: str, reason: str) -> None:
    with pytest.raises(InvalidKey, match=reason) as refused:
        parse_key(text)
    assert text.removeprefix("whsec_") not in str(refused.value)


def test_chat_webhook_is_accepted_only_with_the_signature_of_its_body() -> None:
    # printf '{"a":1}' | openssl dgst -sha256 -hmac token
    signature = "a3e4dc2a42af1c4fbcf2a4a6d64c2a1a9ad1d8ee7b9d0f6b"  # of another body
    assert not is_from_chat_provider(b'{"a":1}', signature, token="token")
    assert not is_from_chat_provider(b'{"a":1}', "", token="token")
    assert not is_from_chat_provider(b'{"a":1}', "ä", token="token")
    right = "faee837978e44be8915ecfe70bee314b433634f9e039c865773280f437bc4d61"
    assert is_from_chat_provider(b'{"a":1}', right, token="token")
    assert is_from_chat_provider(b'{"a":1}', right.upper(), token="token")
    assert not is_from_chat_provider(b'{"a":2}', right, token="token")
