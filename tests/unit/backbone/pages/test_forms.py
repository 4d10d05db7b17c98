import httpx
import pytest
from fastapi import FastAPI, Request

from services.backbone.pages.forms import read_form


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"a=1&a=2&b=x+y", {"a": ["1", "2"], "b": ["x y"]}),
        (b"a=%FF&b=", {"a": ["\ufffd"]}),
        (b"", {}),
        (b"a=" + b"x" * 98, {"a": ["x" * 98]}),
        (b"a=" + b"x" * 99, {}),
    ],
)
async def test_fields_of_a_form_are_read_up_to_a_size(body: bytes, fields: dict[str, list[str]]) -> None:
    app = FastAPI()

    @app.post("/")
    async def post(request: Request) -> dict[str, list[str]]:
        return {name: [*values] for name, values in (await read_form(request, max_bytes=100)).items()}

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client:
        assert (await client.post("/", content=body)).json() == fields
