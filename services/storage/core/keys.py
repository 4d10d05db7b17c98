"""Normalised keywords: two keywords are equal if a reader would call them the same word."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

MAX_KEYS: Final = 32
MAX_KEY_CHARACTERS: Final = 64
MAX_KEYWORD_CHARACTERS: Final = 256
"""The longest keyword before normalisation."""
_MAX_WORDS: Final = 128  # the words of a text serve lists, not matching: a longer text is listed by its first words
_PIECE: Final = re.compile(r"\s*\S{1,256}")
"""A part of a text that is normalised alone. The time of a normalisation grows with the square of the number of marks
in a row: 1.2 s for a text of 10,000 marks."""
_MAX_PIECE: Final = 512
"""The longest piece after NFKC, which makes 18 characters of U+FDFA."""
_MAX_PASSES: Final = 4  # the result of a pass can be changed by the next one; two passes reach the end in practice


class InvalidKeywords(ValueError):
    """There are too many keywords, or one is too long."""


def normalise(keyword: str) -> str:
    """Return the keyword in NFKC, casefolded, without accents and surrounding spaces. Idempotent; may be empty."""
    if keyword.isascii():
        return keyword.casefold().strip()
    for _ in range(_MAX_PASSES):
        before = keyword
        folded = unicodedata.normalize("NFKC", keyword).casefold()
        bases = (each for each in unicodedata.normalize("NFKD", folded) if unicodedata.category(each) != "Mn")
        keyword = unicodedata.normalize("NFKC", "".join(bases)).strip()
        if keyword == before:
            break
    return keyword


def normalise_keywords(keywords: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct keys of the keywords, in their order, without empty ones.

    Raises InvalidKeywords for more than 32 keys, for a key of more than 64 characters, and for a keyword of more than
    256 characters.
    """
    keys = tuple(dict.fromkeys(key for keyword in keywords if (key := _key(keyword))))
    if len(keys) > MAX_KEYS:
        raise InvalidKeywords(f"there are {len(keys)} keywords; at most {MAX_KEYS} are allowed")
    return keys


def words_of(text: str) -> tuple[str, ...]:
    """Return the distinct normalised words of a text, in their order: at most 128, each cut to 64 characters."""
    words: dict[str, None] = {}
    for piece in _PIECE.findall(text):
        for word in re.findall(r"\w+", normalise(unicodedata.normalize("NFKC", piece)[:_MAX_PIECE])):
            words.setdefault(word[:MAX_KEY_CHARACTERS])
        if len(words) >= _MAX_WORDS:
            break
    return tuple(words)[:_MAX_WORDS]


def _key(keyword: str) -> str:
    if len(keyword) > MAX_KEYWORD_CHARACTERS:
        raise InvalidKeywords(f"a keyword has {len(keyword)} characters; at most {MAX_KEYWORD_CHARACTERS} are allowed")
    key = normalise(keyword)
    if len(key) > MAX_KEY_CHARACTERS:
        raise InvalidKeywords(
            f"the keyword {key[:16]}... has {len(key)} characters; at most {MAX_KEY_CHARACTERS} are allowed"
        )
    return key
