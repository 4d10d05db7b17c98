"""Colours, font sizes and spaces are set in push.css alone, and no template has inline styles or scripts."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICES = ROOT / "services"
SHEETS = sorted(
    path for path in SERVICES.rglob("static/**/*.css") if path.name != "push.css" and "vendor" not in path.parts
)
TEMPLATES = sorted(SERVICES.rglob("templates/*.html"))

assert SHEETS, "no style sheet is checked"
assert TEMPLATES, "no template is checked"

COLOUR = re.compile(r"#[0-9a-fA-F]{3,8}\b|\b(?:rgb|rgba|hsl|hsla|oklch|lab|light-dark)\(")
NAMED_COLOUR = re.compile(
    r"\b(?:color|background|border[\w-]*|fill|stroke|outline)\s*:[^;]*\b(?:white|black|red|green|blue|gr[ae]y)\b"
)
FONT_SIZE = re.compile(r"\bfont(?:-size)?\s*:[^;]*\d(?:px|rem|em|pt|%)")
SPACE = re.compile(
    r"\b(?:margin|padding|gap|row-gap|column-gap)[\w-]*\s*:[^;]*(?<![\w-])\d*\.?\d+(?:px|rem|em|pt|vw|vh)"
)
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
INLINE = re.compile(r"""\sstyle\s*=|\son\w+\s*=\s*["']|<style\b|<script(?![^>]*\ssrc=)|javascript:""", re.IGNORECASE)


def literals(sheet: str) -> list[str]:
    """Return the declarations with a colour, a font size or a space that is not a variable of push.css."""
    text = COMMENT.sub("", sheet)
    return [found[0] for rule in (COLOUR, NAMED_COLOUR, FONT_SIZE, SPACE) for found in rule.finditer(text)]


@pytest.mark.parametrize(
    "declaration",
    [
        "color: #fff",
        "background: rgb(0 0 0)",
        "font-size: 12px",
        "font: 0.9em serif",
        "gap: 4px",
        "margin: 0 1rem",
        "color: red",
    ],
)
def test_literal_in_a_style_sheet_is_found(declaration: str) -> None:
    assert literals(f"a {{ {declaration}; }}")


@pytest.mark.parametrize(
    "declaration", ["margin: 0 auto", "gap: var(--space-1)", "width: 12rem", "font: var(--size-text) serif"]
)
def test_variable_or_layout_in_a_style_sheet_is_allowed(declaration: str) -> None:
    assert not literals(f"a {{ {declaration}; }}")


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda path: str(path.relative_to(SERVICES)))
def test_style_sheet_uses_the_variables_of_push_css(sheet: Path) -> None:
    assert literals(sheet.read_text()) == []


@pytest.mark.parametrize(
    "text", ["<p style='x'>", '<a onclick="x">', "<style>", "<script>x</script>", "<a href=javascript:x>"]
)
def test_inline_style_or_script_is_found(text: str) -> None:
    assert INLINE.search(text)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: str(path.relative_to(SERVICES)))
def test_template_has_no_inline_style_or_script(template: Path) -> None:
    found = INLINE.search(template.read_text())
    assert found is None, found
