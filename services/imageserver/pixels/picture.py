"""The work on one upload in a worker process: check it, decode it, and write the files of an asset.

Nothing of the uploaded bytes gets into a file: each is encoded from pixels, and has no metadata. So a position, a
second format inside the first, or data after its end cannot reach a reader.
"""

import io
import resource
import signal
import warnings
from pathlib import Path
from typing import Any, Final, NamedTuple

from PIL import AvifImagePlugin, Image

from services.imageserver.core.headers import PictureFormat, PictureHeader, read_header
from services.imageserver.core.limits import PictureLimits, check_decoded, check_header
from services.imageserver.core.refusals import RefusalReason
from services.imageserver.core.sizes import BOXES, ImageType, SizeName, centre_square, fitted
from services.imageserver.pixels.colours import normalise_mode, to_srgb

_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that turns a picture upright, by its EXIF orientation."""
_ENCODERS: Final[dict[ImageType, tuple[str, dict[str, Any]]]] = {
    "jpg": ("JPEG", {"quality": 85}),
    "png": ("PNG", {"compress_level": 3}),
    # Method 0 takes less than a third of the time of method 4 and leaves as little error, in larger files (README).
    "webp": ("WEBP", {"quality": 80, "method": 0}),
}
_MEGABYTE: Final = 1_000_000


class Picture(NamedTuple):
    """The files that were made of an upload."""

    format: PictureFormat
    """The format of the upload."""
    width: int
    height: int
    """The sides of the original as it was written."""
    files: dict[SizeName, dict[ImageType, int]]
    """The bytes of each file. Its path is `file_of`."""


def file_of(directory: Path, size: SizeName, image_type: ImageType) -> Path:
    """Return the path of a file that `make_files` writes."""
    return directory / f"{size}.{image_type}"


def limit_process(extra_mb: int) -> None:
    """Limit the memory of this process to what it has now and `extra_mb`. A worker calls it at its start."""
    # A handler of Python runs only after the call of a decoder. pebble sets one, and sends SIGKILL 3 s after SIGTERM.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + extra_mb * _MEGABYTE
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    Image.MAX_IMAGE_PIXELS = None  # `check_header` refuses; Pillow only warns up to twice its limit
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the pool decides how many cores are used
    warnings.simplefilter("ignore")  # Pillow warns of broken metadata, which is not used


def make_files(source: str, directory: str, limits: PictureLimits) -> Picture | RefusalReason:
    """Write the files of an asset to `directory`, which exists. Return them, or why the upload is refused."""
    try:
        decoded = decode(Path(source).read_bytes(), limits)
        if isinstance(decoded, RefusalReason):
            return decoded
        # Nothing refers to the decoded picture and its decoder from here on, so that the encoders have their memory.
        decoded = _reduced(decoded)
        return _write(decoded, Path(directory))
    except MemoryError:
        return RefusalReason.TOO_MUCH_WORK


class DecodedPicture(NamedTuple):
    """An upload that was decoded. It is in the colours, and as upright, as it was uploaded."""

    format: PictureFormat
    image: Image.Image
    profile: object
    orientation: int


def decode(data: bytes, limits: PictureLimits) -> DecodedPicture | RefusalReason:
    """Check and decode the bytes of an upload. Return the picture, or why it is refused. Raises MemoryError."""
    header = read_header(data)
    if header is None:
        return RefusalReason.UNSUPPORTED_TYPE
    # The sides of an AVIF picture are known when it is open, which allocates no pixels.
    if header.format != "AVIF" and (reason := check_header(header, limits)) is not None:
        return reason
    try:
        image = Image.open(io.BytesIO(data), formats=[header.format])
        if (reason := check_header(_known_by_pillow(header, image), limits)) is not None:
            return reason
        image.draft(None, fitted(*image.size))  # None keeps the mode; only JPEG has a draft
        if (reason := check_decoded(header.format, *image.size)) is not None:
            return reason
        image.load()
        return DecodedPicture(header.format, normalise_mode(image), image.info.get("icc_profile"), _orientation(image))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - on broken data Pillow raises OSError, SyntaxError, ValueError, struct.error, ...
        return RefusalReason.BROKEN


def _known_by_pillow(header: PictureHeader, image: Image.Image) -> PictureHeader:
    """Return the header with the sides that Pillow reads, and its frames where it does not read them all to count."""
    frames = header.frames if header.format in ("GIF", "JPEG") else getattr(image, "n_frames", 1)
    return header._replace(width=image.width, height=image.height, frames=frames)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - as above; broken metadata is no reason to refuse a picture
        return 1


def _reduced(decoded: DecodedPicture) -> DecodedPicture:
    image, size = decoded.image, fitted(*decoded.image.size)
    if size == image.size:  # `resize` would copy it
        return decoded
    # Lanczos takes a third more time, and differs by 50 dB, which is not visible.
    return decoded._replace(image=image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0))


def _write(decoded: DecodedPicture, directory: Path) -> Picture:
    image = to_srgb(decoded.image, decoded.profile)
    if decoded.orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[decoded.orientation])
    width, height = image.size
    types: tuple[ImageType, ...] = ("png", "webp") if image.mode == "RGBA" else ("jpg", "webp")
    original = _save(image, directory, "original", types)
    return Picture(decoded.format, width, height, {"original": original, **write_squares(image, directory, types)})


def write_squares(
    image: Image.Image, directory: Path, types: tuple[ImageType, ...]
) -> dict[SizeName, dict[ImageType, int]]:
    """Write the square sizes of a picture, which is upright and in sRGB. Return the bytes of each file."""
    files: dict[SizeName, dict[ImageType, int]] = {}
    for size, side in BOXES.items():
        # From the next larger size: a square is cropped once, and reduced or enlarged to its sides.
        square = centre_square(*image.size)
        image = image.resize((side, side), Image.Resampling.LANCZOS, box=square, reducing_gap=2.0)
        files[size] = _save(image, directory, size, types)
    return files


def _save(image: Image.Image, directory: Path, size: SizeName, types: tuple[ImageType, ...]) -> dict[ImageType, int]:
    image.info = {}  # encoders take comments, profiles and resolutions from here
    written: dict[ImageType, int] = {}
    for image_type in types:
        path = file_of(directory, size, image_type)
        encoder, options = _ENCODERS[image_type]
        image.save(path, encoder, **options)
        written[image_type] = path.stat().st_size
    return written
