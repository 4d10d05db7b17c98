"""The contrast of every pair of colours that pages draw on each other (WCAG 2.2, 1.4.3 and 1.4.11), in both themes."""

import re
from pathlib import Path

import pytest

import services.backbone.pages

STYLE = Path(services.backbone.pages.__file__).parent / "static" / "push.css"
_TOKEN = re.compile(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);")
TOKENS = {name: (light, dark) for name, light, dark in _TOKEN.findall(STYLE.read_text())}
LEAST_TEXT, LEAST_SHAPE = 4.5, 3.0

GROUNDS = ("ground", "surface", "raised")
INKS = ("text", "quiet", "accent", "search", "match", "good", "warn", "bad")
TEXT_PAIRS = [
    *((ink, ground) for ink in INKS for ground in GROUNDS),
    *((ink, f"{ink}-ground") for ink in ("accent", "search", "match", "good", "warn", "bad")),
    ("text", "paper"),
    ("quiet", "paper"),
    ("on-accent", "accent"),
    ("ground", "text"),  # a toast
    ("quiet", "accent-ground"),  # the meta text of a selected row
    ("text", "accent-ground"),
    ("text", "bad-ground"),
]
SHAPE_PAIRS = [
    *(("strong-line", ground) for ground in GROUNDS),
    *((shape, "paper") for shape in ("accent", "search", "match", "text")),
]


def luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb (WCAG 2.2)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_on_white_is_21() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), TEXT_PAIRS)
def test_text_is_readable(ink: str, ground: str, theme: int) -> None:
    assert contrast(TOKENS[ink][theme], TOKENS[ground][theme]) >= LEAST_TEXT


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("shape", "ground"), SHAPE_PAIRS)
def test_borders_of_inputs_and_shapes_on_maps_are_visible(shape: str, ground: str, theme: int) -> None:
    assert contrast(TOKENS[shape][theme], TOKENS[ground][theme]) >= LEAST_SHAPE


def test_every_token_with_a_colour_is_in_a_pair() -> None:
    checked = {name for pair in (*TEXT_PAIRS, *SHAPE_PAIRS) for name in pair}
    decoration = {"line"}  # no information depends on it
    assert set(TOKENS) - checked == decoration
