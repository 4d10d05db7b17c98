"""Parse what the finder searches for: an id, or a curl line, whose event gets an id or its type and parameters.

The type and the parameters follow the rules of the tracker (backbone/bodies.py, backbone/events.py).
"""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import quote_plus, urlsplit

from services.backbone.bodies import Malformed, Refused, join_queries, params_of_kind, query_of, read_json
from services.backbone.events import client_id, encode_params, type_of_path
from services.backbone.search import ID_RULE, MOST_TARGETS, Target
from services.kafidx.core.query import BadQuery
from services.kafidx.core.shell_words import split_words

MAX_CHARS: Final = 16_384
"""The longest query: its parsing takes under 20 ms, and percent-encoded it fits into a request line."""
_EXAMPLE: Final = "curl -H 'Idempotency-Key: order-17' http://127.0.0.1:5222/order?di=device-7"
_WITH_VALUE: Final = {
    *("-A", "-b", "-c", "-d", "-E", "-e", "-F", "-H", "-K", "-m", "-o", "-r", "-T", "-u", "-w", "-X", "-x", "-y", "-Y"),
    *("-z", "--cacert", "--cert", "--config", "--connect-timeout", "--connect-to", "--cookie", "--cookie-jar"),
    *("--data", "--data-ascii", "--data-binary", "--data-raw", "--data-urlencode", "--form", "--form-string"),
    *("--header", "--interface", "--json", "--key", "--max-time", "--output", "--proxy", "--range", "--referer"),
    *("--request", "--resolve", "--retry", "--retry-delay", "--upload-file", "--url", "--user", "--user-agent"),
    "--write-out",
}
"""The options of curl that take a value. Other options take none."""
_DATA: Final = ("-d", "--data", "--data-ascii", "--data-binary", "--data-raw", "--json", "--data-urlencode")
_ENDS: Final = frozenset({"|", "||", "&", "&&", ";", ">", ">>", "2>", "<"})
"""The words that end a command in a shell."""
_FORM: Final = "application/x-www-form-urlencoded"
_VERSION_7: Final = 7


class FindQuery(NamedTuple):
    """The targets of a search, and notes for the operator about their origin."""

    targets: tuple[Target, ...]
    notes: tuple[str, ...] = ()


@dataclass
class _Curl:
    """The request of a curl line."""

    url: str = ""
    method: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    data: list[str] = field(default_factory=list)
    form: list[tuple[bytes, bytes]] = field(default_factory=list)
    has_json: bool = False
    data_in_url: bool = False

    @property
    def body(self) -> str:
        return ("" if self.has_json else "&").join(self.data)

    @property
    def is_post(self) -> bool:
        return (self.method or ("POST" if self.data or self.form else "GET")) == "POST" and not self.data_in_url


def parse_find(text: str) -> FindQuery:
    """Parse an id or a curl line. Raises BadQuery with what is allowed and an example."""
    if len(text) > MAX_CHARS:
        raise _bad(f"{len(text):,} characters, at most {MAX_CHARS:,} are allowed. Search by the id of the event")
    text = text.strip()
    if not text:
        raise _bad(f"empty. Write the id of an event, or a curl line: {_EXAMPLE}")
    if re.match(r"curl\s", text):
        return _query_of_curl(_parse_curl(text))
    event_id = client_id(text)
    if event_id is None:
        raise _bad(f"not an id: {ID_RULE}. Or write a curl line: {_EXAMPLE}")
    return FindQuery((Target(id=event_id),))


def time_of_id(event_id: str) -> int | None:
    """Return the time of a UUIDv7 in ms since 1970, or None for another id. The tracker makes ids of this version."""
    try:
        parsed = uuid.UUID(event_id)
    except ValueError:
        return None
    return parsed.int >> 80 if parsed.version == _VERSION_7 else None


def _bad(reason: str) -> BadQuery:
    return BadQuery("q", None, reason)


def _parse_curl(text: str) -> _Curl:
    try:
        words = split_words(text)[1:]
    except ValueError as error:
        raise _bad(f"not a complete curl line ({error}). Close each quotation mark, as in {_EXAMPLE}") from None
    curl = _Curl()
    urls: list[str] = []
    for option, value in _options(words):
        if not option or option == "--url":
            urls.append(value)
        else:
            _apply(curl, option, value)
    with_scheme = [url for url in urls if "://" in url]
    if not urls:
        raise _bad(f"the curl line has no URL. Write it as in {_EXAMPLE}")
    curl.url = with_scheme[0] if with_scheme else f"http://{urls[0]}"
    return curl


