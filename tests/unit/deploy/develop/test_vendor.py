import base64
import hashlib
import io
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from deploy.develop import vendor
from deploy.develop.vendor import VendorError, fetch_packages, read_lock, vendoring_errors
from deploy.paths import ROOT

FILES = {"dist/lib.js": b"export {};\r\n\t \n", "LICENSE": b"free"}


def archive(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in PATH. Its program `npm` packs the file package.tgz beside it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "npm"
    program.write_text(
        f'#!/bin/sh\n[ -f {programs}/package.tgz ] || {{ echo "E404 not there" >&2; exit 1; }}\n'
        f'/bin/cp {programs}/package.tgz "$5/lib-1.0.0.tgz"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (programs / "package.tgz").write_bytes(archive({**FILES, "dist/other.js": b"not taken"}))
    monkeypatch.setenv("PATH", str(programs))
    return programs


def lock_of(folder: Path, packed: bytes, files: dict[str, bytes]) -> Path:
    integrity = base64.b64encode(hashlib.sha512(packed).digest()).decode()
    taken = [f"{name}=sha256:{hashlib.sha256(content).hexdigest()}" for name, content in files.items()]
    lock = folder / "npm.txt"
    lock.write_text(" ".join(["# comment\nlib 1.0.0", f"sha512-{integrity}", "MIT static/lib", *taken]) + "\n")
    return lock


def test_committed_files_are_those_of_the_lock() -> None:
    assert read_lock()
    assert vendoring_errors() == []


def test_lock_names_no_registry_and_every_package_has_its_licence() -> None:
    assert "://" not in vendor.LOCK.read_text()
    for package in read_lock():
        assert "LICENSE" in {file.name for file in package.files}
        assert sum(path.stat().st_size for path in (ROOT / package.folder).iterdir()) < 1_000_000


def test_files_are_written_byte_for_byte_and_others_are_removed(tmp_path: Path, npm: Path) -> None:
    lock = lock_of(tmp_path, (npm / "package.tgz").read_bytes(), FILES)
    (tmp_path / "static" / "lib").mkdir(parents=True)
    (tmp_path / "static" / "lib" / "old.js").write_text("old")
    fetch_packages(lock=lock, root=tmp_path, report=lambda _: None)
    written = {path.name: path.read_bytes() for path in (tmp_path / "static" / "lib").iterdir()}
    assert written == {"lib.js": FILES["dist/lib.js"], "LICENSE": FILES["LICENSE"]}
    assert vendoring_errors(lock=lock, root=tmp_path) == []


def test_changed_missing_and_extra_files_are_errors(tmp_path: Path) -> None:
    lock = lock_of(tmp_path, b"", FILES)
    folder = tmp_path / "static" / "lib"
    (folder / "deep").mkdir(parents=True)
    (folder / "lib.js").write_bytes(FILES["dist/lib.js"].replace(b"\r\n", b"\n"))
    (folder / "deep" / "extra.js").write_text("")
    assert vendoring_errors(lock=lock, root=tmp_path) == [
        "static/lib/lib.js differs from the lock",
        "static/lib/LICENSE is missing",
        "static/lib/deep/extra.js is not in the lock",
    ]


def test_archive_with_another_digest_changes_nothing(tmp_path: Path, npm: Path) -> None:
    lock = lock_of(tmp_path, b"another archive", FILES)
    folder = tmp_path / "static" / "lib"
    folder.mkdir(parents=True)
    (folder / "lib.js").write_bytes(FILES["dist/lib.js"])
    with pytest.raises(VendorError, match="the archive has the integrity"):
        fetch_packages(lock=lock, root=tmp_path)
    assert (npm / "package.tgz").exists()
    assert [path.name for path in folder.iterdir()] == ["lib.js"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [({"dist/gone.js": b""}, "does not contain dist/gone.js"), ({"dist/lib.js": b"x"}, "dist/lib.js differs")],
)
def test_file_is_rejected_when_it_is_not_the_one_of_the_lock(
    tmp_path: Path, npm: Path, files: dict[str, bytes], reason: str
) -> None:
    lock = lock_of(tmp_path, (npm / "package.tgz").read_bytes(), files)
    with pytest.raises(VendorError, match=reason):
        fetch_packages(lock=lock, root=tmp_path)
    assert not (tmp_path / "static").exists()


def test_missing_package_is_reported_with_the_message_of_npm(tmp_path: Path, npm: Path) -> None:
    (npm / "package.tgz").unlink()
    with pytest.raises(VendorError, match="npm pack lib failed: E404 not there"):
        fetch_packages(lock=lock_of(tmp_path, b"", FILES), root=tmp_path)


def test_missing_npm_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VendorError, match="npm is not installed"):
        fetch_packages(lock=lock_of(tmp_path, b"", FILES), root=tmp_path)


def test_task_reports_missing_npm_in_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "tasks.py", "assets.vendor"],
        cwd=ROOT,
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "npm is not installed." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("row", ["lib 1.0.0", "lib 1.0.0 sha1-x MIT static a=sha256:0", "lib 1 sha512-x MIT s a=b"])
def test_malformed_row_is_an_error(tmp_path: Path, row: str) -> None:
    lock = tmp_path / "npm.txt"
    lock.write_text(row)
    with pytest.raises(VendorError, match=r"npm\.txt"):
        read_lock(lock)
