"""The error of bytes that are no event."""


class InvalidEvent(ValueError):
    """The bytes can never become an event. A retry does not help: count them, keep them and continue."""
