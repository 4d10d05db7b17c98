"""The public port: pages, their data and the websocket, all of them behind one guard."""

from services.kafidx.routes.find import add_find
from services.kafidx.routes.pages import Pages, add_pages
from services.kafidx.routes.socket import LiveSocket
from services.kafidx.routes.upgrades import UpgradeProtocol

__all__ = ["LiveSocket", "Pages", "UpgradeProtocol", "add_find", "add_pages"]
