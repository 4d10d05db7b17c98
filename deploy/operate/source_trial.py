"""What offers.check prints: the offers that a source would have, and what is wrong with it."""

from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Console
from rich.text import Text

from deploy.operate.dead_letters import readable_time
from services.offerserver.core.drafts import Draft, Parsed
from services.offerserver.core.exchanges import HttpExchange
from services.offerserver.core.importer import OfferSource
from services.offerserver.core.values import Rejection

_SHOWN: Final = 10
_EXCHANGED: Final = "probably exchanged"
"""A part of the reason of a rejection (`core.drafts`)."""


def print_exchange(console: Console, exchange: HttpExchange) -> None:
    """Print a request and its response."""
    console.print(Text(f"{exchange.status or 'no response'}  {exchange.received_bytes:,} bytes  {exchange.url}"))


def print_parsed(console: Console, parsed: Parsed, source: OfferSource) -> None:
    """Print ten drafts, the rejections, and the remarks."""
    items, rejected = len(parsed.drafts), len(parsed.rejections)
    console.print(f"{counted(items + rejected, 'row')}: {counted(items, 'item')}, {rejected:,} rejected")
    console.print(Text(f"{source.owner} ({source.licence}, {source.attribution}), at {source.schedule} in UTC"))
    for reason in parsed.partial:
        console.print(Text(f"partial: {reason}"))
    for draft in parsed.drafts[:_SHOWN]:
        _print_draft(console, draft, source)
    for row, alike in _grouped(parsed.rejections)[:_SHOWN]:
        more = f" (and {counted(alike - 1, 'row')} more)" if alike > 1 else ""
        console.print(Text(f"rejected {row.id}  {row.field} {row.value!r} {row.reason}{more}"))
    if rejected and not items and all(_EXCHANGED in row.reason for row in parsed.rejections):
        console.print("All rows are in the box with latitude and longitude exchanged: perhaps those of the box are.")
    for row in parsed.remarks[:_SHOWN]:
        if row.id:
            console.print(Text(f"remark {row.id}  {row.field} {row.value!r} {row.reason}"))
    for row in parsed.remarks:
        if not row.id:  # a path that no row has
            console.print(Text(f"{row.field}: {row.reason}"))


def counted(number: int, name: str) -> str:
    """Return a number with its noun, such as "1 item"."""
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def _print_draft(console: Console, draft: Draft, source: OfferSource) -> None:
    words = " ".join(dict.fromkeys((*source.keywords, *draft.keywords)))
    console.print(Text(f"{draft.id}  {draft.text}  {draft.latitude:.5f}, {draft.longitude:.5f}  {words}"))
    if draft.valid_from_ms is not None or draft.valid_until_ms is not None:
        times = (("from", draft.valid_from_ms), ("until", draft.valid_until_ms))
        valid = " ".join(f"{word} {readable_time(at_ms)}" for word, at_ms in times if at_ms is not None)
        console.print(Text(f"    valid {valid}"))
    for language, address in draft.place.items():
        console.print(
            Text(f"    address ({language}): {', '.join(f'{name} {value}' for name, value in address.items())}")
        )
    for name, value in draft.extdata.items():
        console.print(Text(f"    {name}: {value}"))
    for url in draft.image_urls:
        console.print(Text(f"    image: {url}"))


def _grouped(rows: Iterable[Rejection]) -> Sequence[tuple[Rejection, int]]:
    """Return the first of the rejections that have field, value and reason in common, and their number."""
    found: dict[tuple[str, str, str], tuple[Rejection, int]] = {}
    for row in rows:
        first, alike = found.get(row[1:], (row, 0))
        found[row[1:]] = (first, alike + 1)
    return list(found.values())
