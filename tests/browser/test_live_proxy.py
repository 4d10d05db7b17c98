"""The live page behind nginx: it names the cause when the proxy does not pass the host name on."""

import os
import shutil
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from deploy.develop.localstack.ports import LOOPBACK, free_port, is_listening
from deploy.develop.localstack.processes import LocalProcess
from tests.browser.live_page import open_live
from tests.browser.stage import Stage

_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {address};
        location / {{
            proxy_pass http://{kafidx};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            {host}
        }}
    }}
}}
"""
PASS_HOST = "proxy_set_header Host $http_host;"


def nginx(kafidx_port: int, folder: Path, *, host: str) -> tuple[LocalProcess, str]:
    """Return an nginx in front of kafidx, and the host name of the proxy. `host` is the line that sets the header."""
    binary = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if binary is None:
        pytest.skip("needs Debian's nginx")
    port = free_port()
    address = f"{LOOPBACK}:{port}"
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(folder=folder, address=address, kafidx=f"{LOOPBACK}:{kafidx_port}", host=host)
    )
    command = [binary, "-c", str(configuration), "-e", str(folder / "error.log")]
    proxy = LocalProcess("nginx", command, log=folder / "nginx.log", env=os.environ, cwd=folder)
    proxy.start()
    proxy.wait_until(lambda: is_listening(port), timeout_s=10)
    return proxy, address


async def test_refused_socket_names_the_host_header_when_the_proxy_changes_it(
    page: Page, stage: Stage, tmp_path: Path
) -> None:
    proxy, address = nginx(stage.port, tmp_path, host="")
    try:
        await page.goto(f"http://{address}/kafidx")
        notice = page.locator("[data-host-notice]")
        await expect(notice).to_be_visible()
        await expect(notice).to_contain_text(f"received the host name {LOOPBACK}:{stage.port}")
        await expect(notice).to_contain_text(f"the browser uses {address}")
        await expect(notice).to_contain_text(PASS_HOST)
        await expect(page.locator(".state")).to_have_attribute("data-state", "waiting")
    finally:
        proxy.stop()


async def test_socket_opens_when_the_proxy_passes_the_host_name_on(page: Page, stage: Stage, tmp_path: Path) -> None:
    proxy, address = nginx(stage.port, tmp_path, host=PASS_HOST)
    try:
        await open_live(page, f"http://{address}")
        await expect(page.locator("[data-host-notice]")).to_be_hidden()
    finally:
        proxy.stop()
    # The page was connected before, so the cause is another one.
    await expect(page.locator(".state")).to_have_attribute("data-state", "waiting")
    await expect(page.locator("[data-host-notice]")).to_be_hidden()
