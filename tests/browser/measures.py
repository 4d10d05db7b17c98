"""Measurements inside the page, by its own clock."""

import asyncio

from playwright.async_api import Page, expect

PAUSES = 20
_PAUSED_S = 0.3

MAIN_THREAD = """
{
  const longTasks = [];
  new PerformanceObserver(list => longTasks.push(...list.getEntries().map(entry => entry.duration)))
    .observe({type: "longtask", buffered: true});
  // From the browser's timestamp of the key press to the second frame after it, when the change is painted.
  const pauses = [];
  addEventListener("keydown", event => {
    if (event.key !== "p") return;
    requestAnimationFrame(() => requestAnimationFrame(() => pauses.push(performance.now() - event.timeStamp)));
  }, true);
  let mostRows = 0;
  setInterval(() => mostRows = Math.max(mostRows, document.querySelectorAll(".row").length), 100);
  window.measured = () => ({
    long_tasks: longTasks.length,
    longest_task_ms: Math.round(Math.max(0, ...longTasks)),
    pauses: pauses.length,
    pause_slowest_ms: Math.round(Math.max(...pauses)),
    most_rows: mostRows,
    heap_mb: Math.round(performance.memory.usedJSHeapSize / 1e6),
  });
}
"""

# The time at which each drawing of the list is visible, and the number of its rows at that time (aria-rowcount includes
# the heading). A task that starts after the callbacks of a frame starts after its painting.
DRAWINGS = """
window.drawings = [];
addEventListener("DOMContentLoaded", () => {
  const grid = document.querySelector("[data-grid]");
  const painted = new MessageChannel();
  painted.port1.onmessage = ({data}) => drawings.push([Date.now(), data]);
  new MutationObserver(() => painted.port2.postMessage(Number(grid.getAttribute("aria-rowcount")) - 1))
    .observe(grid, {attributeFilter: ["aria-rowcount"]});
});
"""


async def press_pause_now_and_then(page: Page, seconds: float) -> None:
    """Pause and resume PAUSES times within `seconds`."""
    pause = page.locator("[data-pause]")
    for _ in range(PAUSES):
        await asyncio.sleep(max(0.0, seconds / PAUSES * 0.8 - _PAUSED_S))
        await page.keyboard.press("p")
        await expect(pause).to_have_text("Resume")
        await asyncio.sleep(_PAUSED_S)
        await page.keyboard.press("p")
        await expect(pause).to_have_text("Pause")
