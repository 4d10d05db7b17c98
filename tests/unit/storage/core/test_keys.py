import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.storage.core.keys import InvalidKeywords, normalise, normalise_keywords, words_of


@pytest.mark.parametrize(
    ("keyword", "key"),
    [
        ("  Café ", "cafe"),
        ("CAFE\u0301", "cafe"),
        ("Straße", "strasse"),
        ("ﬁsh", "fish"),
        ("\uff26\uff55ll", "full"),
        ("#ALL", "#all"),
        ("İstanbul", "istanbul"),
        ("Ωμέγα", "ωμεγα"),
        (" \t", ""),
    ],
)
def test_keyword_is_normalised(keyword: str, key: str) -> None:
    assert normalise(keyword) == key


@given(st.text())
def test_normalise_is_idempotent(keyword: str) -> None:
    assert normalise(normalise(keyword)) == normalise(keyword)


@given(st.text(alphabet=st.characters(max_codepoint=0x24F)))
def test_normalise_ignores_case(keyword: str) -> None:
    assert normalise(keyword.casefold()) == normalise(keyword)


def test_keywords_are_distinct_and_not_empty() -> None:
    assert normalise_keywords(["", "B", "a", "á", "b "]) == ("b", "a")


def test_keywords_have_limits() -> None:
    assert len(normalise_keywords([f"k{n}" for n in range(32)] * 2)) == 32
    with pytest.raises(InvalidKeywords, match="33 keywords"):
        normalise_keywords([f"k{n}" for n in range(33)])
    assert normalise_keywords(["x" * 64]) == ("x" * 64,)
    with pytest.raises(InvalidKeywords, match="65 characters"):
        normalise_keywords(["x" * 65])
    assert normalise_keywords([" " * 255 + "x"]) == ("x",)
    with pytest.raises(InvalidKeywords, match="257 characters"):
        normalise_keywords([" " * 256 + "x"])


def test_words_are_distinct_normalised_and_bounded() -> None:
    assert words_of("Ein Café, ein Kino!") == ("ein", "cafe", "kino")
    assert len(words_of(" ".join(f"w{n}" for n in range(500)))) == 128
    assert words_of("x" * 100) == ("x" * 64,)
    # No word boundary is lost where a long piece is cut.
    assert words_of("x" * 256 + " y")[-1] == "y"


@pytest.mark.parametrize(
    "text", ["a" + "\u0301\u0316" * 5_000, "a" + "\u0301" * 5_000 + "\u0316" * 5_000, "\ufdfa" * 10_000]
)
def test_words_of_a_text_of_marks_or_ligatures_take_no_long_time(text: str) -> None:
    begun_s = time.process_time()
    words_of(text)
    assert time.process_time() - begun_s < 0.2  # the whole text at once: 0.4 to 1.2 s


def test_words_of_pieces_are_those_of_the_whole_text() -> None:
    text = "Caf\u00e9 CAFE\u0301  \uff26\uff55ll\u3000\u03b1\u0345 \ufb01sh-stra\u00dfe\u00a0\u1112\u1161\u11ab"
    assert words_of(text) == tuple(dict.fromkeys(re.findall(r"\w+", normalise(text))))
