"""Mappings that several clients change."""

import asyncio
from functools import partial
from typing import Any

import msgspec
import pytest

from services.backbone.mongo import Database
from services.notificationserver.core.mappings import DeviceMapping
from services.notificationserver.store import MappingStore


def changed(stored: DeviceMapping | None, now_ms: int, **fields: Any) -> DeviceMapping:
    mapping = stored or DeviceMapping(device_id="d1", created_ms=now_ms, updated_ms=now_ms)
    return msgspec.structs.replace(mapping, **fields)


def made(mapping: DeviceMapping, _: DeviceMapping | None) -> DeviceMapping:
    return mapping


async def test_change_never_overwrites_a_device_that_was_deleted_and_registered_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = MappingStore(database), MappingStore(database)
    await store.change("d1", lambda stored: changed(stored, 1, callback_url="http://old.example/"))
    read = store.get

    async def read_and_be_late(device_id: str) -> DeviceMapping | None:
        monkeypatch.setattr(store, "get", read)
        before = await read(device_id)
        await other.delete("d1")
        await other.change("d1", lambda stored: changed(stored, 2, callback_url="http://new.example/"))
        return before

    monkeypatch.setattr(store, "get", read_and_be_late)
    await store.change("d1", lambda stored: changed(stored, 3, locale="de"))
    mapping = await other.get("d1")
    assert mapping is not None
    assert (mapping.callback_url, mapping.locale) == ("http://new.example/", "de")


async def test_concurrent_changes_of_a_device_all_succeed(database: Database) -> None:
    store = MappingStore(database)

    async def add(number: int) -> None:
        await store.change(
            "d1", lambda stored: changed(stored, 1, locale=f"{(stored and stored.locale) or ''}{number},")
        )

    await asyncio.gather(*map(add, range(20)))
    mapping = await store.get("d1")
    assert mapping is not None
    assert sorted(mapping.locale.rstrip(",").split(","), key=int) == [str(number) for number in range(20)]


async def test_search_finds_the_beginning_of_any_device_id(database: Database) -> None:
    store = MappingStore(database)
    for device_id in ("bread\U0001f956", "bre", "butter"):
        mapping = DeviceMapping(device_id=device_id, created_ms=1, updated_ms=1)
        await store.change(device_id, partial(made, mapping))
    found, number = await store.page("bread", skip=0, limit=10)
    assert ([each.device_id for each in found], number) == (["bread\U0001f956"], 1)
