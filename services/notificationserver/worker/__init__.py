"""The loops of a process.

- `planner`: accepted notifications to messages and deliveries
- `merger`: messages that quiet hours have held to one message for each device
- `deliverer`: attempts of due deliveries, with slots for each host
- `results`: what is written after an attempt
- `events`: the events that notifications owe to the tracker

Reads: `notifications`, `mappings`, `messages`, `deliveries`. Writes: the same, the windows, messages, events.
Promise: each step may run twice without a second message; a kill between any two steps loses nothing.
"""

from services.notificationserver.worker.deliverer import Deliverer
from services.notificationserver.worker.events import OwedEventSender
from services.notificationserver.worker.merger import Merger
from services.notificationserver.worker.planner import Planner

__all__ = ["Deliverer", "Merger", "OwedEventSender", "Planner"]
