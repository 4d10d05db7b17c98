"""Tests in a real Chromium (Debian's package) with a real kafidx. They are skipped if Chromium is not installed."""

import io
import shutil
import subprocess
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaKind
from tests.browser.stage import LocalStage

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--no-sandbox",  # containers have no user namespaces; the pages under test are our own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT_MS = 15_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"))


@pytest.fixture(scope="module")
def stack(kafka_kind: KafkaKind) -> Iterator[LocalStack]:
    """Start a stack for each module, so that it does not see the events of other tests."""
    with LocalStack(kafka=kafka_kind) as stack:
        yield stack


@pytest.fixture(scope="module")
def stage(stack: LocalStack) -> LocalStage:
    stage = LocalStage(stack)
    stack.wait_until_ready()
    return stage


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """Open a page. Fail if it raises an error or violates its Content-Security-Policy."""
    page = await browser.new_page(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    page.set_default_timeout(TIMEOUT_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(f"dialog: {dialog.message}"))
    page.on("console", lambda message: errors.append(message.text) if "Security Policy" in message.text else None)
    yield page
    assert errors == []


@pytest.fixture(scope="session")
def axe_source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the text of axe-core, which npm downloads during the test."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed; it downloads axe-core")
    folder = tmp_path_factory.mktemp("axe")
    packed = subprocess.run(
        [npm, "pack", "--silent", "axe-core@4"], cwd=folder, capture_output=True, text=True, check=True, timeout=60
    )
    archive = (folder / packed.stdout.strip().splitlines()[-1]).read_bytes()
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()
