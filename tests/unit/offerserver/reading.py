"""Feeds of the tests. All of them were written for the tests: none is a copy of a provider's data."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.offerserver.core.documents import document_text
from services.offerserver.core.drafts import Parsed, checked
from services.offerserver.core.importer import DocumentKind, FeedDocument, ImportArea, Importer
from services.offerserver.importers.configured import read_source
from tests.unit.offerserver.importing import NOW_MS

FEEDS = Path(__file__).parent / "importers" / "feeds"
AREA = ImportArea(52.5, 13.4, 20)


def feed(name: str) -> str:
    return (FEEDS / name).read_text(encoding="utf-8")


def document(text: str, *, kind: DocumentKind = "json", **changes: Any) -> FeedDocument:
    decoded = document_text(text.encode(), content_type="", kind=kind)
    return FeedDocument(url="https://feed.example/", text=decoded, **changes)


def as_json(value: object) -> FeedDocument:
    return document(json.dumps(value))


def parse(importer: Importer, *documents: FeedDocument, now_ms: int = NOW_MS) -> Parsed:
    """Return what the framework gets: parsed and checked."""
    found = importer.parse(documents, now_ms)
    return checked(found, box=importer.source.box, base_keywords=len(importer.source.keywords))


def configured(name: str, /, **changes: object) -> Importer:
    """Return the importer of a YAML file of the tests, with other values for some names."""
    lines = [f"{key}: {json.dumps(value)}" for key, value in changes.items()]
    kept = [line for line in feed(name).splitlines() if line.partition(":")[0] not in changes]
    return read_source("\n".join([*kept, *lines]))


def rejected(found: Parsed) -> list[tuple[str, str, str]]:
    return [(each.id, each.field, each.reason) for each in found.rejections]


def first_url(importer: Importer) -> str:
    return importer.requests(AREA)[0].url


def extdata(found: Parsed) -> list[Mapping[str, Any]]:
    return [draft.extdata for draft in found.drafts]
