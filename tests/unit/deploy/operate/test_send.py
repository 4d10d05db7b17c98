import asyncio
from collections import Counter

from aiohttp import web

from deploy.operate.access_log import TrackingRequest
from deploy.operate.send import SendCounts, send


async def _collector(responses: Counter[int], port: int) -> tuple[web.AppRunner, list[web.Request]]:
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request)
        status = 503 if request.path == "/refuse" else 200
        responses[status] += 1
        return web.Response(status=status)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner, seen


async def test_each_request_is_sent_once_and_counted_by_its_result(unused_tcp_port: int) -> None:
    responses: Counter[int] = Counter()
    runner, seen = await _collector(responses, unused_tcp_port)
    try:
        counts = SendCounts()
        requests = [TrackingRequest(f"/e{number}?a=%2F&b=+", "203.0.113.7", "UA", "R") for number in range(40)]
        requests.append(TrackingRequest("/refuse", "203.0.113.7"))
        await send(requests, f"http://127.0.0.1:{unused_tcp_port}", counts=counts, connections=4)
    finally:
        await runner.cleanup()
    assert (counts.sent, counts.acknowledged, dict(counts.failures)) == (41, 40, {"HTTP 503": 1})
    assert sorted(request.raw_path for request in seen) == sorted(request.target for request in requests)
    assert {request.headers["X-Forwarded-For"] for request in seen} == {"203.0.113.7"}


async def test_send_keeps_the_rate(unused_tcp_port: int) -> None:
    runner, _ = await _collector(Counter(), unused_tcp_port)
    try:
        counts, loop = SendCounts(), asyncio.get_running_loop()
        begun = loop.time()
        url = f"http://127.0.0.1:{unused_tcp_port}"
        await send([TrackingRequest("/e", "::1")] * 50, url, counts=counts, rate=100, connections=4)
        assert 0.45 < loop.time() - begun < 3
    finally:
        await runner.cleanup()


async def test_unreachable_tracker_is_counted_as_a_failure(unused_tcp_port: int) -> None:
    counts = SendCounts()
    await send([TrackingRequest("/e", "::1")] * 3, f"http://127.0.0.1:{unused_tcp_port}", counts=counts)
    assert (counts.sent, counts.acknowledged, counts.failures.total()) == (3, 0, 3)
