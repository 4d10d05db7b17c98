"""The bootstrap on copies of the few files that it needs, with a lock of one small package."""

import functools
import http.server
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.develop import bootstrap

ROOT = Path(__file__).parents[4]
PYTHON = Path(sys.base_prefix) / "bin" / "python3"
_TIMEOUT_S = 110
EMPTY_LOCK = "# nothing\n"

# Replaces deploy/cli.py, which needs invoke.
CLI = "import os, sys; print('ran', *sys.argv[1:], os.getpid(), sys.prefix)"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with the files that the bootstrap reads. tasks.py never imports invoke here."""
    (tmp_path / "deploy" / "locks").mkdir(parents=True)
    shutil.copy(ROOT / "tasks.py", tmp_path)
    (tmp_path / "deploy" / "develop").mkdir()
    shutil.copy(ROOT / "deploy" / "starting.py", tmp_path / "deploy")
    shutil.copy(ROOT / "deploy" / "develop" / "bootstrap.py", tmp_path / "deploy" / "develop")
    (tmp_path / "deploy" / "develop" / "__init__.py").touch()
    (tmp_path / "deploy" / "__init__.py").touch()
    (tmp_path / "deploy" / "cli.py").write_text(CLI)
    (tmp_path / "deploy" / "locks" / "dev.txt").write_text(EMPTY_LOCK)
    return tmp_path


def start(clone: Path, *arguments: str, **env: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PYTHON, clone / "tasks.py", *arguments],
        cwd=clone.parent, env=os.environ | env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(clone: Path, *arguments: str, **env: str) -> tuple[int, str, str]:
    process = start(clone, *arguments, **env)
    out, err = process.communicate(timeout=_TIMEOUT_S)
    return process.returncode, out, err


def test_the_first_run_makes_the_environment_and_later_ones_start_at_once(clone: Path) -> None:
    process = start(clone, "demo", "--once")
    out, err = process.communicate(timeout=_TIMEOUT_S)
    assert out.split() == ["ran", "demo", "--once", str(process.pid), str(clone / ".venv")]
    assert "First run: installing" in err
    assert process.returncode == 0

    took_s = []
    for _ in range(3):
        begun = time.monotonic()
        code, out, err = run(clone)
        took_s.append(time.monotonic() - begun)
        assert (code, out.split()[:2], err) == (0, ["ran", "--list"], "")
    assert min(took_s) < 1


@pytest.mark.slow
def test_an_interrupted_first_run_heals(clone: Path) -> None:
    run(clone)
    (clone / ".venv" / ".push-complete").unlink()
    (clone / ".venv" / ".push-unfinished").touch()
    half = clone / ".venv" / "lib" / "half-installed"
    half.touch()
    assert run(clone)[0] == 0
    assert not half.exists()


@pytest.mark.slow
@pytest.mark.parametrize("after_s", [0.1, 0.8, 2.5])
def test_a_run_killed_at_any_moment_heals(clone: Path, after_s: float) -> None:
    process = start(clone)
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    code, out, _ = run(clone)
    assert (code, out.split()[0]) == (0, "ran")


@pytest.mark.slow
def test_venv_is_created_again_when_its_python_is_missing(clone: Path) -> None:
    run(clone)
    (clone / ".venv" / "bin" / "python").unlink()
    (clone / ".venv" / "bin" / "python").symlink_to("/nonexistent/python3")
    assert run(clone)[0] == 0


@pytest.mark.slow
def test_a_changed_lock_installs_into_the_same_environment(clone: Path) -> None:
    run(clone)
    (clone / ".venv" / "mine").touch()
    (clone / "deploy" / "locks" / "dev.txt").write_text("# something else\n")
    assert "First run" in run(clone)[2]
    assert (clone / ".venv" / "mine").exists()


@pytest.mark.slow
def test_concurrent_first_runs_install_once(clone: Path) -> None:
    runs = [start(clone, str(number)) for number in range(3)]
    errors = [process.communicate(timeout=_TIMEOUT_S)[1] for process in runs]
    assert [process.returncode for process in runs] == [0, 0, 0]
    assert sum("First run" in error for error in errors) == 1
    assert sum("waiting for it" in error for error in errors) >= 1


def pinned(*names: str) -> str:
    """The entries of these packages in the development lock."""
    lock = (ROOT / "deploy" / "locks" / "dev.txt").read_text()
    found = [re.search(rf"^{name}==(.*\\\n)*.*\n", lock, re.MULTILINE) for name in names]
    return "".join(entry[0] for entry in found if entry)


def installer_of(clone: Path, name: str) -> str:
    [installer] = (clone / ".venv").glob(f"lib/*/site-packages/{name}-*.dist-info/INSTALLER")
    return installer.read_text().strip()


class Index(http.server.ThreadingHTTPServer):
    """A package index (PEP 503) on loopback. Records the program of each request."""

    def __init__(self, folder: Path) -> None:
        self.programs: set[str] = set()
        super().__init__(("127.0.0.1", 0), functools.partial(_IndexHandler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server_port}/simple"


class _IndexHandler(http.server.SimpleHTTPRequestHandler):
    server: Index

    def end_headers(self) -> None:
        self.server.programs.add(self.headers["User-Agent"].partition("/")[0])
        super().end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an index with the wheels of uv and of iniconfig from this machine's index."""
    folder = tmp_path_factory.mktemp("index")
    (folder / "lock.txt").write_text(pinned("iniconfig", "uv"))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run([*command, "--dest", folder, "--requirement", folder / "lock.txt"], check=True)
    for wheel in folder.glob("*.whl"):
        page = folder / "simple" / wheel.name.partition("-")[0] / "index.html"
        page.parent.mkdir(parents=True)
        page.write_text(f'<a href="/{wheel.name}">{wheel.name}</a>')
    return folder


