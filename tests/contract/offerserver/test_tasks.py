"""The operators' tasks offers.list, offers.check, offers.run and offers.delete-all."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.develop.localstack.redis import LocalRedis
from deploy.errors import OperatorError
from deploy.operate import offers
from tests.contract.offerserver.bench import OWNER, ImportBench, feed, source_at, thing, things
from tests.contract.storage.api.serving import SERVICE, SharedStorage
from tests.unit.offerserver.reading import FEEDS

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests serve the feed in the main thread, and only that one can handle signals."""
    monkeypatch.setattr(offers, "run_interruptible", asyncio.run)
    monkeypatch.setenv("COLUMNS", "200")  # a table of a narrow terminal is cut


@pytest.fixture
def environ(
    clean_redis: LocalRedis, shared_storage: SharedStorage, bench: ImportBench, tmp_path: Path
) -> dict[str, str]:
    (tmp_path / "things.yaml").write_text(source_at(bench.server.url()))
    return {
        "OFFERS_REDIS_URL": clean_redis.url,
        "OFFERS_STORAGE_URL": f"http://127.0.0.1:{shared_storage.environ['STORAGE_PORT']}",
        "OFFERS_SOURCES": str(tmp_path),
        "OFFERS_CONTACT": "https://push.example/",
        "STORAGE_PASSWORD": SERVICE[1],
        "OUTGOING_ALLOWED_NETWORKS": "127.0.0.0/8",
    }


