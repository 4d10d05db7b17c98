"""The pages of the importers, for operators."""

from services.offerserver.routes.pages import SITE, ImporterPages, create_pages

__all__ = ["SITE", "ImporterPages", "create_pages"]
