"""A simple live view: a Kafka consumer for each socket, and a message for each event.

`python -m deploy.bench.references.first_kafidx PORT BROKERS`. The system before Push did the same.
"""

import json
import sys
from urllib.parse import parse_qsl

import uvicorn
from aiokafka import AIOKafkaConsumer
from fastapi import FastAPI, WebSocket

from services.backbone import names


def create_app(brokers: str) -> FastAPI:
    """Return the application."""
    app = FastAPI()

    @app.websocket("/kafidx/socket")
    async def watch(socket: WebSocket) -> None:
        await socket.accept()
        consumer = AIOKafkaConsumer(names.EVENTS_TOPIC, bootstrap_servers=brokers, auto_offset_reset="latest")
        await consumer.start()
        for partition in consumer.assignment():
            await consumer.position(partition)
        await socket.send_text('{"kind":"hello"}')
        try:
            async for record in consumer:
                event_type, meta, params = record.value.decode().split(" ")
                row = {
                    "t": event_type,
                    "partition": record.partition,
                    "offset": record.offset,
                    "meta": dict(parse_qsl(meta)),
                    "params": dict(parse_qsl(params)),
                    "raw": params,
                }
                await socket.send_text(json.dumps(row))
        finally:
            await consumer.stop()

    return app


if __name__ == "__main__":
    uvicorn.run(
        create_app(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), log_level="error", ws_ping_interval=None
    )