async def test_source_is_tried_without_redis_and_storage(
    bench: ImportBench, environ: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.serve(feed([*(thing(number) for number in range(12)), thing(13, at=[0, 0])]))
    apart = environ | {"OFFERS_REDIS_URL": "redis://127.0.0.1:9/0", "OFFERS_STORAGE_URL": "http://127.0.0.1:9"}
    code = await asyncio.to_thread(offers.check, apart, tmp_path / "things.yaml", fixture=None)
    shown = capsys.readouterr().out
    assert code == 0
    assert "13 rows: 12 items, 1 rejected" in shown
    assert shown.count("link: https://things.example/") == 10
    assert "rejected thing-13  location '0.0, 0.0' is 0/0" in shown
    assert bench.server.requests[0].headers["user-agent"] == "push-offers (+https://push.example/)"


def test_task_checks_a_file_as_the_readme_shows(environ: dict[str, str]) -> None:
    command = [sys.executable, "tasks.py", "offers.check"]
    files = [str(FEEDS / "libraries.yaml"), "--file", str(FEEDS / "libraries.csv")]
    done = subprocess.run(
        [*command, *files], cwd=ROOT, env=os.environ | environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "4 rows: 2 items, 2 rejected" in done.stdout
    assert "Zentralbibliothek  52.52000, 13.41000" in done.stdout


def test_invalid_source_is_refused_with_its_errors(environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "broken.yml"
    file.write_text("name: broken\nform: x\n")
    with pytest.raises(OperatorError, match=r"form: must be one of"):
        offers.check(environ, file, fixture=None)


def test_check_reports_a_document_that_cannot_be_used(environ: dict[str, str], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><title>Log in</title>")
    with pytest.raises(OperatorError, match=r"failed: the response is an HTML page \(Log in\)"):
        offers.check(environ, tmp_path / "things.yaml", fixture=page)


async def test_importer_is_run_and_listed(
    bench: ImportBench, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    bench.serve(things(range(3)))
    assert await asyncio.to_thread(offers.run, environ, "things", dry_run=True, fixture=None) == 0
    assert "dry run: trusted: 3 new" in capsys.readouterr().out
    assert await bench.ids() == []
    assert await asyncio.to_thread(offers.run, environ, "things", dry_run=False, fixture=None) == 0
    assert await bench.ids() == ["thing-0", "thing-1", "thing-2"]
    assert await asyncio.to_thread(offers.show, environ) == 0
    listed = capsys.readouterr().out
    assert "sensor_community" in listed
    assert any("things" in line and "trusted" in line for line in listed.splitlines())


async def test_pictures_are_shown_before_a_run_and_their_failures_after_it(
    bench: ImportBench, environ: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = bench.server.url("/gone.jpg")
    bench.serve(feed([thing(0, photos=url)]))
    assert await asyncio.to_thread(offers.check, environ, tmp_path / "things.yaml", fixture=None) == 0
    assert f"image: {url}" in capsys.readouterr().out
    away = environ | {"OFFERS_IMAGESERVER_URL": "http://127.0.0.1:9", "IMAGESERVER_PASSWORD": "a secret of the test"}
    assert await asyncio.to_thread(offers.run, away, "things", dry_run=False, fixture=None) == 0
    shown = capsys.readouterr().out
    assert "run: trusted: 1 new, 1 pictures left for the next run" in shown
    assert "the imageserver was not asked further" in shown
    assert await bench.ids() == ["thing-0"]


async def test_file_takes_the_place_of_the_source(bench: ImportBench, environ: dict[str, str], tmp_path: Path) -> None:
    fixture = tmp_path / "feed.json"
    fixture.write_text(things([7]))
    assert await asyncio.to_thread(offers.run, environ, "things", dry_run=False, fixture=fixture, yes=True) == 0
    assert await bench.ids() == ["thing-7"]
    assert bench.server.requests == []


async def test_file_is_written_only_after_a_question(
    bench: ImportBench,
    environ: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fixture = tmp_path / "feed.json"
    fixture.write_text(things([1, 2, 7]))
    bench.serve(things(range(3)), ETag='"1"')
    assert await asyncio.to_thread(offers.run, environ, "things", dry_run=False, fixture=None) == 0
    assert len((await bench.store.state("things")).validators) == 1
    with pytest.raises(OperatorError, match="this writes what the file has"):
        await asyncio.to_thread(offers.run, environ, "things", dry_run=False, fixture=fixture)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    with pytest.raises(OperatorError, match="cancelled: nothing was written"):
        await asyncio.to_thread(offers.run, environ, "things", dry_run=False, fixture=fixture)
    shown = capsys.readouterr().out
    assert "This file takes the place of the source" in shown
    assert await bench.ids() == ["thing-0", "thing-1", "thing-2"]
    monkeypatch.setattr("builtins.input", lambda _: "y")
    await asyncio.to_thread(offers.run, environ, "things", dry_run=False, fixture=fixture)
    assert await bench.ids() == ["thing-0", "thing-1", "thing-2", "thing-7"]
    assert (await bench.store.state("things")).validators == {}


async def test_run_that_is_not_trusted_has_the_exit_code_1(bench: ImportBench, environ: dict[str, str]) -> None:
    bench.serve("{}")
    assert await asyncio.to_thread(offers.run, environ, "things", dry_run=False, fixture=None) == 1
    with pytest.raises(OperatorError, match="there is no such importer"):
        await asyncio.to_thread(offers.run, environ, "nobody", dry_run=False, fixture=None)


async def test_offers_of_an_owner_are_counted_before_they_are_deleted(
    bench: ImportBench, environ: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    await bench.run(things(range(3)))
    assert await asyncio.to_thread(offers.delete_all, environ, OWNER, dry_run=True, yes=False) == 0
    assert f"{OWNER} has 3 offers" in capsys.readouterr().out
    assert len(await bench.ids()) == 3
    assert await asyncio.to_thread(offers.delete_all, environ, OWNER, dry_run=False, yes=True) == 0
    assert await bench.ids() == []


async def test_offers_are_not_deleted_while_a_run_of_their_importer_lasts(
    bench: ImportBench, environ: dict[str, str]
) -> None:
    await bench.run(things(range(3)))
    async with bench.leases.hold("things"):
        with pytest.raises(OperatorError, match="a run of things has not ended: nothing was deleted"):
            await asyncio.to_thread(offers.delete_all, environ, OWNER, dry_run=False, yes=True)
    assert len(await bench.ids()) == 3


async def test_offers_that_a_run_made_during_the_question_are_deleted_too(
    bench: ImportBench, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await bench.run(things(range(3)))
    loop = asyncio.get_running_loop()

    def run_and_agree(_: str) -> str:
        asyncio.run_coroutine_threadsafe(bench.run(things(range(5))), loop).result(30)
        return "y"

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", run_and_agree)
    assert await asyncio.to_thread(offers.delete_all, environ, OWNER, dry_run=False, yes=False) == 0
    assert await bench.ids() == []
    assert "deleted 5 offers" in capsys.readouterr().out


async def test_offers_of_an_owner_without_an_importer_are_deleted(bench: ImportBench, environ: dict[str, str]) -> None:
    await bench.run(things(range(3)))
    without = environ | {"OFFERS_SOURCES": ""}
    assert await asyncio.to_thread(offers.delete_all, without, OWNER, dry_run=False, yes=True) == 0
    assert await bench.ids() == []


async def test_task_without_a_contact_sends_no_request(
    bench: ImportBench, environ: dict[str, str], tmp_path: Path
) -> None:
    without = {name: value for name, value in environ.items() if name != "OFFERS_CONTACT"}
    with pytest.raises(OperatorError, match="OFFERS_CONTACT is not set"):
        await asyncio.to_thread(offers.run, without, "things", dry_run=False, fixture=None)
    with pytest.raises(OperatorError, match="OFFERS_CONTACT is not set"):
        await asyncio.to_thread(offers.check, without, tmp_path / "things.yaml", fixture=None)
    assert bench.server.requests == []


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("OFFERS_REDIS_URL", "redis://:secret@127.0.0.1:9/0", r"Redis .* at 127.0.0.1:9: see OFFERS_REDIS_URL"),
        ("OFFERS_STORAGE_URL", "http://127.0.0.1:9", "storage does not respond at 127.0.0.1:9: see OFFERS_STORAGE_URL"),
    ],
)
async def test_server_that_does_not_respond_is_named(
    environ: dict[str, str], variable: str, value: str, message: str
) -> None:
    with pytest.raises(OperatorError, match=message):
        await asyncio.to_thread(offers.run, environ | {variable: value}, "things", dry_run=True, fixture=None)


@pytest.mark.parametrize(("name", "message"), [("thinks", "Did you mean things"), ("things", "/nothere is no file")])
def test_wrong_argument_of_a_run_is_explained(environ: dict[str, str], tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(OperatorError, match=message):
        offers.run(environ, name, dry_run=True, fixture=tmp_path / "nothere")


def test_address_of_this_machine_is_refused_with_a_hint(environ: dict[str, str], tmp_path: Path) -> None:
    del environ["OUTGOING_ALLOWED_NETWORKS"]
    with pytest.raises(OperatorError, match=r"is loopback: sources must have public addresses.* use --file"):
        offers.check(environ, tmp_path / "things.yaml", fixture=None)
