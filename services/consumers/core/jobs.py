"""The plans of the periodic jobs."""

from typing import Final

from services.backbone.schedule.plan import JobPlan

EXPIRE_DEAD_ACTIONS: Final = JobPlan(
    "expire_dead_actions",
    "17 3 * * *",
    "Deletes actions and invalid events that have been in the dead list for more than ACTIONS_DEAD_DAYS.",
)
JOBS: Final = (EXPIRE_DEAD_ACTIONS,)
