"""The scene, with a server that stands in for storage and the tracker. tests/journey plays it in a real storage."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from deploy.demo.sample import DemoSample, Point, SampleObject
from deploy.demo.scene import DemoScene
from deploy.develop.localstack.ports import LOOPBACK, free_port
from deploy.operate.send import SendCounts

SAMPLE = DemoSample(
    offers=(SampleObject("offers", "bakery", "Fresh bread", ("bread",), 500.0, (Point(52.52, 13.4),)),),
    searches=(
        SampleObject("searches", "Ada", "bread", ("bread",), 400.0, (Point(52.52, 13.4), Point(52.53, 13.4))),
        SampleObject("searches", "Bilal", "jazz", ("jazz",), 400.0, (Point(52.52, 13.4),)),
    ),
)


class Server:
    """Stores the requests. `status` is its response to a POST."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.status = 200
        self.posts: list[tuple[str, dict[str, str]]] = []
        self.events: list[tuple[str, dict[str, str]]] = []

    async def post(self, request: web.Request) -> web.Response:
        self.posts.append((request.path, await request.json()))
        return web.json_response({"_id": f"id{len(self.posts)}"}, status=self.status)

    async def get(self, request: web.Request) -> web.Response:
        self.events.append((request.path, dict(request.query)))
        return web.Response()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    port = free_port()
    server = Server(f"http://{LOOPBACK}:{port}")
    application = web.Application()
    application.router.add_post("/{path:.*}", server.post)
    application.router.add_get("/{path:.*}", server.get)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, LOOPBACK, port).start()
    yield server
    await runner.cleanup()


async def test_objects_are_posted_and_counted_by_collection(server: Server) -> None:
    async with DemoScene(server.url, server.url, sent=SendCounts(), sample=SAMPLE) as scene:
        await scene.post()
    assert [(path, document["owner"]) for path, document in server.posts] == [
        ("/offers", "bakery"),
        ("/searches", "Ada"),
        ("/searches", "Bilal"),
    ]
    assert scene.posted == {"offers": 1, "searches": 2}
    assert scene.owners == {"id1": "bakery", "id2": "Ada", "id3": "Bilal"}
    assert not scene.failures


async def test_a_fix_is_an_event(server: Server) -> None:
    sent = SendCounts()
    async with DemoScene(server.url, server.url, sent=sent, sample=SAMPLE) as scene:
        await scene.move(556.0)
    fix = {"di": "Ada", "lt": "52.524995", "lg": "13.400000", "a": "12"}
    assert server.posts == []
    assert server.events == [("/t/geo", fix)]
    assert (sent.sent, sent.acknowledged) == (1, 1)


async def test_refused_requests_are_counted_by_status(server: Server) -> None:
    server.status = 503
    async with DemoScene(server.url, server.url, sent=SendCounts(), sample=SAMPLE) as scene:
        await scene.post()
    assert scene.failures == {"HTTP 503": 3}
    assert not scene.posted


async def test_requests_without_a_response_are_counted_by_error(server: Server) -> None:
    async with DemoScene(f"http://{LOOPBACK}:9", server.url, sent=SendCounts(), sample=SAMPLE) as scene:
        await scene.post()
    assert scene.failures == {"ClientConnectorError": 3}
