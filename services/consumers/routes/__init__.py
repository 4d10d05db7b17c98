"""The pages for operators: the handlers and their workers, and the dead list."""

from services.consumers.routes.pages import SITE, ActionPages, create_pages

__all__ = ["SITE", "ActionPages", "create_pages"]
