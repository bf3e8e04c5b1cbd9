"""One connection, bounded: how many there are, and how long a request may take to arrive.

The server's own limits end a connection that is idle between requests. Who sends a byte a second,
or nothing at all, would hold one for ever without this.

Rules
- A connection beyond the limit is closed before it is read; one address may have its share only.
- From its first byte, or from the answer before it, a request must arrive whole within ten seconds.
- Who takes nothing of an answer for ten seconds is cut off. The kernel sees to that
  (`bound_answers`): of what was handed to it, uvicorn and its timers know nothing.
- Nothing that was received is logged.
"""

import asyncio
import socket

from uvicorn.protocols.http.h11_impl import H11Protocol

from standfast.console.http.client_address import Address, address_in, counted_as

MOST_CONNECTIONS = 256
MOST_PER_ADDRESS = 64
REQUEST_SECONDS = 10.0


def bound_answers(listening: socket.socket) -> None:
    """End connections of this socket whose other side takes nothing of what it is sent."""
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(REQUEST_SECONDS * 1000))


class BoundedConnection(H11Protocol):
    """What uvicorn makes for each connection."""

    _due: asyncio.TimerHandle | None = None
    _share: str = ""  # under which its address is counted; empty where it is not
    _answered: object = None  # the request that was answered last: what comes now is another

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        address = address_in(self.client[0] if self.client else "")
        if address is not None and not is_loopback_proxy(address):
            self._share = counted_as(address)
        if len(self.connections) > MOST_CONNECTIONS or self._is_too_many():
            transport.abort()
            return
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not self._answered and not self.cycle.more_body:
            self._arrived()

    def on_response_complete(self) -> None:
        self._arrived()
        self._answered = self.cycle
        if not self.transport.is_closing():
            self._begin()
        super().on_response_complete()

    def _begin(self) -> None:
        self._due = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def _arrived(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _is_too_many(self) -> bool:
        """Has this address more than its share?"""
        if not self._share:
            return False
        theirs = [getattr(other, "_share", "") for other in self.connections]
        return theirs.count(self._share) > MOST_PER_ADDRESS


def is_loopback_proxy(address: Address) -> bool:
    """Is it this machine, where a reverse proxy speaks for everybody?"""
    return address.is_loopback
