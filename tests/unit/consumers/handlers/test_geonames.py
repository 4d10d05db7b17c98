"""A search on a real Redis, without GeoNames."""

import contextlib
import time

import pytest

from deploy.develop.localstack.redis import LocalRedis
from services.backbone.clients import ServiceUnavailable
from services.consumers.core.places import EarthPoint, SearchPlaces
from services.consumers.handlers import geonames
from services.consumers.handlers.clients import open_clients
from services.consumers.settings import Settings
from services.consumers.store.connection import connect_actions

SEARCH = SearchPlaces("poi", EarthPoint(52.4, 13.2), EarthPoint(52.6, 13.5), (), ("#poi",))


async def test_search_does_not_occupy_its_process_while_another_one_has_the_lock(clean_redis: LocalRedis) -> None:
    settings = Settings.from_env({"ACTIONS_REDIS_URL": clean_redis.url, "GEONAMES_USER": "push"})
    async with connect_actions(settings) as redis:
        clients = await open_clients(settings, redis)
        async with contextlib.aclosing(clients), clients.places_lock():
            begun_s = time.monotonic()
            with pytest.raises(ServiceUnavailable, match="another search") as raised:
                await geonames.act(clients, SEARCH, "search.1")
            assert time.monotonic() - begun_s < 1.0
    assert raised.value.wait_s == 1.0
