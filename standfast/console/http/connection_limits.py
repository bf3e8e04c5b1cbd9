"""Limits of connections: their number, and the time for each request.

uvicorn's own limits end only connections that are idle between requests. Without this module, a
client that sends a byte a second, or nothing, would keep a connection for ever.

Rules
- A connection beyond the limit is closed before it is read; each address has a limited share.
- A request must arrive completely within ten seconds after the connection was opened, or after the
  previous response was sent.
- The kernel disconnects a client that accepts no data of a response for ten seconds
  (`bound_answers`): uvicorn cannot observe data that it has passed to the kernel.
- Received data is never logged.
"""

import asyncio
import socket

from uvicorn.protocols.http.h11_impl import H11Protocol

from standfast.console.http.client_address import Address, address_in, rate_limit_key

MOST_CONNECTIONS = 256
MOST_PER_ADDRESS = 64
REQUEST_SECONDS = 10.0


def bound_answers(listening: socket.socket) -> None:
    """Set the time limit after which the kernel closes a stalled connection."""
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(REQUEST_SECONDS * 1000))


class BoundedConnection(H11Protocol):
    """The protocol that uvicorn creates for each connection."""

    _due: asyncio.TimerHandle | None = None
    _share: str = ""  # the address for the limit; "" if it is not counted
    _answered: object = None  # the last request that has a response; any other request is new

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        address = address_in(self.client[0] if self.client else "")
        if address is not None and not is_loopback_proxy(address):
            self._share = rate_limit_key(address)
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
        """Return whether this address has more than its share of connections."""
        if not self._share:
            return False
        theirs = [getattr(other, "_share", "") for other in self.connections]
        return theirs.count(self._share) > MOST_PER_ADDRESS


def is_loopback_proxy(address: Address) -> bool:
    """Return whether the address is this machine.

    The number of connections from this machine is not limited: a proxy on it connects for all its
    clients.
    """
    return address.is_loopback
