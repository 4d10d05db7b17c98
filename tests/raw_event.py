"""An event of one device, as the tracker stores it. Tests replace single fields of it."""

from typing import Final

from services.backbone.events import RawEvent

RAW: Final = RawEvent(
    id="e1",
    received_at_ms=1_764_000_000_000,
    address="",
    host=b"",
    pod="",
    path=b"/view",
    query=b"di=device-7",
    user_agent=b"",
    referrer=b"",
)
