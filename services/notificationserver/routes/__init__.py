"""The public port: the API and the pages under the paths of the old system."""

from services.notificationserver.routes.api import create_public_app
from services.notificationserver.routes.context import NotifyContext

__all__ = ["NotifyContext", "create_public_app"]
