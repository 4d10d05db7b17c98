"""Web Push: encryption of a message (RFC 8291), its topic and its time to live (RFC 8030).

Decision: the encryption is written here, on the package cryptography, and tested with the vector of RFC 8291.

- Rejected: pywebpush and its http_ece. http_ece has no wheel, and the images install only wheels; pywebpush brings a
  second and a third HTTP client.
"""

import base64
import hashlib
import struct
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

AUTH_BYTES: Final = 16
POINT_BYTES: Final = 65
SALT_BYTES: Final = 16
MOST_PAYLOAD_BYTES: Final = 3_993
"""With the header, the tag and the padding delimiter 4,096 bytes: what every push service accepts."""
_RECORD_BYTES: Final = 4_096
_TOPIC_CHARACTERS: Final = 32
_MOST_PADDING: Final = 2
_LAST_RECORD: Final = b"\x02"
_MOST_TTL_S: Final = 2_419_200
"""Four weeks: push services reject or shorten more."""


class InvalidSubscription(ValueError):
    """A subscription has keys that cannot be used."""


def encrypt(payload: bytes, *, receiver: bytes, auth: bytes, sender: ec.EllipticCurvePrivateKey, salt: bytes) -> bytes:
    """Return the body of a push message in the content encoding aes128gcm.

    `receiver` and `auth` are the keys p256dh and auth of the subscription. `sender` and `salt` must be new for each
    message. Raises InvalidSubscription.
    """
    try:
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), receiver)
    except ValueError:
        raise InvalidSubscription("p256dh is not a point of the curve P-256") from None
    own = sender.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    secret = sender.exchange(ec.ECDH(), point)
    material = _derive(secret, auth, b"WebPush: info\0" + receiver + own, 32)
    key = _derive(material, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derive(material, salt, b"Content-Encoding: nonce\0", 12)
    header = salt + struct.pack("!IB", _RECORD_BYTES, len(own)) + own
    return header + AESGCM(key).encrypt(nonce, payload + _LAST_RECORD, None)


def _derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(secret)


def decode_key(text: str, *, length: int) -> bytes:
    """Return the bytes of a key of a subscription: base64url, with or without padding. Raises InvalidSubscription."""
    digits = text.rstrip("=")
    if len(text) - len(digits) > _MOST_PADDING:
        raise InvalidSubscription("a key is not base64url")
    try:
        key = base64.b64decode(digits + "=" * (-len(digits) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise InvalidSubscription("a key is not base64url") from None
    if len(key) != length:
        raise InvalidSubscription(f"a key has {len(key)} bytes instead of {length}")
    return key


def check_point(receiver: bytes) -> None:
    """Raise InvalidSubscription unless the bytes are a point of the curve."""
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), receiver)
    except ValueError:
        raise InvalidSubscription("p256dh is not a point of the curve P-256") from None


def payload_of(*, message_id: str, title: str, body: str, url: str, data: Mapping[str, str]) -> bytes:
    """Return the JSON that the service worker of a page gets: as much of a message as push services accept.

    A longer one loses its data, then parts of its body, then its URL.
    """
    content: dict[str, Any] = {"id": message_id, "title": title, "body": body, "url": url, "data": dict(data)}
    steps: tuple[dict[str, Any], ...] = (
        {},
        {"data": {}},
        *({"body": body[:most]} for most in (1_000, 300)),
        {"url": ""},
    )
    for step in steps:
        content |= step
        payload = msgspec.json.encode(content)
        if len(payload) <= MOST_PAYLOAD_BYTES:
            break
    return payload


def topic_of(subject: str) -> str:
    """Return the topic of a subject: a later message of the topic replaces one that still waits at the push service."""
    return base64.urlsafe_b64encode(hashlib.sha256(subject.encode()).digest()).decode()[:_TOPIC_CHARACTERS]


def ttl_s(*, expires_ms: int, now_ms: int) -> int:
    """Return how long the push service may keep a message: what is left of its life."""
    return max(0, min(_MOST_TTL_S, (expires_ms - now_ms) // 1000))


def origin_of(endpoint: str) -> str:
    """Return the origin of an endpoint, which the VAPID header of a request is made for (RFC 8292)."""
    parts = urlsplit(endpoint)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
