"""The operators' task offers.export."""

import asyncio
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from deploy.develop.localstack.mongo import MongoServer
from deploy.errors import OperatorError
from deploy.operate import export_offers, offers
from tests.contract.imageserver.serving import PATIENT, ImageServer, jpeg
from tests.contract.imageserver.serving import SERVICE as IMAGES
from tests.contract.offerserver.bench import OWNER, ImportBench, things
from tests.contract.storage.api.serving import SERVICE, SharedStorage

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def imageserver(mongo_server: MongoServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageServer]:
    folder = tmp_path_factory.mktemp("images")
    server = ImageServer(mongo_server.url, f"t-export-{folder.name}", folder / "volume", folder / "scratch", **PATIENT)
    try:
        server.wait_until_ready()
        yield server
    finally:
        server.kill()


@pytest.fixture
def environ(shared_storage: SharedStorage, imageserver: ImageServer) -> dict[str, str]:
    """Without Redis: an export needs none."""
    return {
        "OFFERS_REDIS_URL": "redis://127.0.0.1:9/0",
        "OFFERS_STORAGE_URL": f"http://127.0.0.1:{shared_storage.environ['STORAGE_PORT']}",
        "STORAGE_PASSWORD": SERVICE[1],
        "OFFERS_IMAGESERVER_URL": imageserver.url,
        "IMAGESERVER_PASSWORD": IMAGES[1],
    }


@pytest.fixture
async def paths(bench: ImportBench, imageserver: ImageServer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make three offers, and give two of them pictures. Return the paths."""
    monkeypatch.setattr(offers, "run_interruptible", asyncio.run)  # only the main thread can handle signals
    await bench.run(things(range(3)))
    found = [await asyncio.to_thread(imageserver.path_of, jpeg(number)) for number in (1, 2)]
    first, second, _ = await bench.offers()
    for offer, images in ((first, found), (second, found[:1])):
        await bench.http.put(f"/offers/{offer['_id']}", json={"images": images})
    return found


async def export(environ: dict[str, str], file: Path | None, *, dry_run: bool = False, owner: str = OWNER) -> int:
    return await asyncio.to_thread(export_offers.export, environ, owner, file, dry_run=dry_run)


def files(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


def content(file: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        files = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(files.pop("offers.json")), files


async def test_export_has_all_offers_and_each_picture_once(
    bench: ImportBench, environ: dict[str, str], paths: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.zip"
    assert await export(environ, file) == 0
    made, pictures = content(file)
    assert sorted(made["offers"], key=lambda each: each["extdata"]["id"]) == await bench.offers()
    assert (made["owner"], made["missing_pictures"]) == (OWNER, [])
    assert sorted(made["pictures"]) == sorted(paths)
    assert sorted(made["pictures"].values()) == sorted(pictures)
    for picture in pictures.values():
        assert Image.open(io.BytesIO(picture)).size == (320, 240)
    shown = capsys.readouterr().err
    assert shown.index(f"{OWNER} has 3 offers with 2 pictures") < shown.index("wrote ")
    assert files(tmp_path) == [file.name]


async def test_dry_run_only_counts(
    environ: dict[str, str], paths: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await export(environ, tmp_path / "out.zip", dry_run=True) == 0
    assert f"with {len(paths)} pictures" in capsys.readouterr().err
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"OFFERS_IMAGESERVER_URL": "http://127.0.0.1:9"}, "ServiceUnavailable"),
        ({"OFFERS_IMAGESERVER_URL": ""}, "OFFERS_IMAGESERVER_URL is not set"),
        ({"OFFERS_STORAGE_URL": "http://127.0.0.1:9"}, "ServiceUnavailable"),
        ({"STORAGE_PASSWORD": "another password"}, "status 401"),
    ],
)
@pytest.mark.usefixtures("paths")
async def test_failed_export_leaves_no_file(
    environ: dict[str, str], tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    changed = {name: value for name, value in (environ | changes).items() if value}
    with pytest.raises(OperatorError, match=message):
        await export(changed, tmp_path / "out.zip")
    assert files(tmp_path) == []


@pytest.mark.usefixtures("paths")
async def test_existing_file_is_kept(environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "out.zip"
    file.write_text("mine")
    with pytest.raises(OperatorError, match="exists already"):
        await export(environ, file)
    assert file.read_text() == "mine"


@pytest.mark.usefixtures("paths")
async def test_owner_without_offers_is_an_error(environ: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="nobody has no offers"):
        await export(environ, tmp_path / "out.zip", owner="nobody")
    with pytest.raises(OperatorError, match="--owner is missing"):
        await export(environ, tmp_path / "out.zip", owner="")
    assert files(tmp_path) == []


async def test_paths_without_a_picture_are_listed(
    bench: ImportBench, environ: dict[str, str], paths: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    third = (await bench.offers())[2]
    foreign = ["/assets/images/" + "0" * 64, "../../x", "http://10.0.0.1/x"]
    await bench.http.put(f"/offers/{third['_id']}", json={"images": foreign})
    file = tmp_path / "out.zip"
    assert await export(environ, file) == 0
    made, pictures = content(file)
    assert (made["missing_pictures"], len(pictures)) == (foreign, len(paths))
    assert f"{foreign[0]}: the imageserver has no such picture" in capsys.readouterr().err


async def test_stdout_that_is_cut_is_no_zip_file(
    environ: dict[str, str], paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for url, is_whole in ((environ["OFFERS_IMAGESERVER_URL"], True), ("http://127.0.0.1:9", False)):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=written, isatty=lambda: False))
        if is_whole:
            assert await export(environ, None) == 0
            assert len(content(written)[1]) == len(paths)
        else:
            with pytest.raises(OperatorError):
                await export(environ | {"OFFERS_IMAGESERVER_URL": url}, None)
            assert not zipfile.is_zipfile(written)


@pytest.mark.usefixtures("paths")
async def test_task_writes_the_file_of_the_owner(environ: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tasks.py"), "offers.export", "--owner", OWNER]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=tmp_path, env=os.environ | environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(content(tmp_path / f"{OWNER}.zip")[0]["offers"]) == 3
