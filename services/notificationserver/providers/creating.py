"""Create the channels that the settings switch on."""

from services.backbone.outgoing import OutgoingClient
from services.notificationserver.core.mappings import EnabledChannels, host_of
from services.notificationserver.providers.callback import CallbackChannel
from services.notificationserver.providers.log import LogChannel
from services.notificationserver.providers.one_signal import OneSignalChannel
from services.notificationserver.providers.parcels import DeliveryChannel
from services.notificationserver.providers.web_push import WebPushChannel
from services.notificationserver.settings import Settings


def enabled_channels(settings: Settings) -> EnabledChannels:
    """Return the channels that the settings switch on."""
    return EnabledChannels(
        log=settings.log_messages,
        webpush=bool(settings.vapid_subject),
        onesignal_host=host_of(settings.onesignal_url) if settings.onesignal_app_id else "",
    )


def create_channels(settings: Settings, client: OutgoingClient) -> dict[str, DeliveryChannel]:
    """Return the channels, by the first part of their name. Raises ValueError for a wrong VAPID key or subject."""
    channels: dict[str, DeliveryChannel] = {"callback": CallbackChannel(client), "log": LogChannel()}
    if settings.vapid_subject and settings.vapid_key is not None:
        key = settings.vapid_key.get_secret_value()
        channels["webpush"] = WebPushChannel(client, private_key=key, subject=settings.vapid_subject)
    if settings.onesignal_app_id:
        key = settings.onesignal_key.get_secret_value()
        channels["onesignal"] = OneSignalChannel(
            client, url=settings.onesignal_url, app_id=settings.onesignal_app_id, key=key
        )
    return channels
