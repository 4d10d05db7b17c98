"""Settings of storage."""

from pydantic import Field

from services.backbone.settings import EnvSettings, Seconds


class MatcherSettings(EnvSettings):
    """Settings of matching and of reporting matches."""

    match_grace_s: Seconds = Field(5.0, alias="MATCH_GRACE_S")
    """Seconds that a due object waits for the event of its change, before a matcher takes it without the event."""
    match_lease_s: Seconds = Field(10.0, ge=2.0, le=600.0, alias="MATCH_LEASE_S")
    """Seconds after which an object or an encounter is taken from a process that has died. Longer than a slice of 500
    candidates takes."""
    match_slots: int = Field(3, ge=2, le=32, alias="MATCH_SLOTS")
    """The number of objects that a process matches concurrently. One slot takes single changes only, so that no import
    and no fan-out delays them."""
    match_poll_s: Seconds = Field(0.5, le=10.0, alias="MATCH_POLL_S")
    """Seconds between two looks for due objects while there are none."""
    leave_s: Seconds = Field(120.0, alias="LEAVE_S")
    """Seconds that the fixes outside of a moving object must span, before it leaves a pair."""
    max_accuracy_m: float = Field(500.0, ge=1.0, le=100_000.0, alias="MAX_ACCURACY_M")
    """The largest accuracy radius in metres of a location fix that is matched."""
