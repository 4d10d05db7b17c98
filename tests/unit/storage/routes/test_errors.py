import httpx
from fastapi import FastAPI
from pymongo.errors import AutoReconnect
from structlog.testing import capture_logs

from services.storage.routes.errors import add_error_handlers


async def test_error_of_the_database_is_logged_without_its_text_and_without_the_path() -> None:
    app = FastAPI()
    add_error_handlers(app)

    @app.get("/bulk/offers/{owner}")
    async def fail(owner: str) -> None:
        raise AutoReconnect(f"a document of {owner}")

    transport = httpx.ASGITransport(app)
    with capture_logs() as logged:
        async with httpx.AsyncClient(transport=transport, base_url="http://storage.example") as client:
            response = await client.get("/bulk/offers/device-17")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert [(each["event"], each["route"]) for each in logged] == [("database_failed", "/bulk/offers/{owner}")]
    assert "device-17" not in f"{logged}{response.text}"
