"""What is wrong with a query, said so that a reader finds the place."""

from typing import Any


class BadQuery(ValueError):  # noqa: N818 - what it is; an HTTP 400, never an error of ours
    """A query that can't be answered."""

    def __init__(self, parameter: str, position: int | None, reason: str, value: str | None = None) -> None:
        """`position` counts characters of the parameter's value from 0; `value` names which of a repeated one."""
        super().__init__(f"{parameter}: {reason}")
        self.parameter = parameter
        self.position = position
        self.reason = reason
        self.value = value

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values; the keys are a promise to the page."""
        return {
            "parameter": self.parameter,
            "position": self.position,
            "reason": self.reason,
            "value": self.value,
        }
