"""A simple tracker: FastAPI, with an awaited RPUSH in each request.

`python -m deploy.bench.references.first_tracker PORT REDIS_URL`. It also serves /batch, with one RPUSH a batch.
"""

import json
import sys
import time
import uuid
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from redis.asyncio import Redis


def create_app(redis_url: str) -> FastAPI:
    """Return the application."""
    app = FastAPI()
    redis = Redis.from_url(redis_url)

    def entry(request: Request, event_type: str, params: Any) -> bytes:
        headers = request.headers
        event = {
            "id": str(uuid.uuid4()),
            "ts": time.time_ns() // 1_000_000,
            "address": request.client.host if request.client else "",
            "host": headers.get("host", ""),
            "type": event_type,
            "params": params,
            "user_agent": headers.get("user-agent", ""),
            "referrer": headers.get("referer", ""),
        }
        return json.dumps(event).encode()

    @app.post("/batch")
    async def batch(request: Request) -> dict[str, Any]:
        entries = [entry(request, item["type"], item["params"]) for item in await request.json()]
        await redis.rpush("reference:events", *entries)
        return {"status": "ok", "stored": len(entries)}

    @app.get("/{path:path}")
    async def track(path: str, request: Request) -> dict[str, str]:
        await redis.rpush("reference:events", entry(request, path.rpartition("/")[2], dict(request.query_params)))
        return {"status": "ok"}

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
