"""The live page: it shows every event once, in order, and runs no content of an event."""

import asyncio
import csv
import io
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from playwright.async_api import Page, WebSocketRoute, expect

from deploy.develop.localstack import LocalStack
from deploy.develop.localstack.kafka import KafkaKind
from deploy.develop.localstack.ports import LOOPBACK
from deploy.develop.localstack.relay import Relay
from services.backbone import names
from services.backbone.kafka import TopicReader
from services.backbone.settings import KafkaSettings
from tests.browser.live_page import exported, numbers, open_live, rows_of, wait_for_sum
from tests.browser.stage import Stage, event, numbered

COLUMNS = {
    "t": "topic", "p": "partition", "o": "offset", "ts": "received_ms", "klag": "klag_ms", "ip": "address",
    "country": "country", "device": "device", "type": "type", "params": "params", "cut": "params_cut", "bad": "fault",
}  # fmt: skip


def in_order_by_partition(rows: list[dict[str, Any]]) -> bool:
    latest: dict[int, int] = {}
    for row in rows:
        if row["o"] <= latest.get(row["p"], -1):
            return False
        latest[row["p"]] = row["o"]
    return True


async def test_events_are_shown_in_columns_newest_first(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    await stage.send([event("q=first", "offr")], key=b"k")
    await wait_for_sum(page, "shown", 1)
    await stage.send([event("q=second", "srch")], key=b"k")
    await wait_for_sum(page, "shown", 2)
    first_row = page.locator("[data-rows] .row").first
    await expect(first_row.locator(".cell-type")).to_have_text("srch")
    await expect(first_row.locator(".cell-params")).to_have_text("q=second")
    await expect(first_row.locator(".cell-country")).to_have_text("DE")
    await expect(first_row.locator(".cell-place")).to_have_text(re.compile(r"^events/\d+/\d+$"))


async def test_events_of_a_pause_are_shown_afterwards_once_and_in_order(
    page: Page, stage: Stage, tmp_path: Path
) -> None:
    await open_live(page, stage.url)
    await stage.send(numbered(range(10)), key=b"one device")
    await wait_for_sum(page, "shown", 10)
    await page.keyboard.press("p")
    await stage.send(numbered(range(10, 310)), key=b"one device")
    await expect(page.locator("[data-held]")).to_have_text("300 new")
    await wait_for_sum(page, "shown", 10)
    await page.keyboard.press("p")
    await wait_for_sum(page, "shown", 310)
    assert numbers(await rows_of(page, tmp_path)) == list(range(310))


async def test_long_pause_shows_the_number_of_dropped_rows(page: Page, stage: Stage, tmp_path: Path) -> None:
    await open_live(page, stage.url)
    await page.keyboard.press("p")
    await stage.send(numbered(range(10_100)), key=b"one device")
    await expect(page.locator("[data-held]")).to_have_text("10,000 new, 100 dropped")
    await page.keyboard.press("p")
    await wait_for_sum(page, "shown", 10_000)
    await wait_for_sum(page, "dropped", 100)
    assert numbers(await rows_of(page, tmp_path)) == list(range(100, 10_100))


async def test_cut_socket_continues_without_a_gap_or_a_repeat(page: Page, stage: Stage, tmp_path: Path) -> None:
    async with Relay(stage.port) as relay:
        await open_live(page, f"http://{LOOPBACK}:{relay.port}")
        await stage.send(numbered(range(200)))
        await wait_for_sum(page, "shown", 200)
        relay.cut()
        await expect(page.locator(".state")).to_have_attribute("data-state", "waiting")
        await stage.send(numbered(range(200, 500)))
        relay.heal()
        await wait_for_sum(page, "shown", 500)
        await stage.send(numbered(range(500, 600)))
        await wait_for_sum(page, "shown", 600)
        rows = await rows_of(page, tmp_path)
        assert sorted(numbers(rows)) == list(range(600))
        assert in_order_by_partition(rows)


async def test_cut_socket_without_matching_rows_continues_without_a_gap(
    page: Page, stage: Stage, tmp_path: Path
) -> None:
    # The page knows its positions only from the stats, since it has no rows.
    async with Relay(stage.port) as relay:
        await open_live(page, f"http://{LOOPBACK}:{relay.port}", "?type=rare")
        await stage.send(numbered(range(100), "common"))
        await wait_for_sum(page, "seen", 100)
        relay.cut()
        await expect(page.locator(".state")).to_have_attribute("data-state", "waiting")
        await stage.send(numbered(range(8), "rare"))
        relay.heal()
        await wait_for_sum(page, "shown", 8)
        assert sorted(numbers(await rows_of(page, tmp_path))) == list(range(8))


async def test_cut_socket_during_a_pause_continues_without_a_gap(page: Page, stage: Stage, tmp_path: Path) -> None:
    async with Relay(stage.port) as relay:
        await open_live(page, f"http://{LOOPBACK}:{relay.port}")
        await page.keyboard.press("p")
        await stage.send(numbered(range(50)), key=b"one device")
        await expect(page.locator("[data-held]")).to_have_text("50 new")
        relay.cut()
        relay.heal()
        await stage.send(numbered(range(50, 300)), key=b"one device")
        await expect(page.locator("[data-held]")).to_have_text("300 new")
        await page.keyboard.press("p")
        await wait_for_sum(page, "shown", 300)
        assert numbers(await rows_of(page, tmp_path)) == list(range(300))


INNER_MARK = re.compile(r"([;\t\r\n])'(?=(?:[^\S\t\r\n]|['\"])*[=+\-@|%\uff1d\uff0b\uff0d\uff20])")
HOSTILE = '<script>window.hit=1</script><img src=x onerror="window.hit=1">\''
OVERRIDE = "\u202egnp.exe"


async def test_hostile_event_is_shown_as_text_and_runs_no_script(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    params = f"a={quote_plus(HOSTILE)}&b={quote_plus('=cmd()')}&c={quote_plus(OVERRIDE)}"
    await stage.send([event(params, HOSTILE)])
    await wait_for_sum(page, "shown", 1)
    row = page.locator("[data-rows] .row").first
    await expect(row.locator(".cell-type")).to_have_text(HOSTILE)
    await row.click()
    detail = page.locator("[data-detail]")
    for shown in (HOSTILE, "=cmd()", OVERRIDE):
        await expect(detail.locator("dd bdi").get_by_text(shown, exact=True).first).to_be_visible()
    for element in (
        row.locator(".cell-params bdi").first,
        detail.locator("dd bdi").first,
        detail.locator("[data-title]"),
    ):
        assert await element.evaluate("element => getComputedStyle(element).unicodeBidi") == "isolate"
    assert await page.evaluate("document.querySelectorAll('main script, main img').length") == 0
    assert await page.evaluate("window.hit") is None


@pytest.mark.parametrize(
    "start",
    ["a;=1", "a\t=1", "a;'=1", "=cmd()", "+1", "-1", "@SUM(A1)", "\t=1", "'=1", " =1", "\uff1d1", "'quoted'", 'a,"b"'],
)
async def test_export_can_be_restored_and_holds_no_formula(
    page: Page, stage: Stage, tmp_path: Path, start: str
) -> None:
    await open_live(page, stage.url)
    await stage.send([event("n=1&q=%2C%22", start), event("", "plain")], key=b"k")
    await wait_for_sum(page, "shown", 2)
    rows = await rows_of(page, tmp_path)
    assert rows[0]["type"] == start
    lines = list(csv.DictReader(io.StringIO(await exported(page, "csv", tmp_path), newline="")))
    for row, line in zip(rows, lines, strict=True):
        for field, column in COLUMNS.items():
            if isinstance(row.get(field), str):
                assert not re.match(r"\s*[=+\-@\uff1d]", line[column])
                for part in re.split(r"[;\t\r\n]", line[column]):
                    assert not re.match(r"\s*[=+\-@\uff1d]", part)
                assert INNER_MARK.sub(r"\1", line[column].removeprefix("'")) == row[field]
            elif row.get(field) is not None:
                assert line[column] == str(row[field]).lower()


async def test_outage_is_shown_without_opening_the_filters(page: Page, stage: Stage) -> None:
    attempts = 0

    async def refuse(socket: WebSocketRoute) -> None:
        nonlocal attempts
        attempts += 1
        socket.send(
            json.dumps({"kind": "error", "parameter": None, "position": None, "reason": "Kafka does not respond"})
        )
        await socket.close(code=1013)

    await open_live(page, stage.url)
    await page.route_web_socket(re.compile("/kafidx/socket"), refuse)
    await page.reload()
    await expect(page.locator("[data-notice]")).to_have_text("Kafka does not respond")
    await expect(page.locator("[data-filters]")).to_be_hidden()
    before = attempts
    async with asyncio.timeout(30):
        while attempts < before + 2:
            await page.wait_for_timeout(100)
    await expect(page.locator("[data-filters]")).to_be_hidden()


async def test_list_holds_few_elements_and_keeps_the_scroll_position_of_the_reader(page: Page, stage: Stage) -> None:
    await open_live(page, stage.url)
    await stage.send(numbered(range(3_000)), key=b"k")
    await wait_for_sum(page, "shown", 3_000)
    await page.keyboard.press("l")
    await page.keyboard.press("Home")
    for _ in range(6):
        await page.keyboard.press("PageDown")
    active = "document.querySelector('.row[aria-selected=true]')"
    text = await page.evaluate(f"{active}.textContent")
    top = await page.evaluate(f"{active}.getBoundingClientRect().top")
    await stage.send(numbered(range(500)), key=b"k")
    await wait_for_sum(page, "shown", 3_500)
    assert await page.evaluate(f"{active}.textContent") == text
    assert abs(await page.evaluate(f"{active}.getBoundingClientRect().top") - top) < 2
    assert await page.locator("[data-rows] .row").count() < 200


async def test_events_removed_by_retention_are_shown_as_missed(
    page: Page, stack: LocalStack, stage: Stage, kafka_kind: KafkaKind
) -> None:
    if kafka_kind == "tansu":
        pytest.skip("Tansu deletes no records")
    await stage.send(numbered(range(30)), key=b"a key of one partition")
    await open_live(page, stage.url, "?from=last:1")
    await expect(page.locator("[data-missed]")).to_be_hidden()
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.bootstrap_servers)
    await admin.start()
    # Delete the first offsets of each partition.
    async with TopicReader(KafkaSettings.from_env(stack.environment()), names.EVENTS_TOPIC) as reader:
        gone = {partition: min(7, end) for partition, end in (await reader.end_offsets()).items()}
    for partition, count in gone.items():
        deleted = {TopicPartition(names.EVENTS_TOPIC, partition): RecordsToDelete(before_offset=count)}
        await admin.delete_records(deleted)
    await admin.close()
    query = ",".join(f"{partition}:0" for partition in gone)
    await open_live(page, stage.url, f"?from=offset:{query}")
    missed = page.locator("[data-missed]")
    await expect(missed).to_be_visible()
    await expect(missed).to_have_text(str(sum(gone.values())))
    await expect(page.locator(".sums")).to_contain_text("missed")


async def test_clear_empties_the_list_and_the_stream_continues(page: Page, stage: Stage, tmp_path: Path) -> None:
    await open_live(page, stage.url)
    await stage.send(numbered(range(5)), key=b"k")
    await wait_for_sum(page, "shown", 5)
    await page.keyboard.press("c")
    await expect(page.locator("[data-rows] .row")).to_have_count(0)
    await stage.send(numbered([7]), key=b"k")
    await wait_for_sum(page, "shown", 6)
    assert numbers(await rows_of(page, tmp_path)) == [7]


async def test_restart_is_confirmed_and_shows_the_topic_from_its_first_event(page: Page, stage: Stage) -> None:
    await stage.send(numbered(range(3), "unique-to-restart"), key=b"k")
    await open_live(page, stage.url, "?type=unique-to-restart")
    dialog = page.get_by_role("dialog", name="Start from the first event?")
    for command in ("Cancel", "Start from the first event"):
        await page.get_by_text("More").click()
        await page.get_by_role("button", name="Start from the first event").click()
        await dialog.get_by_role("button", name=command).click()
        await expect(dialog).to_be_hidden()
        if command == "Cancel":
            await stage.send(numbered([3], "unique-to-restart"), key=b"k")
            await wait_for_sum(page, "shown", 1)
    await wait_for_sum(page, "shown", 4)
