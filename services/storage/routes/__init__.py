"""The public port: the API under the paths of the old system."""

from services.storage.routes.access import Access
from services.storage.routes.api import create_api
from services.storage.routes.context import ApiContext, Stores

__all__ = ["Access", "ApiContext", "Stores", "create_api"]
