"""OneSignalChannel: sends a message to the provider of the phones' app."""

from services.backbone.outgoing import OutgoingClient
from services.notificationserver.core.one_signal import one_signal_body
from services.notificationserver.core.outcomes import Outcome, one_signal_outcome
from services.notificationserver.core.retries import parse_retry_after
from services.notificationserver.providers.parcels import Parcel, post


class OneSignalChannel:
    """Sends messages to OneSignal."""

    def __init__(self, client: OutgoingClient, *, url: str, app_id: str, key: str) -> None:
        self._client = client
        self._url = url
        self._app_id = app_id
        self._headers = {"Content-Type": "application/json; charset=utf-8", "Authorization": f"Key {key}"}

    async def send(self, parcel: Parcel) -> Outcome:
        if parcel.mapping is None or not parcel.mapping.onesignal_id:
            return Outcome("dead", "the device was removed")
        body = one_signal_body(
            parcel.message,
            app_id=self._app_id,
            player_id=parcel.mapping.onesignal_id,
            delivery=parcel.delivery,
            now_ms=parcel.now_ms,
        )
        response = await post(self._client, self._url, body, self._headers)
        if isinstance(response, Outcome):
            return response
        retry_after_s = parse_retry_after(response.headers.get("Retry-After"), now_ms=parcel.now_ms)
        return one_signal_outcome(response.status, response.body, retry_after_s)
