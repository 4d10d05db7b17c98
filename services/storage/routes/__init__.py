"""The public port: the API under the paths of the old system."""

from services.storage.routes.access import Access, Credentials
from services.storage.routes.api import create_api
from services.storage.routes.context import ApiContext, Stores

__all__ = ["Access", "ApiContext", "Credentials", "Stores", "create_api"]
