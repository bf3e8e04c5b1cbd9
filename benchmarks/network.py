"""Proxy on loopback that delays traffic and counts requests.

The delay is that of a distant server.

- Each byte waits half a round trip in its direction, and a new connection waits a whole round trip,
  as for TCP's handshake. There is no bandwidth limit, no loss and no slow start: the proxy measures
  only how many times a program waits for an answer before its next request.
- Requests are counted by kind as they pass; nothing in them is changed, so signatures stay valid.
- The number of calls in series is the longest chain in which each call began after the answer to
  the call before. A busy machine changes the duration of the calls, but not this number.
"""

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_PIECE_BYTES = 1 << 18
_PIECES_UNDER_WAY = 256
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_KINDS = (
    ("retention", re.compile(r"[?&]retention\b")),
    ("bucket", re.compile(r"[?&](versioning|object-lock|location)\b")),
    ("list", re.compile(r"[?&](versions|list-type|prefix)\b")),
)


@dataclass(kw_only=True)
class Network:
    """The delaying proxy; `round_trip_seconds` may change at any time."""

    round_trip_seconds: float = 0.0
    port: int = 0
    requests: Counter[str] = field(default_factory=Counter)  # by kind: "GET", "GET list"
    connections: int = 0
    spans: list[tuple[float, float]] = field(default_factory=list)  # times of request and answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def forget(self) -> None:
        """Reset all counts."""
        self.requests.clear()
        self.spans.clear()
        self.connections = 0

    def in_series(self) -> int:
        """Return the length of the longest chain of dependent requests.

        In a chain, each request was sent after the answer to the previous request.
        """
        count, last = 0, 0.0
        for asked, answered in sorted(self.spans, key=lambda span: span[1]):
            if asked >= last:
                count, last = count + 1, answered
        return count


@contextmanager
def running_network(target_port: int) -> Iterator[Network]:
    """Run the proxy of a loopback port until the block ends."""
    network = Network()
    loop = asyncio.new_event_loop()
    is_up = threading.Event()

    async def serve() -> None:
        async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            network.connections += 1
            await _connect(network, target_port, reader, writer)

        server = await asyncio.start_server(meet, "127.0.0.1", 0, limit=_PIECE_BYTES)
        network.port = server.sockets[0].getsockname()[1]
        is_up.set()
        async with server:
            with suppress(asyncio.CancelledError):
                await server.serve_forever()

    def run() -> None:
        asyncio.set_event_loop(loop)
        task = loop.create_task(serve())
        network_end.append(lambda: loop.call_soon_threadsafe(task.cancel))
        loop.run_until_complete(task)
        rest = asyncio.all_tasks(loop)
        for task in rest:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
        loop.close()

    network_end: list[Callable[[], object]] = []
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    is_up.wait(30)
    try:
        yield network
    finally:
        network_end[0]()
        thread.join(30)


async def _connect(
    network: Network, port: int, near: asyncio.StreamReader, near_out: asyncio.StreamWriter
) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time() + network.round_trip_seconds  # when a distant server would accept
    far, far_out = await asyncio.open_connection("127.0.0.1", port, limit=_PIECE_BYTES)
    requests = _Requests(network)
    ends = [
        loop.create_task(_pass_on(network, near, far_out, begun, sees=requests.asked)),
        loop.create_task(_pass_on(network, far, near_out, begun, on_answer=requests.answered)),
    ]
    with suppress(asyncio.CancelledError):
        await asyncio.wait(ends, return_when=asyncio.ALL_COMPLETED)
    for task in ends:
        task.cancel()
    for out in (near_out, far_out):
        out.close()


async def _pass_on(
    network: Network,
    source: asyncio.StreamReader,
    sink: asyncio.StreamWriter,
    begun: float,
    *,
    sees: Callable[[float, bytes], None] | None = None,
    on_answer: Callable[[float], None] | None = None,
) -> None:
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_PIECES_UNDER_WAY)

    async def take() -> None:
        data = b"."
        while data:
            try:
                data = await source.read(_PIECE_BYTES)
            except OSError:
                data = b""
            left = max(loop.time(), begun)
            if sees is not None and data:
                sees(loop.time(), data)
            await under_way.put((left + network.round_trip_seconds / 2, data))

    taking = loop.create_task(take())
    try:
        while True:
            due, data = await under_way.get()
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            if not data:
                break
            sink.write(data)
            if on_answer is not None:
                on_answer(loop.time())
            await sink.drain()
    except OSError:
        pass
    finally:
        taking.cancel()
        with suppress(OSError, RuntimeError):
            sink.write_eof()


class _Requests:
    """Counter of the requests of one connection, with the times of answers."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._head = b""
        self._body_left = 0
        self._waiting: list[float] = []

    def asked(self, moment: float, data: bytes) -> None:
        """Record a request of the client."""
        while data:
            if self._body_left:
                passed = min(self._body_left, len(data))
                self._body_left -= passed
                data = data[passed:]
                continue
            head, end, data = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                self._head = head
                return
            self._head = b""
            method, path, *_ = head.split(b" ", 2)
            self._network.requests[_kind(method.decode(), path.decode())] += 1
            self._waiting.append(moment)
            found = _LENGTH.search(head)
            self._body_left = int(found[1]) if found else 0

    def answered(self, moment: float) -> None:
        """Record the first bytes of an answer."""
        self._network.spans += [(asked, moment) for asked in self._waiting]
        self._waiting.clear()


def _kind(method: str, path: str) -> str:
    for kind, pattern in _KINDS:
        if pattern.search(path):
            return f"{method} {kind}"
    return method
