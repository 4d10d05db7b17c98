"""ROOT: the directory of the clone. Modules at any depth import it, so that a move changes no path."""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
