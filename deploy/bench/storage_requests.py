"""The requests of bench.storage: four reads to one write, as the website, the importers and the phones send them."""

import base64
import json
import random
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlencode

from deploy.bench.scenes import SCENES, Scene

_SCENE: Final[Scene] = SCENES[0]
_SEED: Final = 14
_READS: Final = ("circle", "circle_with_keyword", "box", "box_with_keyword", "object", "object", "owner", "chat")
_WRITES: Final = ("text", "location", "create", "set_active")
_HALF_BOX: Final = 0.01
"""In degrees: a map of about 2 km."""


class StorageRequests:
    """Prepared requests to a storage that has `size` offers and as many searches of the scene of 200 cities."""

    def __init__(self, size: int, *, user: str, password: str) -> None:
        self._random = random.Random(_SEED)  # noqa: S311 - equal sizes make equal requests
        self._documents = list(_SCENE.searches(size))
        self._credentials = base64.b64encode(f"{user}:{password}".encode()).decode()

    def documents(self) -> Iterator[dict[str, Any]]:
        """Yield the documents of each of the two collections."""
        yield from self._documents

    def prepared(self, number: int) -> list[bytes]:
        """Return requests, four fifths of them reads."""
        requests = []
        for each in range(number):
            kind = self._random.choice(_READS if each % 5 else _WRITES)
            collection = self._random.choice(("offers", "searches"))
            document = self._random.choice(self._documents)
            requests.append(self._request(kind, collection, document))
        return requests

    def _request(self, kind: str, collection: str, document: dict[str, Any]) -> bytes:
        return self._write(kind, collection, document) if kind in _WRITES else self._read(kind, collection, document)

    def _read(self, kind: str, collection: str, document: dict[str, Any]) -> bytes:
        name, (lng, lat) = document["_id"], document["location"]["coordinates"]
        if kind == "object":
            return self._get(f"/{collection}/{name}", [])
        if kind == "chat":
            return self._get("/chat/byids", [("_id", f"{name}_{self._random.choice(self._documents)['_id']}")])
        query: list[tuple[str, Any]] = [("keywords[]", document["keywords"][0])] if kind.endswith("keyword") else []
        if kind == "owner":
            query += [("owner", document["owner"])]
        elif kind.startswith("circle"):
            query += [("center[latitude]", lat), ("center[longitude]", lng), ("radius", 1000), ("is_active", "true")]
        else:
            query += [("sw[latitude]", lat - _HALF_BOX), ("sw[longitude]", lng - _HALF_BOX)]
            query += [("ne[latitude]", lat + _HALF_BOX), ("ne[longitude]", lng + _HALF_BOX)]
            query += [("not_owner", document["owner"])]
        return self._get(f"/{collection}", query)

    def _write(self, kind: str, collection: str, document: dict[str, Any]) -> bytes:
        name, (lng, lat) = document["_id"], document["location"]["coordinates"]
        if kind == "text":
            return self._send("PUT", f"/{collection}/{name}", {"text": f"text {self._random.random()}"})
        if kind == "location":
            moved = {"type": "Point", "coordinates": [lng + self._random.uniform(-0.001, 0.001), lat]}
            return self._send("PUT", f"/{collection}/{name}", {"location": moved})
        if kind == "set_active":
            return self._send("POST", f"/{collection}/{name}/set_active/true", {})
        fields = ("owner", "keywords", "location", "radiusMeters")
        return self._send("POST", f"/{collection}", {"text": "new", **{each: document[each] for each in fields}})

    def _get(self, path: str, query: list[tuple[str, Any]]) -> bytes:
        return self._head("GET", f"{path}?{urlencode(query)}" if query else path) + b"\r\n"

    def _send(self, method: str, path: str, body: dict[str, Any]) -> bytes:
        content = json.dumps(body).encode()
        head = f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        return self._head(method, path) + head.encode() + content

    def _head(self, method: str, target: str) -> bytes:
        return f"{method} {target} HTTP/1.1\r\nHost: storage\r\nAuthorization: Basic {self._credentials}\r\n".encode()
