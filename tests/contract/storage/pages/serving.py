"""What the tests of the pages share: HTML as text, and forms."""

import html
import re
from typing import Any

import httpx


def text_of(page: str) -> str:
    """Return the visible text of a page, with single spaces."""
    body = re.sub(r"(?s)<(script|style|svg|head)\b.*?</\1>", " ", page)
    text = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body))).strip()
    return re.sub(r" ([,.])(?=\s|$)", r"\1", text)  # a browser shows no space between a word and its comma


def rows_of(page: str) -> list[str]:
    """Return the ids of the rows of a list, in their order."""
    return re.findall(r'<a class="object-link" href="/store/details/([0-9a-f]{24})"', page)


def total_of(page: str) -> int:
    """Return the number of objects that a list page reports."""
    found = re.search(r"of ([0-9,]+) (?:offer|search)", text_of(page))
    return int(found[1].replace(",", "")) if found else 0


def inputs_of(page: str, action: str) -> dict[str, str]:
    """Return the fields of the form with this action, as a browser sends them."""
    found = re.search(rf'(?s)<form([^>]*)action="{re.escape(action)}"[^>]*>(.*?)</form>', page)
    assert found, f"no form {action}"
    identity = re.search(r'id="([^"]*)"', found[1])
    outside = re.findall(rf'<input[^>]* form="{identity[1]}"[^>]*>', page) if identity else []
    fields: dict[str, str] = {}
    for tag in [*re.findall(r"<input[^>]*>", found[2]), *outside]:
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if attributes.get("type") == "checkbox" and " checked" not in tag:
            continue
        fields[html.unescape(attributes["name"])] = html.unescape(attributes.get("value", ""))
    for name, value in re.findall(r'(?s)<textarea[^>]*name="([^"]*)"[^>]*>\n?(.*?)</textarea>', found[2]):
        fields[name] = html.unescape(value)
    return fields


async def create(client: httpx.AsyncClient, kind: str, document: dict[str, Any]) -> str:
    """Create an object by the API and return its id."""
    response = await client.post(f"/{kind}", json=document)
    assert response.is_success, response.text
    created: str = response.json()["_id"]
    return created
