"""nginx with image_filter, which decodes, crops and encodes a picture in C, for each request."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.bench.machine import program
from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.develop.localstack.processes import LocalProcess

PACKAGE: Final = "libnginx-mod-http-image-filter"
_MODULE: Final = Path("/usr/lib/nginx/modules/ngx_http_image_filter_module.so")
_CONFIGURATION: Final = """
load_module {module};
daemon off;
master_process off; # a single process, so that none is left behind
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type image/jpeg;
    server {{
        listen {address};
        location / {{
            root {pictures};
            image_filter crop {side} {side};
            image_filter_jpeg_quality {quality};
            image_filter_buffer 20M;
        }}
    }}
}}
"""


def has_image_filter() -> bool:
    """Return whether the module of nginx is installed."""
    return _MODULE.exists()


class ImageFilterNginx(LocalProcess):
    """One worker that makes squares of the pictures of a folder."""

    def __init__(self, folder: Path, *, pictures: Path, side: int, quality: int, within: Sequence[str]) -> None:
        folder.mkdir(parents=True)
        self.port = free_port()
        configuration = folder / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                module=_MODULE,
                folder=folder,
                address=f"{LOOPBACK}:{self.port}",
                pictures=pictures,
                side=side,
                quality=quality,
            )
        )
        command = [*within, program("nginx", "nginx"), "-c", str(configuration), "-e", str(folder / "error.log")]
        super().__init__("nginx", command, log=folder / "nginx.log", env=os.environ, cwd=folder)
