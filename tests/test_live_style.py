"""The live page takes its colours, font sizes and spaces from the shared style sheet, and has nothing inline."""

import re
from pathlib import Path

import pytest

import services.kafidx

HERE = Path(services.kafidx.__file__).parent
STYLE = re.sub(
    r"/\*.*?\*/",
    "",
    "".join(each.read_text() for each in sorted((HERE / "static" / "live").glob("*.css"))),
    flags=re.DOTALL,
)
TEMPLATE = (HERE / "templates" / "live.html").read_text()
_SPACE = re.compile(r"(?:^|;|\{)\s*(?:margin|padding|gap|font-size)(?:-[a-z-]+)?:\s*([^;}]+)")
_LENGTH = re.compile(r"(?<![\w-])\d*\.?\d+(?:px|rem|em|ch|vw|dvh)\b")


def test_spaces_and_font_sizes_are_tokens() -> None:
    values = _SPACE.findall(STYLE)
    assert len(values) > 30, "the pattern finds no declarations"
    assert [value for value in values if _LENGTH.search(value)] == []


def test_colours_are_tokens() -> None:
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|\b(?:rgb|hsl|oklch|oklab)a?\(", STYLE) == []


@pytest.mark.parametrize("inline", [r"\sstyle=", r"<style", r"<script(?![^>]*\ssrc=)", r"\son[a-z]+="])
def test_template_has_nothing_inline(inline: str) -> None:
    assert re.findall(inline, TEMPLATE) == []
