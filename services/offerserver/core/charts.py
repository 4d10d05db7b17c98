"""Small charts: the points of a line."""

from collections.abc import Sequence
from typing import Final

WIDTH: Final = 120
HEIGHT: Final = 24


def line_points(values: Sequence[float]) -> str:
    """Return the points of an SVG polyline of 120 by 24, from zero to the largest value. One value is a line too."""
    if not values:
        return ""
    shown = list(values) if len(values) > 1 else [values[0], values[0]]
    most = max(*shown, 1)
    step = WIDTH / (len(shown) - 1)
    return " ".join(
        f"{number * step:.1f},{HEIGHT - 1 - (HEIGHT - 2) * value / most:.1f}" for number, value in enumerate(shown)
    )
