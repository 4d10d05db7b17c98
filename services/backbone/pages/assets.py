"""Static files under names with the hash of their content.

A browser keeps such a file for a year and never asks for it again, because another content has another name. A name
without a hash, or with the hash of an earlier release, redirects to the present one. All files are read, bundled and
compressed once, when a process starts.
"""

import gzip
import hashlib
import mimetypes
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

from services.backbone.pages.bundle import bundle, bundle_style

PREFIX: Final = "/static/"
_SHARED: Final = Path(__file__).parent / "static"
_VENDOR: Final = "push/vendor/"
"""Files of other projects. They are served byte for byte."""
_HASH_CHARACTERS: Final = 12
_HASHED: Final = re.compile(rf"\.[0-9a-f]{{{_HASH_CHARACTERS}}}(?=(?:\.[^./]+)?$)")
_COMPRESSED: Final = frozenset({".css", ".js", ".svg", ".txt", ".json"})
_ONE_YEAR: Final = "public, max-age=31536000, immutable"


class _Asset(NamedTuple):
    path: str
    media_type: str
    content: bytes
    compressed: bytes | None
    """The content by gzip, or None when that is not smaller."""
    etag: str


class Assets:
    """The static files of one service, and the shared ones below `push/`. An ASGI application."""

    def __init__(self, directory: Path, *, url: str = "") -> None:
        """Read all files below `directory`. `url` is the origin of a host in front of this one, or empty.

        Raises InvalidModule for a script or a style sheet that cannot be bundled.
        """
        self._origin = url.rstrip("/")
        files = _files(_SHARED, "push/") | _files(directory, "")

        def read(name: str) -> str:
            return files[name].read_text(encoding="utf-8")

        self._by_name = {name: _asset(name, _content(name, file, read)) for name, file in files.items()}
        self._by_path = {asset.path: asset for asset in self._by_name.values()}

    def __contains__(self, path: object) -> bool:
        """Return whether a path is that of a file with a hash, of this or an earlier release.

        Everybody may read these files: they are the same for everybody and not secret.
        """
        return isinstance(path, str) and _HASHED.search(path) is not None and _name_of(path) in self._by_name

    def url(self, name: str) -> str:
        """Return the URL of a file, such as `push/push.css`. Raises KeyError for an unknown name."""
        return self._origin + self._by_name[name].path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
            return
        await self._response(scope)(scope, receive, send)

    def _response(self, scope: Scope) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("Only GET and HEAD are allowed here.\n", 405, {"Allow": "GET, HEAD"})
        path = scope["path"]
        asset = self._by_path.get(path)
        if asset is None:
            present = self._by_name.get(_name_of(path))
            if present is None:
                return PlainTextResponse("There is no such file.\n", 404)
            return RedirectResponse(present.path, 307, {"Cache-Control": "no-cache"})
        headers = {
            "Cache-Control": _ONE_YEAR,
            "ETag": asset.etag,
            "Vary": "Accept-Encoding",
            # Module scripts of another host (ASSETS_URL) are fetched with CORS.
            "Access-Control-Allow-Origin": "*",
        }
        request = Headers(scope=scope)
        if asset.etag in request.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if asset.compressed is not None and accepts_gzip(request.get("accept-encoding", "")):
            return Response(asset.compressed, 200, headers | {"Content-Encoding": "gzip"}, asset.media_type)
        return Response(asset.content, 200, headers, asset.media_type)


def _name_of(path: str) -> str:
    """Return the name of the file that a path names, with the hash of any release or without one."""
    return _HASHED.sub("", path[len(PREFIX) :]) if path.startswith(PREFIX) else ""


def _files(directory: Path, prefix: str) -> dict[str, Path]:
    return {
        prefix + file.relative_to(directory).as_posix(): file
        for file in sorted(directory.rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    }


def _content(name: str, file: Path, read: Callable[[str], str]) -> bytes:
    """Return what is served: a bundle for a module and for a style sheet, and other files as they are."""
    if not name.startswith(_VENDOR):
        if name.endswith(".js"):
            return bundle(name, read).encode()
        if name.endswith(".css"):
            return bundle_style(name, read).encode()
    return file.read_bytes()


def _asset(name: str, content: bytes) -> _Asset:
    digest = hashlib.sha256(content).hexdigest()[:_HASH_CHARACTERS]
    stem, suffix = posixpath.splitext(name)
    # mtime=0: every replica serves the same bytes.
    compressed = gzip.compress(content, 9, mtime=0) if suffix in _COMPRESSED else None
    return _Asset(
        path=f"{PREFIX}{stem}.{digest}{suffix}",
        media_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
        content=content,
        compressed=compressed if compressed is not None and len(compressed) < len(content) else None,
        etag=f'"{digest}"',
    )


def accepts_gzip(accepted: str) -> bool:
    """Return whether an Accept-Encoding header allows gzip (RFC 9110, section 12.5.3)."""
    for item in accepted.split(","):
        coding, _, parameter = item.partition(";")
        if coding.strip().lower() in ("gzip", "*"):
            return re.fullmatch(r"q=0(\.0*)?", parameter.replace(" ", "")) is None
    return False
