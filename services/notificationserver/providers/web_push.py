"""WebPushChannel: sends an encrypted message to the push service of a browser."""

import os
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from py_vapid import Vapid02, VapidException

from services.backbone.outgoing import OutgoingClient
from services.notificationserver.core.outcomes import Outcome, web_push_outcome
from services.notificationserver.core.retries import parse_retry_after
from services.notificationserver.core.web_push import (
    AUTH_BYTES,
    POINT_BYTES,
    SALT_BYTES,
    InvalidSubscription,
    decode_key,
    encrypt,
    origin_of,
    payload_of,
    ttl_s,
)
from services.notificationserver.providers.parcels import Parcel, post

_VALID_S: Final = 12 * 3_600
"""How long a header is valid; RFC 8292 allows 24 hours."""
_MOST_ORIGINS: Final = 1_000


class _CachedHeader(NamedTuple):
    value: str
    until_ms: int


class WebPushChannel:
    """Sends push messages. The VAPID header of a push service is made once for half of its validity."""

    def __init__(self, client: OutgoingClient, *, private_key: str, subject: str) -> None:
        """`private_key` is base64url. `subject` is a link to the operator. Raises ValueError if one is wrong."""
        self._client = client
        self._vapid = Vapid02.from_raw(private_key.encode())
        self._subject = subject
        self._headers: dict[str, _CachedHeader] = {}
        try:
            self._signed("https://push.example.com", 0)
        except VapidException:
            raise ValueError(
                f"VAPID_SUBJECT: {subject!r} is not a link to a mail address with a full domain, such as "
                "mailto:operator@example.com, or to a site without a path"
            ) from None

    async def send(self, parcel: Parcel) -> Outcome:
        subscription = None
        if parcel.mapping is not None:
            subscription = parcel.mapping.subscription(parcel.delivery.channel.partition(".")[2])
        if subscription is None:
            return Outcome("dead", "the subscription was removed")
        message = parcel.message
        try:
            body = encrypt(
                payload_of(
                    message_id=message.id, title=message.title, body=message.body, url=message.url, data=message.data
                ),
                receiver=decode_key(subscription.p256dh, length=POINT_BYTES),
                auth=decode_key(subscription.auth, length=AUTH_BYTES),
                sender=ec.generate_private_key(ec.SECP256R1()),
                salt=os.urandom(SALT_BYTES),
            )
            authorization = self._authorization(origin_of(subscription.endpoint), parcel.now_ms)
        except InvalidSubscription as error:
            return Outcome("retire", str(error))
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "aes128gcm",
            "TTL": str(ttl_s(expires_ms=parcel.delivery.expires_ms, now_ms=parcel.now_ms)),
            "Topic": message.topic,
            "Urgency": "normal",
            "Authorization": authorization,
        }
        response = await post(self._client, subscription.endpoint, body, headers)
        if isinstance(response, Outcome):
            return response
        retry_after_s = parse_retry_after(response.headers.get("Retry-After"), now_ms=parcel.now_ms)
        return web_push_outcome(response.status, retry_after_s)

    def _authorization(self, origin: str, now_ms: int) -> str:
        cached = self._headers.get(origin)
        if cached is None or cached.until_ms <= now_ms:
            try:
                cached = _CachedHeader(self._signed(origin, now_ms), now_ms + _VALID_S * 500)
            except VapidException:
                raise InvalidSubscription("the endpoint has no host name or IPv4 address") from None
            if len(self._headers) >= _MOST_ORIGINS:  # others choose the endpoints
                self._headers.clear()
            self._headers[origin] = cached
        return cached.value

    def _signed(self, origin: str, now_ms: int) -> str:
        claims = {"aud": origin, "sub": self._subject, "exp": now_ms // 1000 + _VALID_S}
        header: str = self._vapid.sign(claims)["Authorization"]
        return header
