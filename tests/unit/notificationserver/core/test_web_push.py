import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from services.notificationserver.core.web_push import (
    MOST_PAYLOAD_BYTES,
    InvalidSubscription,
    decode_key,
    encrypt,
    origin_of,
    topic_of,
    ttl_s,
)


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


# RFC 8291, Appendix A.
RECEIVER = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
SENDER = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
ENCRYPTED = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_y"
    "l95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)
KEY = ec.derive_private_key(int.from_bytes(decoded(SENDER), "big"), ec.SECP256R1())


def test_encryption_gives_the_vector_of_the_rfc() -> None:
    body = encrypt(
        b"When I grow up, I want to be a watermelon",
        receiver=decoded(RECEIVER),
        auth=decoded(AUTH),
        sender=KEY,
        salt=decoded(SALT),
    )
    assert body == decoded(ENCRYPTED)


def test_longest_payload_fits_into_what_every_push_service_accepts() -> None:
    body = encrypt(
        b"a" * MOST_PAYLOAD_BYTES, receiver=decoded(RECEIVER), auth=decoded(AUTH), sender=KEY, salt=decoded(SALT)
    )
    assert len(body) == 4096


def test_key_that_is_no_point_is_refused() -> None:
    with pytest.raises(InvalidSubscription, match="P-256"):
        encrypt(b"", receiver=b"\x04" + b"a" * 64, auth=decoded(AUTH), sender=KEY, salt=decoded(SALT))


@pytest.mark.parametrize("text", [AUTH, AUTH + "=="])
def test_key_is_read_with_and_without_padding(text: str) -> None:
    assert decode_key(text, length=16) == decoded(AUTH)


@pytest.mark.parametrize("text", ["", "a b", AUTH[:-2], "ä", "+/==="])
def test_key_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidSubscription):
        decode_key(text, length=16)


@given(st.text())
def test_topic_has_the_form_of_rfc_8030(subject: str) -> None:
    topic = topic_of(subject)
    assert len(topic) == 32
    assert set(topic) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_time_to_live_is_what_is_left_of_the_life() -> None:
    assert ttl_s(expires_ms=86_400_000, now_ms=0) == 86_400
    assert ttl_s(expires_ms=86_400_000, now_ms=86_000_000) == 400
    assert ttl_s(expires_ms=1, now_ms=5000) == 0
    assert ttl_s(expires_ms=10**14, now_ms=0) == 2_419_200


@pytest.mark.parametrize(
    ("endpoint", "origin"),
    [
        ("https://fcm.googleapis.com/fcm/send/abc", "https://fcm.googleapis.com"),
        ("https://push.example:8443/a?b", "https://push.example:8443"),
        ("http://[2001:db8::1]:80/x", "http://[2001:db8::1]:80"),
    ],
)
def test_origin_of_an_endpoint(endpoint: str, origin: str) -> None:
    assert origin_of(endpoint) == origin
