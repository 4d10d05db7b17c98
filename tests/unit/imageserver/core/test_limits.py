import pytest

from services.imageserver.core.headers import PictureHeader
from services.imageserver.core.limits import PictureLimits, check_decoded, check_header, sentence
from services.imageserver.core.refusals import RefusalReason

LIMITS = PictureLimits(max_bytes=20_000_000, max_pixels=50_000_000, max_frames=1_000)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (PictureHeader("JPEG", 8_000, 6_000), None),
        (PictureHeader("JPEG", 8_000, 6_251), RefusalReason.TOO_MANY_PIXELS),
        (PictureHeader("PNG", 5_000, 5_000), None),
        (PictureHeader("PNG", 5_000, 5_001), RefusalReason.TOO_MANY_PIXELS),
        (PictureHeader("WEBP", 4_000, 3_501), RefusalReason.TOO_MANY_PIXELS),
        (PictureHeader("GIF", 10, 10, frames=1_000), None),
        (PictureHeader("GIF", 10, 10, frames=1_001), RefusalReason.TOO_MANY_FRAMES),
        (PictureHeader("PNG", 0, 10), RefusalReason.BROKEN),
        (PictureHeader("JPEG", 7_000, 5_000, scans=10, coefficient_bytes=105_000_000), None),
        (PictureHeader("JPEG", 7_000, 5_000, coefficient_bytes=210_000_000), None),
        (PictureHeader("JPEG", 7_000, 5_000, scans=2, coefficient_bytes=210_000_000), RefusalReason.TOO_MANY_PIXELS),
        (PictureHeader("JPEG", 2_000, 2_000, scans=101), RefusalReason.TOO_MUCH_WORK),
        (PictureHeader("JPEG", 64, 64, scans=201), RefusalReason.TOO_MUCH_WORK),
    ],
)
def test_header_is_checked_before_decoding(header: PictureHeader, reason: RefusalReason | None) -> None:
    assert check_header(header, LIMITS) is reason


def test_pixels_are_checked_again_after_draft_mode() -> None:
    assert check_decoded("JPEG", 4_000, 3_000) is None
    assert check_decoded("JPEG", 8_000, 6_000) is RefusalReason.TOO_MANY_PIXELS


def test_sentence_has_the_limits() -> None:
    assert sentence(RefusalReason.TOO_MANY_BYTES, LIMITS) == "The upload has more than 20,000,000 bytes."
    assert "14,000,000 pixels" in sentence(RefusalReason.TOO_MANY_PIXELS, LIMITS)
    for reason in RefusalReason:
        assert "{" not in sentence(reason, LIMITS)
