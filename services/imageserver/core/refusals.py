"""The reasons for which an upload or a read is refused: for each a status, one code and one sentence."""

import enum
from typing import Final


class RefusalReason(enum.Enum):
    """A reason: its status, its code, and its sentence. `{...}` are fields of `PictureLimits`."""

    TOO_MANY_BYTES = 413, "too_many_bytes", "The upload has more than {max_bytes} bytes."
    TOO_MANY_PIXELS = 413, "too_many_pixels", "The picture has too many pixels. Reduce it to {safe_pixels} pixels."
    TOO_MANY_FRAMES = 413, "too_many_frames", "The animation has more than {max_frames} frames."
    UNSUPPORTED_TYPE = 415, "unsupported_type", "The upload is not a JPEG, PNG, GIF, WebP or AVIF picture."
    BROKEN = 422, "broken", "The picture is damaged and cannot be read."
    TOO_MUCH_WORK = 422, "too_much_work", "The picture takes too much time or memory to read."
    NO_FILE = 422, "no_file", "The form is malformed or cut off, has no field `file`, or over 65,536 bytes besides it."
    INVALID_KEY = 422, "invalid_key", "A key has 64 hexadecimal digits."
    TOO_SLOW = 408, "too_slow", "The upload arrived too slowly."
    QUEUE_FULL = 429, "queue_full", "Too many pictures are in work. Try again later."
    VOLUME_AWAY = 503, "volume_away", "The volume with the files does not respond. Try again later."
    VOLUME_FULL = 507, "volume_full", "The volume with the files is full."

    def __init__(self, status: int, code: str, sentence: str) -> None:
        self.status = status
        self.code = code
        self.sentence = sentence

    @property
    def retry_after_s(self) -> int | None:
        """Seconds after which a client may try again; None if that does not help."""
        return _RETRY_AFTER_S.get(self)


_RETRY_AFTER_S: Final = {RefusalReason.QUEUE_FULL: 1, RefusalReason.VOLUME_AWAY: 5, RefusalReason.VOLUME_FULL: 60}


class ImageRefused(Exception):
    """An upload or a read is refused for a reason."""

    def __init__(self, reason: RefusalReason) -> None:
        super().__init__(reason.code)
        self.reason = reason
