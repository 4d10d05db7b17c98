"""The visitors' process, against a server that only counts."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]


@pytest.fixture
def visited() -> Iterator[tuple[str, list[str]]]:
    targets: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            targets.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", targets
    server.shutdown()
    thread.join()
    server.server_close()


def start(tmp_path: Path, **environ: str) -> subprocess.Popen[str]:
    env = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), **environ}
    command = [sys.executable, "-m", "deploy.demo.visitors"]
    return subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)


def test_visitors_send_until_stopped_and_log_their_counts(visited: tuple[str, list[str]], tmp_path: Path) -> None:
    url, targets = visited
    with start(tmp_path, VISITORS_TRACKER_URL=url, VISITORS_RATE="200") as visitors:
        deadline = time.monotonic() + 30
        while len(targets) < 50 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (tmp_path / "visitors").exists()
        visitors.send_signal(signal.SIGTERM)
        _, output = visitors.communicate(timeout=20)
    assert visitors.returncode == 0, output
    reported = json.loads(output.splitlines()[-1])
    assert reported["acknowledged"] >= 50
    assert reported["failures"] == {}
    assert all(target.startswith("/t/") for target in targets)


@pytest.mark.parametrize("environ", [{}, {"VISITORS_TRACKER_URL": "http://127.0.0.1:1", "VISITORS_RATE": "fast"}])
def test_invalid_settings_are_reported(tmp_path: Path, environ: dict[str, str]) -> None:
    with start(tmp_path, **environ) as visitors:
        _, output = visitors.communicate(timeout=20)
    assert visitors.returncode == 78
    assert "VISITORS_TRACKER_URL" in output
