"""bench.images: pixels, whole uploads and reads of the imageserver, beside thumbor and nginx image_filter.

All servers are on one core, and one of them is busy at a time. MongoDB and the load share the other one. The volume is
a directory on the disk, below the temporary directory. Squares are equal in their sides, quality and resolution of
colours, which the bench verifies by the headers of the JPEG files.
"""

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console

from deploy.bench import report, results, wrk
from deploy.bench.images_arena import PICTURES, QUALITY, SIDE, SMALL, SMALL_PICTURES, ImagesArena, ImageServerUnderLoad
from deploy.bench.images_memory import measure_growth, parse_uploads
from deploy.bench.images_targets import ImageTarget, judge, verdict_table
from deploy.bench.pictures import UploadRequests, encoding_of, photo_jpeg, psnr_db
from deploy.bench.pixels import pixel_round
from deploy.bench.results import Round
from deploy.bench.rounds import Contender, Effort, in_turns
from deploy.develop.localstack.ports import LOOPBACK
from deploy.errors import OperatorError

SQUARES: Final = "imageserver: 3 squares"
ENGINE: Final = "thumbor: 1 square"
UPLOAD: Final = "imageserver: upload"
SQUARE: Final = "thumbor, HTTP: 1 square"
FILTERED: Final = "nginx, HTTP: 1 square"
THUMB: Final = "imageserver: thumb"
WARM: Final = "thumbor, stored: thumb"
UNCHANGED: Final = "imageserver: 304"
WARM_UNCHANGED: Final = "thumbor, stored: 304"
_UPLOAD_PATH: Final = "/assets/upload"
_LEAST_PSNR_DB: Final = 30.0
"""A square of other content has about 15 dB. Reducing by other ways leaves over 35 dB."""

_OF_PICTURES: Final = (ImageTarget("pixels", SQUARES, ENGINE, 1.3), ImageTarget("upload", UPLOAD, SQUARE, 0.4))
_OF_READS: Final = (ImageTarget("thumb", THUMB, WARM, 1.5), ImageTarget("304", UNCHANGED, WARM_UNCHANGED, 2.0))


def bench_images(effort: Effort, *, uploads: str, json_output: bool) -> int:
    """Measure pixels, uploads and reads, and the memory after `uploads` more uploads.

    Returns the exit code: 1 if an acknowledged upload is missing. Raises OperatorError.
    """
    number = parse_uploads(uploads)
    output = report.console(json_output=json_output)
    output.print(f"load of the machine before the bench: {os.getloadavg()[0]:.1f}")
    with contextlib.ExitStack() as stack:
        arena = ImagesArena(stack, output)
        _verify_equal(arena, next(iter(PICTURES)), output)
        made = {name: in_turns(_of_picture(arena, name), effort, output) for name in PICTURES}
        reads = in_turns(_of_reads(arena), effort, output)
        if number:
            growth = measure_growth(partial(arena.imageserver.upload_number, _small_uploads()), number)
            output.print(str(growth))
    output.print(f"load of the machine during the bench: {os.getloadavg()[1]:.1f}")
    tables = [results.table(f"a picture of {name}", rows) for name, rows in made.items()]
    title = f"reads of {SMALL_PICTURES} thumbs in rotation, {wrk.CONNECTIONS} connections"
    tables.append(results.table(title, reads))
    verdicts = [
        judge(target._replace(name=f"{target.name}, {name}"), rows)
        for name, rows in made.items()
        for target in _OF_PICTURES
    ]
    verdicts += [judge(target, reads) for target in _OF_READS]
    uploaded = [rows[UPLOAD] for rows in made.values()]
    ratios = {f"thumbor, {each.target.name}": each.by_rate for each in verdicts if each.by_rate is not None}
    found = replace(results.summed_up("images", uploaded[0], {}), lost=_lost(uploaded), ratios=ratios)
    return report.report(found, [*tables, verdict_table(verdicts)], output, effort, json_output=json_output)


def _lost(uploads: Sequence[Sequence[Round]]) -> int:
    return sum(each.lost for rounds in uploads for each in rounds)


def _small_uploads() -> UploadRequests:
    return UploadRequests(photo_jpeg(0, *SMALL), path=_UPLOAD_PATH, host=LOOPBACK)


def _of_picture(arena: ImagesArena, name: str) -> Mapping[str, Contender]:
    file = arena.picture(name)
    within = arena.cores.within
    requests = UploadRequests(file.read_bytes(), path=_UPLOAD_PATH, host=LOOPBACK)
    ours = [*within, sys.executable, "-m", "deploy.bench.pixels", str(file)]
    engine = [*within, arena.thumbor_python, "-m", "deploy.bench.references.thumbor_engine", str(file)]
    contenders: dict[str, Contender] = {
        SQUARES: partial(pixel_round, ours),
        ENGINE: partial(pixel_round, engine),
        UPLOAD: partial(arena.imageserver.upload, requests, arena),
        SQUARE: partial(arena.thumbor.make, _square_path(file)),
    }
    if arena.image_filter is not None:
        contenders[FILTERED] = partial(arena.image_filter.make, f"/{file.name}")
    return contenders


def _square_path(picture: Path) -> str:
    return f"/unsafe/{SIDE}x{SIDE}/{picture.name}"


def _of_reads(arena: ImagesArena) -> Mapping[str, Contender]:
    pictures, ours, warm = arena.small_pictures(), arena.imageserver, arena.warm_thumbor
    thumbs = [f"{ours.upload_one(each.read_bytes())}/thumb" for each in pictures]
    squares = [_square_path(each) for each in pictures]
    for path in squares:
        warm.get(path)  # makes the result; the next requests get it from the storage
    return {
        THUMB: partial(ours.serve, [wrk.WrkRequest(path) for path in thumbs]),
        WARM: partial(warm.serve, [wrk.WrkRequest(path) for path in squares]),
        UNCHANGED: partial(ours.serve, [_conditional(ours, path) for path in thumbs]),
        WARM_UNCHANGED: partial(warm.serve, [_conditional(warm, path) for path in squares]),
    }


def _conditional(server: ImageServerUnderLoad, path: str) -> wrk.WrkRequest:
    return wrk.WrkRequest(path, {"If-None-Match": server.get(path).etag})


def _verify_equal(arena: ImagesArena, name: str, output: Console) -> None:
    """Raise OperatorError if the squares differ in sides, quality, resolution of colours or content."""
    picture = arena.picture(name)
    ours = arena.imageserver.get(f"{arena.imageserver.upload_one(picture.read_bytes())}/thumb").body
    squares = {"thumbor": arena.thumbor.get(_square_path(picture)).body}
    if arena.image_filter is not None:
        squares["nginx image_filter"] = arena.image_filter.get(f"/{picture.name}").body
    encoding = encoding_of(ours)
    for server, square in squares.items():
        if encoding_of(square) != encoding:
            raise OperatorError(f"the square of {server} has another encoding: {encoding_of(square)}, ours {encoding}")
        likeness = psnr_db(ours, square)
        if likeness < _LEAST_PSNR_DB:
            raise OperatorError(f"the square of {server} has another content: {likeness:.1f} dB")
        output.print(
            f"thumb: {len(ours):,} bytes; {server}: {len(square):,} bytes, equal sides ({encoding.width} px),"
            f" quality ({QUALITY}, by its tables) and resolution of colours; PSNR {likeness:.1f} dB"
        )
