"""The pages for operators: devices, messages with their timelines, and the dead list."""

from services.notificationserver.routes.pages.dead import DeadPages
from services.notificationserver.routes.pages.devices import DevicePages
from services.notificationserver.routes.pages.messages import MessagePages
from services.notificationserver.routes.pages.site import SITE, PageContext, add_pages

__all__ = ["SITE", "DeadPages", "DevicePages", "MessagePages", "PageContext", "add_pages"]
