"""The short way of a read: from the path to the picture, without the layers of FastAPI.

A read is a lookup and a file. The router, the validation and the exit stacks of FastAPI took as much time as both.
"""

from collections.abc import Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from services.imageserver.routes.errors import ErrorHandler
from services.imageserver.routes.pictures import PictureRoutes

PICTURES: Final = "/assets/images/"


def create_reads(pictures: PictureRoutes, handlers: Mapping[type[Exception], ErrorHandler]) -> ASGIApp:
    """Build the application of GET and HEAD below `PICTURES`, with the same responses to errors as the API."""
    expected = {kind: handler for kind, handler in handlers.items() if kind is not Exception}
    inner = ExceptionMiddleware(_Reads(pictures), handlers=expected)
    return ServerErrorMiddleware(inner, handler=handlers[Exception])


class _Reads:
    def __init__(self, pictures: PictureRoutes) -> None:
        self._pictures = pictures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key, _, size = scope["path"].removeprefix(PICTURES).partition("/")
        if scope["path"].endswith("/"):
            raise HTTPException(404)
        response = await self._pictures.read(key, Request(scope, receive), size or "original")
        await response(scope, receive, send)
