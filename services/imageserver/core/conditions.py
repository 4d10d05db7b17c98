"""Conditional and partial requests (RFC 9110, sections 13 and 14)."""

import re
from typing import NamedTuple

_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class ByteRange(NamedTuple):
    """A part of a body: from `start` up to and without `end`."""

    start: int
    end: int


class UnsatisfiableRange(Exception):
    """The range begins after the end of the body."""


def is_not_modified(if_none_match: str | None, etag: str) -> bool:
    """Return whether If-None-Match has the entity tag, or is `*`. The comparison is weak, as the RFC requires."""
    if if_none_match is None:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return "*" in tags or etag in tags


def parse_range(header: str | None, if_range: str | None, *, etag: str, size: int) -> ByteRange | None:
    """Return the range of a request, or None if the whole body is the response.

    That is so for an absent, malformed or multiple range, and if If-Range has another entity tag or a date. Raises
    UnsatisfiableRange.
    """
    if header is None or (if_range is not None and if_range.strip() != etag):
        return None
    found = _ONE_RANGE.fullmatch(header.strip())
    if found is None or found[1] == found[2] == "":
        return None
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
    if start >= size or start >= end:
        raise UnsatisfiableRange
    return ByteRange(start, end)
