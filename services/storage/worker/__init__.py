"""Matching: takes due objects, decides their pairs, and reports the encounters.

- `matcher`: the loops that claim due objects, and `match_now` for one object
- `matching`: one object: candidates, decisions, pairs that end, progress
- `pair_writer`: decisions to stored states, and the second decision after a race
- `notifier`: the loop that reports encounters to the notificationserver
- `events`: the loop that sends the events of changes to the tracker

Reads: `offers`, `searches` and `pairs`. Writes: `pairs`, the due marks, and notifications.
Promise: each change that can alter a match is matched at least once after it; each encounter is reported at least once.
"""

from services.storage.worker.events import EventSender
from services.storage.worker.matcher import Matcher
from services.storage.worker.notifier import Notifier

__all__ = ["EventSender", "Matcher", "Notifier"]
