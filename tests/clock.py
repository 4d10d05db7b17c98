"""A clock that tests set."""


class Clock:
    """Returns the time in ms that a test has set."""

    def __init__(self, now_ms: int = 1_795_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms
