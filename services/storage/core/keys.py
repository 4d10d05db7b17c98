"""Normalised keywords: two keywords are equal if a reader would call them the same word."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

MAX_KEYS: Final = 32
MAX_KEY_CHARACTERS: Final = 64
_MAX_WORDS: Final = 128  # the words of a text serve lists, not matching: a longer text is listed by its first words
_MAX_PASSES: Final = 4  # the result of a pass can be changed by the next one; two passes reach the end in practice


class InvalidKeywords(ValueError):
    """There are too many keywords, or one is too long."""


def normalise(keyword: str) -> str:
    """Return the keyword in NFKC, casefolded, without accents and surrounding spaces. Idempotent; may be empty."""
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

    Raises InvalidKeywords for more than 32 keys, and for a key of more than 64 characters.
    """
    keys = tuple(dict.fromkeys(key for keyword in keywords if (key := normalise(keyword))))
    if len(keys) > MAX_KEYS:
        raise InvalidKeywords(f"there are {len(keys)} keywords; at most {MAX_KEYS} are allowed")
    for key in keys:
        if len(key) > MAX_KEY_CHARACTERS:
            raise InvalidKeywords(
                f"the keyword {key[:16]}... has {len(key)} characters; at most {MAX_KEY_CHARACTERS} are allowed"
            )
    return keys


def words_of(text: str) -> tuple[str, ...]:
    """Return the distinct normalised words of a text, in their order: at most 128, each cut to 64 characters."""
    words = dict.fromkeys(word[:MAX_KEY_CHARACTERS] for word in re.findall(r"\w+", normalise(text)))
    return tuple(words)[:_MAX_WORDS]
