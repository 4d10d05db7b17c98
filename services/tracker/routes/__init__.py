"""The public port: receives HTTP requests and sends the responses. The internal port: searches for events."""

from services.tracker.routes.api import add_routes
from services.tracker.routes.collector import Collector, Limits
from services.tracker.routes.connections import ConnectionBounds
from services.tracker.routes.direct import DirectGets
from services.tracker.routes.find import find_route
from services.tracker.routes.protocol import CollectorProtocol

__all__ = ["Collector", "CollectorProtocol", "ConnectionBounds", "DirectGets", "Limits", "add_routes", "find_route"]
