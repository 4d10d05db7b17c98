"""Reads whose file fails after the status was sent."""

import os
import socket

from PIL import Image

from tests.contract.imageserver.conftest import Start
from tests.contract.imageserver.serving import encoded, wait_until


def large_picture() -> bytes:
    """Return a picture whose original does not fit into the buffers of a connection."""
    side = 1_700
    return encoded(Image.frombytes("RGBA", (side, side), os.urandom(4 * side * side)), "PNG", compress_level=1)


def test_read_that_breaks_off_closes_the_connection_and_is_counted(start: Start) -> None:
    server = start(IMAGESERVER_WORK_TIMEOUT_S="60")
    path = server.path_of(large_picture())
    assert server.metric("push_imageserver_refused_total", reason="aborted") == 0
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", int(server.environ["IMAGESERVER_PORT"])))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: image/png\r\n\r\n".encode())
        received = connection.recv(65_536)
        assert received.startswith(b"HTTP/1.1 200 ")
        for file in server.files():
            file.unlink()
        size = len(received)
        try:
            while piece := connection.recv(65_536):
                size += len(piece)
        except ConnectionResetError:
            pass
    expected = int(received.split(b"content-length: ")[1].split(b"\r")[0])
    assert expected > 6_000_000
    assert size < expected
    wait_until(lambda: server.metric("push_imageserver_refused_total", reason="aborted") == 1)
    log = server.log.read_text()
    assert "read_aborted" in log
    assert "Traceback" not in log
    assert '"level":"error"' not in log.replace(" ", "")
