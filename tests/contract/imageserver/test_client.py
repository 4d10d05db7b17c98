"""ImageClient of the backbone, on a running imageserver."""

import hashlib
import secrets
from collections.abc import AsyncIterator

import pytest

from services.backbone.clients import ImageClient, ImageRejected, ImageUnavailable
from tests.contract.imageserver.serving import PHONE, SERVICE, ImageServer, jpeg


@pytest.fixture
async def client(server: ImageServer) -> AsyncIterator[ImageClient]:
    async with ImageClient(server.url, credentials=SERVICE, attempts=1) as client:
        yield client


async def test_picture_of_a_key_is_found_after_its_upload(client: ImageClient) -> None:
    key = secrets.token_hex(32)
    assert await client.find(key) is None
    assert await client.upload(jpeg(1), key=key) == f"/assets/images/{key}"
    assert await client.find(key) == f"/assets/images/{key}"
    assert await client.upload(jpeg(2), key=key) == f"/assets/images/{key}"


async def test_picture_without_a_key_has_the_path_of_its_digest(client: ImageClient) -> None:
    content = jpeg(3)
    assert await client.upload(content) == f"/assets/images/{hashlib.sha256(content).hexdigest()}"


async def test_broken_picture_is_rejected_for_good(client: ImageClient) -> None:
    with pytest.raises(ImageRejected):
        await client.upload(b"no picture")


@pytest.mark.parametrize("credentials", [PHONE, None])
async def test_wrong_credentials_can_be_corrected_later(
    server: ImageServer, credentials: tuple[str, str] | None
) -> None:
    async with ImageClient(server.url, credentials=credentials, attempts=1) as client:
        with pytest.raises(ImageUnavailable):
            await client.upload(jpeg(4), key=secrets.token_hex(32))


async def test_imageserver_that_is_away_is_unavailable() -> None:
    async with ImageClient("http://127.0.0.1:9", attempts=2, timeout_s=1.0) as client:
        with pytest.raises(ImageUnavailable):
            await client.find("a" * 64)
