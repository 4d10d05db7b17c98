"""Deletions: the files of a picture stay for its readers."""

import os

from tests.contract.imageserver.conftest import Start
from tests.contract.imageserver.serving import jpeg


def test_files_are_young_before_the_picture_is_deleted(start: Start) -> None:
    """Else a sweep in between would remove old files, which readers have open."""
    server = start()
    path = server.path_of(jpeg(1))
    folder = server.files()[0].parent
    away = folder.rename(folder.with_name("away"))
    folder.write_bytes(b"")  # the times of the files cannot be set
    response = server.client.delete(path)
    assert (response.status_code, response.json()["error"]) == (503, "volume_away")
    folder.unlink()
    away.rename(folder)
    for file in server.files():
        os.utime(file, (1, 1))
    assert server.reader.get(path).status_code == 200
    assert server.client.delete(path).status_code == 204
    assert server.reader.get(path).status_code == 404
    assert all(file.stat().st_mtime > 1_000 for file in server.files())
