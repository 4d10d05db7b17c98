"""Uploads that arrive as a form or as a body, in pieces of any size and at any rate."""

import asyncio
import itertools
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from fastapi import Request
from starlette.types import Message

from services.imageserver.core.refusals import ImageRefused, RefusalReason
from services.imageserver.routes.receiving import receive
from services.imageserver.settings import Settings

PICTURE = bytes(range(256)) * 40
FORM = "multipart/form-data; boundary=x"


def form(*parts: tuple[str, bytes], end: bytes = b"--x--\r\n") -> bytes:
    heads = (f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() for name, _ in parts)
    return b"".join(head + content + b"\r\n" for head, (_, content) in zip(heads, parts, strict=True)) + end


def request(pieces: Iterable[bytes], content_type: str, pause_s: float = 0.0) -> Request:
    rest = iter(pieces)

    async def next_message() -> Message:
        await asyncio.sleep(pause_s)
        piece = next(rest, None)
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    return Request({"type": "http", "headers": [(b"content-type", content_type.encode())]}, next_message)


async def received(directory: Path, body: bytes, *, content_type: str = FORM, piece: int = 1_000) -> bytes:
    pieces = (body[start : start + piece] for start in range(0, len(body), piece))
    found = await receive(request(pieces, content_type), directory / "upload", Settings.from_env({}))
    content = found.path.read_bytes()
    assert found.size == len(content)
    return content


async def reason(directory: Path, body: bytes) -> RefusalReason:
    with pytest.raises(ImageRefused) as refused:
        await received(directory, body)
    return refused.value.reason


@pytest.mark.parametrize("piece", [1, 7, 100_000])
async def test_file_of_a_form_arrives_whole_in_pieces_of_any_size(tmp_path: Path, piece: int) -> None:
    body = form(("other", b"1"), ("file", PICTURE), ("more", b"2"))
    assert await received(tmp_path, body, piece=piece) == PICTURE


async def test_closing_boundary_needs_no_line_break(tmp_path: Path) -> None:
    assert await received(tmp_path, form(("file", PICTURE), end=b"--x--")) == PICTURE


async def test_body_of_another_type_is_the_file(tmp_path: Path) -> None:
    assert await received(tmp_path, PICTURE, content_type="image/jpeg") == PICTURE


async def test_form_is_refused_when_it_is_cut_off(tmp_path: Path) -> None:
    whole = form(("file", PICTURE), ("more", b"2"), end=b"--x--")
    for end in (*range(0, len(whole), 511), len(whole) - 1):
        assert await reason(tmp_path, whole[:end]) is RefusalReason.NO_FILE


async def test_form_is_refused_when_its_other_fields_are_large(tmp_path: Path) -> None:
    assert await received(tmp_path, form(("other", bytes(60_000)), ("file", PICTURE))) == PICTURE
    for parts in ([("other", bytes(66_000)), ("file", PICTURE)], [("file", PICTURE), ("other", bytes(66_000))]):
        assert await reason(tmp_path, form(*parts)) is RefusalReason.NO_FILE


async def test_upload_is_cut_off_after_its_time_limit_at_any_rate(tmp_path: Path) -> None:
    settings = Settings.from_env({"IMAGESERVER_UPLOAD_TIMEOUT_S": "0.5"})
    begun_s = time.monotonic()
    with pytest.raises(ImageRefused) as refused:
        await receive(request(itertools.repeat(b"0123456789"), "image/jpeg", 0.01), tmp_path / "upload", settings)
    assert refused.value.reason is RefusalReason.TOO_SLOW
    assert 0.4 < time.monotonic() - begun_s < 2