def _options(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each option with its value, as curl reads them. A word that is not an option has the option ""."""
    rest = iter(words)
    for word in rest:
        if word in _ENDS:
            return
        if word.startswith("--"):
            yield word, next(rest, "") if word in _WITH_VALUE else ""
        elif word.startswith("-") and len(word) > 1:
            # Short options can share one word, and their value can follow without a space: -sSXPOST
            for at, letter in enumerate(word[1:], start=2):
                option = f"-{letter}"
                if option in _WITH_VALUE:
                    yield option, word[at:] or next(rest, "")
                    break
                yield option, ""
        else:
            yield "", word


def _apply(curl: _Curl, option: str, value: str) -> None:
    if option in ("-H", "--header"):
        name, _, content = value.partition(":")
        # The tracker reads the first of several headers of one name.
        curl.headers.setdefault(name.strip().lower(), content.strip())
    elif option in ("-X", "--request"):
        curl.method = value.upper()
    elif option in ("-I", "--head"):
        curl.method = "HEAD"
    elif option in ("-G", "--get"):
        curl.data_in_url = True
    elif option in ("-T", "--upload-file", "-K", "--config"):
        raise _bad(f"{option}: a curl line with a file cannot be searched. Search by the id of the event")
    elif option in _DATA:
        if value.startswith("@") and option != "--data-raw":
            raise _bad(f"{option} {value[:40]}: the body is in a file. Write its content, or search by the id")
        curl.has_json |= option == "--json"
        curl.data.append(_urlencoded(value) if option == "--data-urlencode" else value)
    elif option in ("-F", "--form", "--form-string"):
        name, _, content = value.partition("=")
        if option == "--form-string" or not content.startswith(("@", "<")):  # the tracker drops files
            curl.form.append((name.encode(), content.encode()))


def _urlencoded(value: str) -> str:
    name, equals, content = value.partition("=")
    return f"{name}{'=' if name else ''}{quote_plus(content)}" if equals else quote_plus(value)


def _query_of_curl(curl: _Curl) -> FindQuery:
    notes: list[str] = []
    targets = [Target(id=event_id) for event_id in _batch_ids(curl, notes)]
    key = curl.headers.get("idempotency-key")
    if key is not None and (event_id := client_id(key)) is not None:
        targets.append(Target(id=event_id))
    elif key is not None:
        notes.append(f"The Idempotency-Key is invalid ({ID_RULE}), so the tracker has made a new id.")
    if not targets:
        targets.append(_content_of(curl))
        notes.append("The request has no id, so the search is by type and parameters. Other events can have the same.")
        if "1" in (curl.headers.get("dnt"), curl.headers.get("sec-gpc")):
            notes.append("The visitor has opted out. If the tracker has removed parameters, this search finds nothing.")
    unique = tuple(dict.fromkeys(targets))
    if len(unique) > MOST_TARGETS:
        notes.append(f"Of {len(unique)} ids only the first {MOST_TARGETS} are searched for.")
    return FindQuery(unique[:MOST_TARGETS], tuple(notes))


def _content_of(curl: _Curl) -> Target:
    """Return the type and the parameters of the event of a request without an id."""
    try:
        parts = urlsplit(curl.url)
        path, query = parts.path.encode("ascii"), parts.query.encode("ascii")
    except UnicodeEncodeError:
        raise _bad("the URL has characters beyond ASCII, which the tracker refuses. Percent-encode them") from None
    except ValueError as error:
        raise _bad(f"the URL is invalid ({error}). Write it as in {_EXAMPLE}") from None
    if curl.data_in_url:
        query = join_queries(query, curl.body.encode())
    elif curl.is_post:
        query = join_queries(query, _body_params(curl))
    return Target(type=type_of_path(path), params=encode_params(query) if query else "")


def _body_params(curl: _Curl) -> bytes:
    if curl.headers.get("content-encoding", "identity").lower() != "identity":
        raise _bad("the body is compressed. Search by the id of the event")
    if curl.form:
        return query_of(curl.form)
    default = "application/json" if curl.has_json else _FORM
    kind = curl.headers.get("content-type", default if curl.data else "").partition(";")[0].strip().lower()
    try:
        return params_of_kind(kind.encode(), curl.body.encode())
    except Refused as error:
        raise _bad(f"the tracker refuses the body of this request: {error}") from None


def _batch_ids(curl: _Curl, notes: list[str]) -> list[str]:
    """Return the ids of the entries, if the body is a batch; empty for the body of one event."""
    entries = _batch_entries(curl.body) if curl.is_post else []
    given = [entry.get("id", entry.get("messageId")) for entry in entries]
    ids = [client_id(str(value)) for value in given if isinstance(value, str | int) and not isinstance(value, bool)]
    valid = [event_id for event_id in ids if event_id is not None]
    if entries and len(valid) < len(entries):
        missing = len(entries) - len(valid)
        if not valid:
            raise _bad(
                f"the body is a batch, and none of its {missing} entries has a valid id. The tracker's response has "
                "the id of each entry: search by that"
            )
        notes.append(
            f"{missing} of {len(entries)} entries have no valid id and are not searched for. The tracker's response "
            "has the id of each entry."
        )
    return valid


def _batch_entries(body: str) -> list[dict[str, Any]]:
    text = body.strip()
    if not text.startswith(("[", "{")):
        return []
    try:
        document = read_json(text.encode())
    except Malformed:
        try:
            document = [read_json(line.encode()) for line in text.splitlines() if line.strip()]
        except Malformed:
            return []
    if isinstance(document, dict):
        document = next((document[name] for name in ("events", "batch") if isinstance(document.get(name), list)), [])
    if not isinstance(document, list) or not all(isinstance(entry, dict) for entry in document):
        return []
    return document if any("type" in entry or "event" in entry for entry in document) else []
