import sys
from pathlib import Path

import pytest

from deploy.bench.pictures import encoding_of, photo_jpeg
from deploy.bench.pixels import pixel_round, write_three_squares
from deploy.errors import OperatorError


def test_three_squares_are_written_as_jpeg(tmp_path: Path) -> None:
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(photo_jpeg(1, 320, 200))
    squares = tmp_path / "squares"
    squares.mkdir()
    write_three_squares(picture, squares)
    written = {file.name: encoding_of(file.read_bytes()) for file in squares.iterdir()}
    sides = {name: (each.width, each.height) for name, each in written.items()}
    assert sides == {"thumb.jpg": (250, 250), "iconbigger.jpg": (60, 60), "icon.jpg": (30, 30)}


def test_refused_picture_is_an_error_with_the_reason(tmp_path: Path) -> None:
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(b"no picture")
    with pytest.raises(OperatorError, match="unsupported_type"):
        write_three_squares(picture, tmp_path)


def test_round_has_rate_latencies_and_use_of_the_process(tmp_path: Path) -> None:
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(photo_jpeg(1, 64, 48))
    found = pixel_round([sys.executable, "-m", "deploy.bench.pixels", str(picture)], 0.05)
    assert found.rate is not None
    assert found.rate > 0
    assert found.p50_ms is not None
    assert found.p99_ms is not None
    assert 0 < found.p50_ms <= found.p99_ms
    assert found.cpu_us_per_event is not None
    assert found.cpu_us_per_event > 0
    assert found.rss_mb is not None
    assert found.rss_mb > 1


def test_command_that_fails_is_an_error_with_its_message() -> None:
    with pytest.raises(OperatorError, match="No such file"):
        pixel_round([sys.executable, "-m", "deploy.bench.pixels", "/nowhere.jpg"], 0.05)
