import hashlib
import io
import math

import pytest
from PIL import Image

from deploy.bench.pictures import UploadRequests, encoding_of, photo_jpeg, psnr_db


@pytest.fixture(scope="module")
def jpeg() -> bytes:
    return photo_jpeg(1, 640, 480)


def encoded(image: Image.Image, **options: int) -> bytes:
    target = io.BytesIO()
    image.save(target, "JPEG", **options)
    return target.getvalue()


def test_photo_depends_on_its_seed_alone(jpeg: bytes) -> None:
    assert photo_jpeg(1, 640, 480) == jpeg
    assert photo_jpeg(2, 640, 480) != jpeg


def test_photo_takes_as_many_bits_a_pixel_as_photos_of_phones(jpeg: bytes) -> None:
    assert 1.5 < 8 * len(jpeg) / (640 * 480) < 3.0
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    webp = io.BytesIO()
    image.save(webp, "WEBP", quality=80, method=1)
    assert 0.65 < len(webp.getvalue()) / len(encoded(image, quality=85)) < 0.85


def test_each_upload_has_other_bytes_and_the_same_pixels(jpeg: bytes) -> None:
    requests = UploadRequests(jpeg, path="/assets/upload", host="here")
    bodies = []
    for _ in range(3):
        head, _, body = requests[0].partition(b"\r\n\r\n")
        assert head.startswith(b"POST /assets/upload HTTP/1.1\r\nHost: here\r\n")
        assert head.endswith(f"Content-Length: {len(body)}".encode())
        assert psnr_db(body, jpeg) == math.inf
        bodies.append(body)
    assert len({hashlib.sha256(body).digest() for body in bodies}) == 3
    assert requests.sent == 3


def test_encodings_differ_by_sides_quality_and_resolution_of_colours(jpeg: bytes) -> None:
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    encoding = encoding_of(encoded(image, quality=85, subsampling=2))
    assert (encoding.width, encoding.height, encoding.sampling) == (640, 480, 2)
    assert encoding_of(encoded(image, quality=85, optimize=1)) == encoding
    assert encoding_of(encoded(image, quality=84)).tables != encoding.tables
    assert encoding_of(encoded(image, quality=85, subsampling=0)).sampling == 0


def test_other_formats_have_no_jpeg_encoding() -> None:
    with pytest.raises(OSError, match="identify"):
        encoding_of(b"GIF89a")


def test_psnr_falls_with_the_difference(jpeg: bytes) -> None:
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    fine, coarse = (encoded(image, quality=quality) for quality in (90, 30))
    assert psnr_db(fine, jpeg) > psnr_db(coarse, jpeg) > 20
    black, grey = (encoded(Image.new("RGB", (8, 8), colour)) for colour in ("black", (255, 255, 255)))
    assert psnr_db(black, grey) == pytest.approx(0.0, abs=0.1)
