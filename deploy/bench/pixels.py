"""Pixels without HTTP: `python -m deploy.bench.pixels FILE SECONDS` writes the three squares of a JPEG.

It calls the functions of the imageserver. `pixel_round` runs it, or a reference, on the measured core.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deploy.bench.repeating import repeat
from deploy.bench.results import Round, latency_round
from deploy.errors import OperatorError
from deploy.paths import ROOT
from services.imageserver.core.limits import PictureLimits
from services.imageserver.core.refusals import RefusalReason
from services.imageserver.pixels.colours import to_srgb
from services.imageserver.pixels.picture import decode, write_squares

_LIMITS = PictureLimits(max_bytes=20_000_000, max_pixels=50_000_000, max_frames=1_000)
_START_S = 60.0


def pixel_round(command: Sequence[str], seconds: float) -> Round:
    """Run a command that ends with `repeat`. Return the round. Raises OperatorError if it fails."""
    done = subprocess.run(
        [*command, str(seconds)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + _START_S,
    )
    if done.returncode:
        raise OperatorError(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    latencies_s = found["latencies_s"]
    return replace(
        latency_round(latencies_s, rate=len(latencies_s) / found["seconds"]),
        cpu_us_per_event=1e6 * found["cpu_s"] / len(latencies_s),
        rss_mb=found["rss_mb"],
    )


def write_three_squares(picture: Path, directory: Path) -> None:
    """Decode a picture and write its squares as JPEG, without its original. Raises OperatorError if it is refused."""
    decoded = decode(picture.read_bytes(), _LIMITS)
    if isinstance(decoded, RefusalReason):
        raise OperatorError(f"{picture} is refused: {decoded.code}")
    write_squares(to_srgb(decoded.image, decoded.profile), directory, ("jpg",))


def _main(picture: str, seconds: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        repeat(lambda: write_three_squares(Path(picture), Path(directory)), seconds=float(seconds))


if __name__ == "__main__":
    _main(*sys.argv[1:3])
