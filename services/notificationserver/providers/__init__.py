"""The channels that messages go through, behind one protocol.

- `log`: a line in the log
- `callback`: a signed form to a URL that a device has registered
- `web_push`: an encrypted message to the push service of a browser
- `one_signal`: a message to the provider of the phones' app

An attempt never raises for a failure of the receiver: its outcome has the reason. What it raises is an error of this
service.
"""

from services.notificationserver.providers.callback import CallbackChannel
from services.notificationserver.providers.creating import create_channels, enabled_channels
from services.notificationserver.providers.log import LogChannel
from services.notificationserver.providers.one_signal import OneSignalChannel
from services.notificationserver.providers.parcels import DeliveryChannel, Parcel
from services.notificationserver.providers.web_push import WebPushChannel

__all__ = [
    "CallbackChannel",
    "DeliveryChannel",
    "LogChannel",
    "OneSignalChannel",
    "Parcel",
    "WebPushChannel",
    "create_channels",
    "enabled_channels",
]