@pytest.fixture
def index(wheels: Path) -> Iterator[Index]:
    with Index(wheels) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield server
        server.shutdown()
        serving.join()


@pytest.mark.slow
def test_uv_installs_the_lock_from_the_index_that_pip_is_configured_for(
    clone: Path, index: Index, tmp_path: Path
) -> None:
    (clone / "deploy" / "locks" / "dev.txt").write_text(pinned("iniconfig", "uv"))
    (tmp_path / "pip.conf").write_text(
        f"[global]\nindex-url = http://127.0.0.1:9\n[install]\nindex-url = {index.url}\n"
    )
    caches = {"PIP_NO_CACHE_DIR": "1", "UV_CACHE_DIR": str(tmp_path / "cache")}
    code, out, err = run(clone, PIP_CONFIG_FILE=str(tmp_path / "pip.conf"), PIP_FIND_LINKS="", **caches)
    assert (code, out.split()[0]) == (0, "ran"), err
    assert installer_of(clone, "iniconfig") == "uv", err
    assert index.programs == {"pip", "uv"}


@pytest.mark.slow
def test_uv_sends_no_request_to_an_index_when_pip_uses_only_a_folder(clone: Path, wheels: Path, tmp_path: Path) -> None:
    (clone / "deploy" / "locks" / "dev.txt").write_text(pinned("iniconfig", "uv"))
    nowhere = {
        "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple",
        "UV_HTTP_RETRIES": "0",
        "UV_CACHE_DIR": str(tmp_path / "c"),
    }
    code, _, err = run(clone, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels), **nowhere)
    assert code == 0, err
    assert installer_of(clone, "iniconfig") == "uv", err


@pytest.mark.slow
def test_pip_installs_the_lock_when_uv_reaches_no_index(clone: Path, index: Index, tmp_path: Path) -> None:
    (clone / "deploy" / "locks" / "dev.txt").write_text(pinned("iniconfig", "uv"))
    broken = {
        "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple",
        "UV_HTTP_RETRIES": "0",
        "UV_CACHE_DIR": str(tmp_path / "c"),
    }
    code, out, err = run(clone, PIP_INDEX_URL=index.url, PIP_FIND_LINKS="", **broken)
    assert (code, out.split()[0]) == (0, "ran"), err
    assert "uv failed, so pip installs the packages" in err
    assert installer_of(clone, "iniconfig") == "pip"


def test_uv_gets_the_options_of_pip_unless_its_own_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://uv.example/simple")
    monkeypatch.setenv("SSL_CERT_FILE", "/machine.pem")
    options = {"index-url": "http://pip.example/simple", "cert": "/pip.pem", "find-links": "/a /b", "trusted-host": "h"}
    environment = bootstrap._uv_environment(options)
    assert environment["UV_DEFAULT_INDEX"] == "http://uv.example/simple"
    assert environment["SSL_CERT_FILE"] == "/pip.pem"
    assert environment["UV_FIND_LINKS"] == "/a,/b"
    assert environment["UV_INSECURE_HOST"] == "h"


def test_error_is_one_sentence_when_there_is_no_network(clone: Path) -> None:
    lock = "no-such-package-of-push==1.0 --hash=sha256:" + "0" * 64 + "\n"
    (clone / "deploy" / "locks" / "dev.txt").write_text(lock)
    code, out, err = run(clone, PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0", PIP_FIND_LINKS="")
    assert code == 1
    assert out == ""
    assert "No package index responds" in err
    assert "Traceback" not in err


def test_error_names_the_package_when_ensurepip_is_missing(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = "The virtual environment was not created successfully because ensurepip is not available."
    monkeypatch.setattr(bootstrap, "_run", lambda *_args, **_kwargs: bootstrap._Done(1, message))
    with pytest.raises(bootstrap.BootstrapError, match="apt-get install python3-venv"):
        bootstrap.Environment(clone, clone / "deploy" / "locks" / "dev.txt").ensure()


def test_error_names_the_required_version_when_python_is_too_old(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    with pytest.raises(SystemExit) as stop:
        bootstrap.main([])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "This is Python 3.9. Python 3.11 or newer is needed.\n"
