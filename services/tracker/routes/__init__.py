"""The public port: receives HTTP requests and sends the responses."""

from services.tracker.routes.api import add_routes
from services.tracker.routes.collector import Collector, Limits
from services.tracker.routes.connections import ConnectionBounds
from services.tracker.routes.direct import DirectGets
from services.tracker.routes.protocol import CollectorProtocol

__all__ = ["Collector", "CollectorProtocol", "ConnectionBounds", "DirectGets", "Limits", "add_routes"]
