"""Where one request ends and the next begins is never a matter of opinion: what two readers could take in two ways is
refused, and its connection closed."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from threading import Thread

import pytest
import uvicorn
from fastapi import FastAPI

from app.serve import listen

HEAD = b"POST /login HTTP/1.1\r\nHost: testserver\r\nOrigin: http://testserver\r\n"
SECOND = b"GET /healthz HTTP/1.1\r\nHost: testserver\r\n\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nHost: testserver\r\nConnection: close\r\n\r\n"


@pytest.fixture
def port(app: FastAPI) -> Iterator[int]:
    """The service behind a real socket, read by the server that serves it in production."""
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, proxy_headers=False, ws="none"
        )
    )
    thread = Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield int(listener.getsockname()[1])
    server.should_exit = True
    thread.join()
    listener.close()


def _answers(port: int, sent: bytes) -> list[int]:
    """The status of each answer until the connection is closed."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
        link.sendall(sent)
        while part := link.recv(65_536):
            received += part
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", received)]


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello",
        b"Content-Length: +5\r\n\r\nhello",
        b"Content-Length: 5, 5\r\n\r\nhello",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\nhello\r\n0\r\n\r\n",
        b"X: a\n b\r\nContent-Length 5\r\n\r\nhello",
    ],
)
def test_a_request_of_two_lengths_is_refused_and_nothing_behind_it_is_read(port: int, sent: bytes) -> None:
    answers = _answers(port, HEAD + sent + LAST)
    assert answers[:1] == [400]
    assert 200 not in answers


def test_requests_of_one_length_are_answered_one_after_the_other(port: int) -> None:
    """The control: the refusals above are not those of a server that refuses everything."""
    body = b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\na=b"
    assert _answers(port, HEAD + body + SECOND + LAST) == [403, 200, 200]
