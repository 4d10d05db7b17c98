"""kafkastore as a process between a real Redis and a real broker: the results for valid and failed entries."""

import asyncio
import time
from pathlib import Path

from deploy.develop.localstack import LocalStack
from services.backbone.events import decode_raw, encode_raw
from services.backbone.queue import EventQueue
from tests.contract.kafkastore_bench import Kafkastore, Topic, entries, raw_event, readiness, steady, until
from tests.decoding import decode_event


async def test_entries_become_events_in_the_three_field_format(
    kafkastore: Kafkastore, queue: EventQueue, events: Topic
) -> None:
    await queue.push([encode_raw(raw_event("one")), encode_raw(raw_event("two", query=b"", path=b"/x/a%20b"))])
    service = kafkastore()
    await steady(queue, produced=2)

    by_id = {dict(record.headers)["id"]: record for record in await events.records()}
    one, two = by_id[b"one"], by_id[b"two"]
    event_type, meta, params = one.value.split(b" ")
    assert (event_type, params) == (b"view", b"di=device-7&kw=flea+market")
    assert b"&ip=53950900&country=RU&city=Moscow&device=bot&bot_name=bingbot&" in meta
    assert one.key == b"device-7"
    assert dict(one.headers)["v"] == b"1"
    assert one.timestamp == decode_event(one.value).received_at_ms
    assert two.value.startswith(b"a%20b id=two&")
    assert two.value.endswith(b" -")
    assert two.key == b"53950900"

    service.wait_until_ready()
    assert readiness(service)["checks"]["geoip"] == {"ok": True, "detail": "GeoLite2-City.mmdb: GeoLite2-City"}


async def test_records_of_one_device_keep_their_order(kafkastore: Kafkastore, queue: EventQueue, events: Topic) -> None:
    batch = entries(500, query=b"di=device-9")
    await queue.push(list(batch.values()))
    kafkastore(KAFKASTORE_BATCH_EVENTS="70")
    await steady(queue, produced=500)
    assert await events.ids() == list(batch)
    assert len({record.partition for record in await events.records()}) == 1


async def test_single_entry_is_shipped_at_once(kafkastore: Kafkastore, queue: EventQueue, events: Topic) -> None:
    service = kafkastore()
    await asyncio.to_thread(service.wait_until_ready)
    await queue.push(list(entries(1).values()))  # the first entry opens the connection and reads the topic's metadata
    await steady(queue, produced=1)
    took_s = []
    for produced in range(2, 5):
        begin = time.monotonic()
        await queue.push(list(entries(1).values()))
        await steady(queue, produced=produced)
        took_s.append(time.monotonic() - begin)
    assert min(took_s) < 1.0  # a wait in the service would delay every entry; a stall of the machine delays only some
    delays = [decode_event(record.value).queue_delay_ms for record in await events.records()]
    assert min(delays[1:]) < 1000


async def test_failed_entry_goes_to_the_dead_letters_and_delays_no_other(
    kafkastore: Kafkastore, queue: EventQueue, events: Topic, dead_letters: Topic
) -> None:
    good = entries(50)
    in_future = raw_event("future", received_at_ms=2**60)
    too_large = raw_event("large", query=b"\0" * 500_000)
    endless = b"\x01" + b"x" * 2_000_000
    not_utf8 = encode_raw(raw_event("abc")).replace(b"abc", b"\xff\xfe\xfd")
    poison = [b"", b"garbage", b"\x02new version", not_utf8, encode_raw(in_future), encode_raw(too_large), endless]
    mixed = list(good.values())
    mixed[10:10] = poison
    await queue.push(mixed)
    kafkastore()
    await steady(queue, produced=50, dead=len(poison))

    assert sorted(await events.ids()) == sorted(good)
    found = await dead_letters.records()
    assert len(found) == len(poison)
    by_value = {letter.value: dict(letter.headers) for letter in found}
    assert by_value[b"garbage"]["stage"] == b"decode"
    assert by_value[b"garbage"]["reason"] == b"unknown entry version b'g'"
    assert by_value[b"garbage"]["attempt"] == b"1"
    assert abs(int(by_value[b"garbage"]["time"]) - time.time() * 1000) < 60_000
    # In undecodable bytes every text that looks like an address is masked, including the pod's address.
    masked = not_utf8.replace(b"83.149.9.216", b"83.149.9.000").replace(b"10.1.2.3", b"10.1.2.0")
    assert {b"", b"\x02new version", masked} <= set(by_value)
    [cut] = [letter for letter in found if letter.value.startswith(b"\x01xxx")]
    assert endless.startswith(cut.value)
    assert dict(cut.headers)["reason"].endswith(b"(cut from 2000001 bytes)")
    decoded = {
        decode_raw(value).id: (decode_raw(value), headers)
        for value, headers in by_value.items()
        if headers["stage"] != b"decode"
    }
    assert {event_id: headers["stage"] for event_id, (_, headers) in decoded.items()} == {
        "future": b"enrich",
        "large": b"produce",
    }
    # Its address is truncated as in the topic. Everything else is unchanged.
    assert decoded["large"][0] == raw_event(
        "large", query=too_large.query, address="83.149.9.0", received_at_ms=too_large.received_at_ms
    )


async def test_address_in_kafka_is_truncated_by_ip_mode(
    kafkastore: Kafkastore, queue: EventQueue, events: Topic, dead_letters: Topic
) -> None:
    await queue.push([encode_raw(raw_event("a", query=b"")), encode_raw(raw_event("b", received_at_ms=-1))])
    kafkastore(IP_MODE="none")
    await steady(queue, produced=1, dead=1)
    [record] = await events.records()
    assert decode_event(record.value).address == ""
    assert decode_event(record.value).location.country == "RU"
    assert record.key is None
    [letter] = await dead_letters.records()
    assert decode_raw(letter.value).address == ""


async def test_events_flow_without_a_city_database_and_readiness_reports_it(
    kafkastore: Kafkastore, queue: EventQueue, events: Topic, tmp_path: Path, local_stack: LocalStack
) -> None:
    database = tmp_path / "city.mmdb"
    service = kafkastore(GEOIP_DATABASE=str(database), KAFKASTORE_GEOIP_CHECK_S="0.2")
    await asyncio.to_thread(service.wait_until_ready)
    await queue.push([encode_raw(raw_event("before"))])
    await steady(queue, produced=1)
    assert readiness(service)["checks"]["geoip"]["detail"] == "city.mmdb: no such file, its locations are XX"
    assert "push_kafkastore_geoip_loaded 0.0" in service.metrics()

    database.symlink_to(local_stack.environment()["GEOIP_DATABASE"])

    async def loaded() -> bool:
        return "push_kafkastore_geoip_loaded 1.0" in await asyncio.to_thread(service.metrics)

    await until(loaded, "the database is loaded")
    await queue.push([encode_raw(raw_event("after"))])
    await steady(queue, produced=2)
    places = {
        event.id: event.location.country for event in map(decode_event, [r.value for r in await events.records()])
    }
    assert places == {"before": "XX", "after": "RU"}


async def test_invalid_settings_are_reported_together_without_secrets(kafkastore: Kafkastore) -> None:
    service = kafkastore(IP_MODE="some", KAFKASTORE_REDIS_URLS="secret@host", KAFKASTORE_BATCH_EVENTS="0")
    assert await asyncio.to_thread(service.process.wait, timeout_s=20.0) == 78
    printed = service.process.log_tail(40)
    assert "secret" not in printed
    for name in ("IP_MODE", "KAFKASTORE_REDIS_URLS", "KAFKASTORE_BATCH_EVENTS"):
        assert name in printed
