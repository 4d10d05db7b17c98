"""How many live views may be open at once, over all topics."""


class TooManyViews(Exception):  # noqa: N818 - a state, told to whoever comes
    """As many views are open as may be."""


class OpenViews:
    """Counts the views that are open."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self.count = 0

    def enter(self) -> None:
        """Count one more; `leave` it in any case. Raises TooManyViews."""
        if self.count >= self._limit:
            raise TooManyViews
        self.count += 1

    def leave(self) -> None:
        """Count one less."""
        self.count -= 1
