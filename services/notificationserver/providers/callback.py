"""CallbackChannel: posts a form to the URL of a device, signed by Standard Webhooks."""

from services.backbone.outgoing import OutgoingClient
from services.notificationserver.core.callbacks import CONTENT_TYPE, callback_body
from services.notificationserver.core.outcomes import Outcome, callback_outcome
from services.notificationserver.core.retries import parse_retry_after
from services.notificationserver.core.signatures import webhook_headers
from services.notificationserver.providers.parcels import Parcel, post


class CallbackChannel:
    """Sends callbacks. The signed bytes are the sent bytes."""

    def __init__(self, client: OutgoingClient) -> None:
        self._client = client

    async def send(self, parcel: Parcel) -> Outcome:
        mapping = parcel.mapping
        if mapping is None or not mapping.callback_url:
            return Outcome("dead", "the callback was removed")
        if mapping.callback_state:
            return Outcome("dead", f"the callback is {mapping.callback_state}")
        body = callback_body(parcel.message)
        keys = mapping.signing_keys(parcel.now_ms)
        headers = webhook_headers(parcel.message.id, body, keys, now_ms=parcel.now_ms)
        response = await post(self._client, mapping.callback_url, body, {"Content-Type": CONTENT_TYPE, **headers})
        if isinstance(response, Outcome):
            return response
        retry_after_s = parse_retry_after(response.headers.get("Retry-After"), now_ms=parcel.now_ms)
        return callback_outcome(response.status, retry_after_s)
