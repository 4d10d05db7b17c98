"""Signatures: of our callbacks (Standard Webhooks 1.0.0), and of the webhooks of the chat provider."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

KEY_PREFIX: Final = "whsec_"
LEAST_KEY_BYTES: Final = 24
MOST_KEY_BYTES: Final = 64
PREVIOUS_KEY_MS: Final = 24 * 3_600_000
"""How long a replaced key signs beside the new one, so that the receiver can change over."""


class InvalidKey(ValueError):
    """A text is not a key of a callback. The message is the reason, without the key."""


def parse_key(text: str) -> bytes:
    """Return the bytes of a key: `whsec_` and the base64 of 24 to 64 bytes. Raises InvalidKey."""
    if not text.startswith(KEY_PREFIX):
        raise InvalidKey(f"must begin with {KEY_PREFIX}")
    try:
        key = base64.b64decode(text.removeprefix(KEY_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidKey(f"must have base64 after {KEY_PREFIX}") from None
    if not LEAST_KEY_BYTES <= len(key) <= MOST_KEY_BYTES:
        raise InvalidKey(f"must have {LEAST_KEY_BYTES} to {MOST_KEY_BYTES} bytes, has {len(key)}")
    return key


def format_key(key: bytes) -> str:
    """Return the text of a key."""
    return KEY_PREFIX + base64.b64encode(key).decode()


def webhook_headers(message_id: str, body: bytes, keys: Sequence[str], *, now_ms: int) -> dict[str, str]:
    """Return the headers of Standard Webhooks for one attempt: one signature for each key.

    The id is that of the message in all attempts, with ~ for each dot: a dot separates the parts of the signed content,
    and no id of a message has a ~. The timestamp is that of the attempt, because receivers reject old ones.
    """
    webhook_id = message_id.replace(".", "~")
    timestamp = str(now_ms // 1000)
    content = b".".join((webhook_id.encode(), timestamp.encode(), body))
    signatures = [
        "v1," + base64.b64encode(hmac.digest(parse_key(key), content, hashlib.sha256)).decode() for key in keys
    ]
    return {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": " ".join(signatures)}


def is_from_chat_provider(body: bytes, signature: str, *, token: str) -> bool:
    """Return whether a webhook has the signature of the chat provider: HMAC-SHA256 of the body under the API token."""
    expected = hmac.digest(token.encode(), body, hashlib.sha256).hex()
    return hmac.compare_digest(expected.encode(), signature.strip().lower().encode())
