"""The methods of a path, for the response 405."""

from fastapi import FastAPI, Request
from starlette.routing import Match, Route


def methods_of(app: FastAPI, request: Request) -> list[str]:
    """Return the methods of all routes of the path of a request. A route of its own knows only its own methods."""
    methods: set[str] = set()
    for route in app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return sorted(methods)
