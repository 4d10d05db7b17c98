"""The public port: the API and the pages under the paths of the old system."""

from services.notificationserver.routes.api import create_public_app
from services.notificationserver.routes.context import NotifyContext
from services.notificationserver.routes.pages import SITE, PageContext

__all__ = ["SITE", "NotifyContext", "PageContext", "create_public_app"]
