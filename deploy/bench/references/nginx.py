"""nginx with a constant response: the upper bound for an HTTP server on one core."""

import os
from collections.abc import Sequence
from pathlib import Path

from deploy.bench.machine import program
from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.develop.localstack.processes import LocalProcess

_CONFIGURATION = """
daemon off;
master_process off; # a single process, so that none is left behind
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    default_type application/json;
    server {{
        listen {address};
        location / {{ return 200 '{{"status":"ok"}}'; }}
    }}
}}
"""


class ConstantNginx(LocalProcess):
    """One worker that responds with the tracker's body."""

    def __init__(self, folder: Path, *, within: Sequence[str] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        configuration = folder / "nginx.conf"
        configuration.write_text(_CONFIGURATION.format(folder=folder, address=f"{LOOPBACK}:{self.port}"))
        command = [*within, program("nginx", "nginx"), "-c", str(configuration), "-e", str(folder / "error.log")]
        super().__init__("nginx", command, log=folder / "nginx.log", env=os.environ, cwd=folder)
