"""Clients that send an upload slowly, under the default limits."""

import socket
import time

import pytest

from tests.contract.imageserver.conftest import Start
from tests.contract.imageserver.serving import jpeg
from tests.contract.imageserver.test_failures import basic


@pytest.mark.slow
def test_upload_of_a_byte_a_second_is_cut_off(start: Start) -> None:
    server = start()
    head = b"POST /assets/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nAuthorization: " + basic()
    begun_s, received = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", int(server.environ["IMAGESERVER_PORT"]))) as connection:
        connection.sendall(head + b"\r\n\r\n")
        connection.settimeout(1)
        while not received:
            assert time.monotonic() - begun_s < 20
            connection.send(b"x")
            try:
                received = connection.recv(65_536)
            except TimeoutError:
                continue
    assert time.monotonic() - begun_s > 9  # each byte begins the limit of 10 s without one anew; the rate counts
    assert received.startswith(b"HTTP/1.1 408 ")
    assert list(server.scratch.glob("*/*/*")) == []
    assert server.upload(jpeg(1)).status_code == 200
