"""Debian's nginx and haproxy before one tracker. Requests of all clients share the proxy's connections to it."""

import os
import shutil
from pathlib import Path

import pytest

from deploy.develop.localstack.ports import LOOPBACK, free_port, is_listening
from deploy.develop.localstack.processes import LocalProcess

_START_S = 10

# As services/tracker/README.md demands, a proxy removes each header that it does not set. It forwards a body while the
# body arrives.
_NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream tracker {{
        server {tracker};
        keepalive 1;
    }}
    server {{
        listen {address};
        server_name proxy.example; # the value of $host for a request without Host
        location / {{
            proxy_pass http://tracker;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_ignore_client_abort on; # a client may close its side after its last request
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Push-IP "";
            proxy_set_header X-Real-IP "";
            proxy_set_header Forwarded "";
        }}
    }}
}}
"""

_HAPROXY = """
global
    nbthread 1
defaults
    mode http
    timeout connect 2s
    timeout client 5s
    timeout server 5s
    http-reuse always
frontend public
    bind {address}
    http-request set-header X-Forwarded-For %[src]
    http-request del-header X-Push-IP
    http-request del-header X-Real-IP
    http-request del-header Forwarded
    default_backend tracker
backend tracker
    server tracker {tracker}
"""


class Proxy(LocalProcess):
    """A proxy before a tracker. Skips the test when the proxy's program is not installed."""

    def __init__(self, name: str, tracker_port: int, folder: Path) -> None:
        binary = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if binary is None:
            pytest.skip(f"needs Debian's {name}")
        self.port = free_port()
        configuration = folder / f"{name}.conf"
        text = {"nginx": _NGINX, "haproxy": _HAPROXY}[name]
        address, tracker = f"{LOOPBACK}:{self.port}", f"{LOOPBACK}:{tracker_port}"
        configuration.write_text(text.format(folder=folder, address=address, tracker=tracker))
        arguments = {
            "nginx": ["-c", str(configuration), "-e", str(folder / "error.log")],
            "haproxy": ["-db", "-f", str(configuration)],
        }[name]
        super().__init__(name, [binary, *arguments], log=folder / f"{name}.log", env=os.environ, cwd=folder)

    def open(self) -> None:
        """Start the proxy and wait until it listens."""
        self.start()
        self.wait_until(lambda: is_listening(self.port), timeout_s=_START_S)
