"""A relay before a real server that loses, holds or cuts traffic.

- `running_relay(target)`: the target is a socket file or a loopback port; clients connect to
  `port`. With `host` it listens on another loopback address, which no certificate names.
- `rewrite` changes the server's answers, `rewrite_request` the clients' requests, and `sent` has
  all requests.
- `hold` stops the answers: requests still arrive and take effect.
- `hold_after(bytes)` stops the answers from the moment when a client sends these bytes.
- `cut_after(bytes)` ends the connections once, after a request with these bytes was forwarded;
  `garble_after(bytes, answer)` replaces every later answer by this one; `answer_for(bytes, answer)`
  answers such a request once without the server.
- `cut` ends every open connection, as a dead network or a restarted server does.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Relay:
    """A running relay."""

    def __init__(self, target: Path | int, host: str = "127.0.0.1") -> None:
        self._target = target
        self._listener = socket.create_server((host, 0))
        self.sent = b""
        self.rewrite: Callable[[bytes], bytes] = bytes
        self.rewrite_request: Callable[[bytes], bytes] = bytes
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._trap: bytes | None = None
        self._stead: tuple[bytes, bytes] | None = None
        self._before: Callable[[], None] = _nothing
        self._after: Callable[[], None] = _nothing
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self) -> None:
        """Forward no answer until `release`."""
        self._goes_on.clear()

    def hold_after(self, request: bytes) -> None:
        """Forward no answer after a client has sent these bytes."""
        self._trap, self._before, self._after = request, self._goes_on.clear, _nothing

    def cut_after(self, request: bytes) -> None:
        """End every connection after a client's bytes were forwarded."""

        def spring() -> None:
            self.cut()
            self.release()

        # Answers are held until the cut, because a fast server's answer could pass before it.
        self._trap, self._before, self._after = request, self._goes_on.clear, spring

    def answer_for(self, request: bytes, answer: bytes) -> None:
        """Answer a client's bytes once and close; the server gets nothing."""
        self._stead = (request, answer)

    def garble_after(self, request: bytes, answer: bytes) -> None:
        """Replace every answer after a client has sent these bytes."""

        def spring() -> None:
            self.rewrite = lambda _: answer

        self._trap, self._before, self._after = request, spring, _nothing

    def release(self) -> None:
        """Forward answers again."""
        self._trap = None
        self._goes_on.set()

    def cut(self) -> None:
        """End the open connections; accept new ones."""
        with self._guard:
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End everything."""
        self.release()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = self._reach()
            except OSError:
                client.close()
                continue
            with self._guard:
                self._open |= {client, server}
            for source, sink, is_answer in ((client, server, False), (server, client, True)):
                threading.Thread(
                    target=self._pass_on, args=(source, sink, is_answer), daemon=True
                ).start()

    def _answer_for(self, client: socket.socket) -> None:
        assert self._stead is not None
        answer, self._stead = self._stead[1], None
        client.sendall(answer)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass  # unread data would make the kernel discard the answer

    def _reach(self) -> socket.socket:
        if isinstance(self._target, int):
            return socket.create_connection(("127.0.0.1", self._target))
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(self._target))
        return server

    def _pass_on(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_answer:
                    self._goes_on.wait()
                    sink.sendall(self.rewrite(data))
                    continue
                self.sent += data
                if self._stead is not None and self._stead[0] in data:
                    self._answer_for(source)
                    break
                data = self.rewrite_request(data)
                is_trapped = self._trap is not None and self._trap in data
                if is_trapped:
                    self._before()
                sink.sendall(data)
                if is_trapped:
                    self._after()
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._guard:
            self._open.discard(source)
        source.close()


def _nothing() -> None:
    """Change nothing."""


@contextmanager
def running_relay(target: Path | int, *, host: str = "127.0.0.1") -> Iterator[Relay]:
    """Run a relay before a socket file or a loopback port."""
    relay = Relay(target, host)
    try:
        yield relay
    finally:
        relay.close()
