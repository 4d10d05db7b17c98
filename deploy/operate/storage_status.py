"""The state of storage, from the metrics of one of its processes."""

from typing import Any, Final, NamedTuple

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from rich.text import Text

_TIMEOUT_S: Final = 3.0


class StorageStatus(NamedTuple):
    """The numbers of a process of storage. The totals begin at its start."""

    due_objects: int = 0
    """Objects that wait to be matched."""
    encounters: int = 0
    """Pairs that entered."""
    owed_encounters: int = 0
    """Pairs with encounters that are not reported yet."""
    events_sent: int = 0
    owed_events: int = 0
    """Objects with events that are not sent yet."""
    error: str = ""
    """Why the process could not be read. Empty when it responds."""

    def as_json(self) -> dict[str, Any]:
        """Return JSON values. Scripts rely on the keys."""
        return self._asdict() | {"error": self.error or None}

    def render(self) -> Text:
        """Return a line for a terminal."""
        if self.error:
            return Text(self.error, style="bold red")
        return Text(
            f"storage   {self.due_objects:,} objects are due, {self.encounters:,} encounters ({self.owed_encounters:,} "
            f"owed), {self.events_sent:,} events sent ({self.owed_events:,} owed)"
        )


async def read_storage(internal_url: str) -> StorageStatus:
    """Return the status of the process with this internal port."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session,
            session.get(f"{internal_url}/metrics", raise_for_status=True) as response,
        ):
            text = await response.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        return StorageStatus(error=f"storage at {internal_url} does not respond: {str(error) or type(error).__name__}")
    samples = {
        sample.name: int(sample.value) for family in text_string_to_metric_families(text) for sample in family.samples
    }
    return StorageStatus(
        due_objects=samples["push_storage_due_objects"],
        encounters=samples["push_storage_encounters_total"],
        owed_encounters=samples["push_storage_owed_encounters"],
        events_sent=samples["push_storage_events_sent_total"],
        owed_events=samples["push_storage_owed_events"],
    )
