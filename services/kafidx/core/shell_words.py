"""Split a command line into words as bash does, with the `$'...'` strings that browsers write for "Copy as cURL"."""

import re
import shlex
from typing import Final

# A quoted string, an escaped character, or the start of a `$'...'` string, whichever comes first.
_PART: Final = re.compile(r"""'[^']*'|"(?:[^"\\]|\\.)*"|\\.|\$'(?P<ansi>(?:[^'\\]|\\.)*)'""", re.DOTALL)
_ESCAPE: Final = re.compile(
    r"\\(?:u(?P<u>[0-9A-Fa-f]{1,4})|U(?P<U>[0-9A-Fa-f]{1,8})|x(?P<x>[0-9A-Fa-f]{1,2})|(?P<o>[0-7]{1,3})|(?P<c>.))",
    re.DOTALL,
)
_CHARACTERS: Final = {
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "E": "\x1b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
}
_HIGHEST: Final = 0x10FFFF


def split_words(text: str) -> list[str]:
    """Return the words of a command line. Lines that end with a backslash continue. Raises ValueError."""
    joined = re.sub(r"\\\r?\n", " ", text)
    return shlex.split(_PART.sub(lambda part: part[0] if part["ansi"] is None else _quoted(part["ansi"]), joined))


def _quoted(ansi: str) -> str:
    """Return the content of a `$'...'` string in quotes that shlex reads (bash manual, ANSI-C Quoting)."""
    return shlex.quote(_ESCAPE.sub(_unescape, ansi))


def _unescape(found: re.Match[str]) -> str:
    if found["c"] is not None:
        return _CHARACTERS.get(found["c"], found["c"] if found["c"] in "\\'\"?" else found[0])
    if found["o"] is not None:
        return chr(int(found["o"], 8) & 0xFF)
    code = int(found["u"] or found["U"] or found["x"], 16)
    return chr(code) if code <= _HIGHEST else "\ufffd"
