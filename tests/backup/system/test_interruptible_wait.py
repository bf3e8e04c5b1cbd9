"""Waits that a signal interrupts, on whatever thread it arrives."""

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from backup.system.interruptible_wait import result_of

_SOON_SECONDS = 0.05  # so that the main thread waits already
_LATE_SECONDS = 20.0


class Stopped(Exception):
    """Raised by the handler of the signal."""


@pytest.fixture
def stop_signal() -> Iterator[signal.Signals]:
    def stop(number: int, frame: object) -> None:
        raise Stopped

    earlier = signal.signal(signal.SIGUSR1, stop)
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, earlier)


@pytest.fixture
def timers() -> Iterator[list[threading.Timer]]:
    started: list[threading.Timer] = []
    yield started
    for timer in started:
        timer.cancel()
        timer.join()


def test_signal_of_another_thread_ends_the_wait(
    stop_signal: signal.Signals, timers: list[threading.Timer]
) -> None:
    future: Future[str] = Future()
    timers += [
        threading.Timer(
            _SOON_SECONDS, lambda: signal.pthread_kill(threading.get_ident(), stop_signal)
        ),
        threading.Timer(_LATE_SECONDS, future.set_result, ["too late"]),
    ]
    for timer in timers:
        timer.start()
    with pytest.raises(Stopped):
        result_of(future)
    assert not future.done()


def test_result_and_error_are_passed_on(timers: list[threading.Timer]) -> None:
    later: Future[str] = Future()
    timers.append(threading.Timer(_SOON_SECONDS, later.set_result, ["read"]))
    timers[0].start()
    assert result_of(later) == "read"
    failed: Future[str] = Future()
    failed.set_exception(TimeoutError("of the call itself"))
    with pytest.raises(TimeoutError):
        result_of(failed)
