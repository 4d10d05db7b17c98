"""The pages of the notificationserver in a browser: axe finds nothing, and nothing scrolls sideways."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple

import httpx
import pytest
from playwright.async_api import Browser

from deploy.develop.localstack.mongo import MongoServer
from deploy.develop.localstack.ports import free_port
from deploy.develop.localstack.redis import LocalRedis
from tests.browser.test_accessibility import SCREENS, findings_of_axe, viewport
from tests.contract.notificationserver.serving import environ_of, match, process, wait_for


class NotifyPages(NamedTuple):
    """A notificationserver with devices, messages and a dead list."""

    url: str
    ref: str


class _Gone(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(410 if self.path == "/gone" else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def notify_pages(mongo_server: MongoServer, redis_server: LocalRedis) -> Iterator[NotifyPages]:
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), _Gone)
    receiver.daemon_threads = True
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    hook = f"http://127.0.0.1:{receiver.server_port}"
    environ = environ_of(mongo_server.url, "n-browser", redis_server.url, free_port())
    for name in ("NOTIFY_PASSWORD", "NOTIFY_APP_PASSWORD"):
        del environ[name]
    url = f"http://127.0.0.1:{environ['NOTIFY_PORT']}"
    with process(environ), httpx.Client(base_url=url, timeout=60.0) as http:
        wait_for(lambda: httpx.get(f"http://127.0.0.1:{environ['INTERNAL_PORT']}/readyz").is_success)
        quiet = {"time_zone": "Europe/Berlin", "quiet_from": "22:00", "quiet_to": "07:00"}
        http.post("/register", json={"device_id": "offer-device-1", "callback_url": f"{hook}/well", "locale": "de-AT"})
        http.post("/register", json={"device_id": "offer-device-2", "callback_url": f"{hook}/gone"})
        http.post("/register", json={"device_id": "d" * 80, "onesignal_id": "player-1", **quiet})
        for number in (1, 2):
            for encounter in (1, 2):
                http.post("/notify", json=match(number, match_id=f"s.o.{number}.{encounter}")).raise_for_status()
        wait_for(lambda: "callback dead" in http.get("/messages").text)
        page = http.get("/mappings", params={"q": "offer-device-2"}).text
        yield NotifyPages(url, page.partition('href="/mapping/')[2].partition('"')[0])
    receiver.shutdown()
    receiver.server_close()


def paths_of(pages: NotifyPages) -> list[str]:
    device = f"/mapping/{pages.ref}"
    return [
        *("/mappings", "/mappings?q=zzz", device, f"{device}/clone", f"/notification/{pages.ref}", "/register"),
        *("/messages", "/messages?q=zzz", "/timeline/s.o.1.1", "/timeline/s.o.1.2", "/timeline/unknown"),
        *("/dead", "/dead?q=zzz&replayed=3", f"{device}/delete"),
    ]


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_is_accessible(
    browser: Browser, notify_pages: NotifyPages, axe_source: str, scheme: Literal["light", "dark"], screen: str
) -> None:
    page = await browser.new_page(color_scheme=scheme, viewport=viewport(screen))
    for path in paths_of(notify_pages):
        await page.goto(notify_pages.url + path)
        await page.evaluate("for (const each of document.querySelectorAll('main details')) each.open = true")
        assert await findings_of_axe(page, axe_source) == [], path
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} scrolls sideways"
