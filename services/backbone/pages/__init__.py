"""What all pages share: the guard, the renderer with its templates, and the static files.

Services with pages import this package. Workers never do. It is the only package that imports jinja2.
"""

from services.backbone.pages.assets import Assets
from services.backbone.pages.guard import Guard, policy
from services.backbone.pages.logins import Login, Logins, Refusal
from services.backbone.pages.protection import login_of, protected
from services.backbone.pages.render import Renderer

__all__ = ["Assets", "Guard", "Login", "Logins", "Refusal", "Renderer", "login_of", "policy", "protected"]
