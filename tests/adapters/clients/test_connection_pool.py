"""Calls over a persistent connection: time limits, broken connections."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from standfast.adapters.clients.connection_pool import ConnectionPool, Dialect
from standfast.errors import Refused, StandfastError, Unavailable
from standfast.http_client import NoAnswer, NotSent
from standfast.time_limit import BoundedCall
from tests.servers import wait_until

NOT_LONG = 0.05
LONG = 10.0


class DriverError(Exception):
    """Error of the driver."""


@dataclass(kw_only=True)
class Line:
    """A connection."""

    is_dead: bool = False
    is_ended: bool = False
    is_cut: threading.Event = field(default_factory=threading.Event)


@dataclass(kw_only=True)
class Server:
    """Server behind the connections."""

    opened: list[Line] = field(default_factory=list)
    changes: int = 0

    def connect(self, seconds: float) -> Line:
        self.opened.append(Line())
        return self.opened[-1]

    def change(self, line: Line, bounded_call: BoundedCall) -> str:
        bounded_call.begin()
        self.changes += 1
        if line.is_dead:
            raise DriverError("alice's secret")
        return "changed"


def explain(error: Exception) -> StandfastError | None:
    return Unavailable("the driver broke off") if isinstance(error, DriverError) else None


def end(line: Line) -> None:
    line.is_ended = True


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def calls(server: Server) -> Iterator[ConnectionPool[Line]]:
    calls = ConnectionPool(
        Dialect(
            connect=server.connect,
            disconnect=end,
            cut=lambda line: line.is_cut.set(),
            explain=explain,
        ),
        most_idle=2,
    )
    yield calls
    calls.close()


def raising(error: Exception) -> Callable[[Line, BoundedCall], str]:
    def do(line: Line, bounded_call: BoundedCall) -> str:
        raise error

    return do


def test_a_connection_is_used_again(calls: ConnectionPool[Line], server: Server) -> None:
    for _ in range(3):
        assert calls.run(server.change, LONG) == "changed"
    assert len(server.opened) == 1


def test_concurrent_calls_have_own_connections(calls: ConnectionPool[Line], server: Server) -> None:
    together = threading.Barrier(4)

    def do(line: Line, bounded_call: BoundedCall) -> int:
        return together.wait(LONG)

    threads = [threading.Thread(target=calls.run, args=(do, LONG)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.opened) == 4
    wait_until(lambda: sum(line.is_ended for line in server.opened) == 2, "two are ended")


def test_call_hanging_before_change_never_changes(
    calls: ConnectionPool[Line], server: Server
) -> None:
    ended = threading.Event()

    def do(line: Line, bounded_call: BoundedCall) -> str:
        line.is_cut.wait(LONG)
        try:
            return server.change(line, bounded_call)
        finally:
            ended.set()

    with pytest.raises(NotSent) as caught:
        calls.run(do, NOT_LONG)
    assert caught.value.retry_after_seconds is not None
    assert ended.wait(LONG)
    assert server.changes == 0


def test_call_hanging_after_change_is_unknown(calls: ConnectionPool[Line], server: Server) -> None:
    def do(line: Line, bounded_call: BoundedCall) -> str:
        server.change(line, bounded_call)
        line.is_cut.wait(LONG)
        raise DriverError

    with pytest.raises(NoAnswer):
        calls.run(do, NOT_LONG)
    (line,) = server.opened
    assert line.is_cut.is_set()
    wait_until(lambda: line.is_ended, "the connection is not kept")
    assert calls.run(server.change, LONG) == "changed"


def test_dead_idle_connection_costs_nothing(calls: ConnectionPool[Line], server: Server) -> None:
    def do(line: Line, bounded_call: BoundedCall) -> str:
        if line.is_dead:
            raise DriverError
        return server.change(line, bounded_call)

    calls.run(do, LONG)
    server.opened[0].is_dead = True
    assert calls.run(do, LONG) == "changed"
    assert [line.is_ended for line in server.opened] == [True, False]


def test_a_change_that_broke_is_never_repeated(calls: ConnectionPool[Line], server: Server) -> None:
    calls.run(server.change, LONG)
    server.opened[0].is_dead = True
    with pytest.raises(NoAnswer, match="the driver broke off"):
        calls.run(server.change, LONG)
    assert (server.changes, len(server.opened)) == (2, 1)


def test_early_failure_uses_own_words(calls: ConnectionPool[Line]) -> None:
    with pytest.raises(Unavailable) as caught:
        calls.run(raising(DriverError("alice's secret")), LONG)
    assert str(caught.value) == "the driver broke off"
    with pytest.raises(NotSent) as caught:
        calls.run(raising(ValueError("alice's secret")), LONG)
    assert str(caught.value) == "unexpected ValueError"
    with pytest.raises(Refused, match="as it is"):
        calls.run(raising(Refused("as it is")), LONG)


def test_threads_that_are_free_end_with_the_calls(
    calls: ConnectionPool[Line], server: Server
) -> None:
    earlier = set(threading.enumerate())
    calls.run(server.change, LONG)
    ours = {thread for thread in threading.enumerate() if thread.name == "directory-call"}
    ours -= earlier
    assert ours
    wait_until(lambda: _closed(calls, ours), "the threads have ended")


def _closed(calls: ConnectionPool[Line], threads: set[threading.Thread]) -> bool:
    calls.close()  # close again, because a call may have returned its connection meanwhile
    return not any(thread.is_alive() for thread in threads)
