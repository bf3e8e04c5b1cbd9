"""Speaking HTTP by hand, for what no client would send."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def connected(port: int, seconds: float = 20.0) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        yield connection


def answer_to(port: int, raw: bytes) -> bytes:
    """Send bytes on a new connection; return everything until it closes."""
    with connected(port) as connection:
        connection.sendall(raw)
        return rest_of(connection)


def rest_of(connection: socket.socket) -> bytes:
    """Return everything until the other side closes."""
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


def is_closed(connection: socket.socket) -> bool:
    """Return whether the other side closed an unused connection."""
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def status_of(answer: bytes) -> int:
    """Return the status of the first answer; 0 if there was none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0
