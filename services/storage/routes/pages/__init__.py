"""The pages for operators: lists, details, owners, and why a pair matches or not.

They have an application of their own behind the guard of all pages. They read by the same store methods as the API, and
change objects by the same `ObjectChanges`.
"""

from services.storage.routes.pages.site import SITE, PagesBesideApi, PageStores, create_pages

__all__ = ["SITE", "PageStores", "PagesBesideApi", "create_pages"]
