"""The HTTP client for addresses that others choose: callbacks, Web Push endpoints, feeds.

Decision: the address is checked where the socket is made, not where the URL is parsed or the name is resolved.

- Names, literals, retries and new connections all pass this place. A resolver of our own never sees a literal, and a
  name can resolve to another address between a check and the connection (DNS rebinding).
- The Host header and the name of the TLS handshake stay those of the URL.
- Rejected: a proxy that filters egress. It is one more process, and each environment would configure it differently.
- Rejected: httpx. It has no such place, and 1,000 posts to a receiver that takes 50 ms took it 8-10 s, aiohttp 0.6 s.
"""

from services.backbone.outgoing.addresses import refusal_of
from services.backbone.outgoing.client import (
    OutgoingClient,
    OutgoingDownload,
    OutgoingFailed,
    OutgoingRefused,
    OutgoingResponse,
)
from services.backbone.outgoing.decoding import BodyRefused, DownloadLimits

__all__ = [
    "BodyRefused",
    "DownloadLimits",
    "OutgoingClient",
    "OutgoingDownload",
    "OutgoingFailed",
    "OutgoingRefused",
    "OutgoingResponse",
    "refusal_of",
]
