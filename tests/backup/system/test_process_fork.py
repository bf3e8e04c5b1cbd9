"""Signal handlers that a forked process inherits, and those it resets."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from backup.errors import BackupError
from backup.restorer import worker_pool
from backup.restorer.worker_pool import Emit, Worker, run_in_processes
from backup.system.process_fork import fork

ENDING = (signal.SIGTERM, signal.SIGHUP)
PATIENCE_SECONDS = 60


def unwind(number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(number)


@pytest.fixture
def handled() -> Iterator[None]:
    """Return a command's handlers, which unwind it."""
    before = {number: signal.signal(number, unwind) for number in ENDING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize("number", ENDING)
def test_signal_ends_child_without_parents_cleanup(
    number: signal.Signals,
) -> None:
    child = fork()
    if not child:
        try:
            signal.pause()
        finally:
            os._exit(0)
    os.kill(child, number)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -number
    assert signal.getsignal(number) is unwind
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {*ENDING}


def test_child_ignores_signals_that_its_parent_ignores() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        child = fork()
        if not child:
            os.kill(os.getpid(), signal.SIGHUP)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("handled")
def test_terminated_worker_is_named_and_command_continues() -> None:
    @contextmanager
    def worker(emit: Emit) -> Iterator[Worker[int]]:
        def work(units: Iterator[int]) -> None:
            for _ in units:
                emit(os.getpid())
                signal.pause()

        yield work

    told = run_in_processes(worker, [1], 1)
    os.kill(next(told), signal.SIGTERM)
    with pytest.raises(BackupError, match="was killed"):
        next(told)


def test_worker_killed_within_a_message_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = os.write

    def die_half_way(descriptor: int, data: memoryview) -> int:
        write(descriptor, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    @contextmanager
    def worker(emit: Emit) -> Iterator[Worker[int]]:
        def work(_: Iterator[int]) -> None:
            monkeypatch.setattr(os, "write", die_half_way)
            emit(bytes(1000))

        yield work

    with pytest.raises(BackupError, match="was killed"):
        next(run_in_processes(worker, [1], 1))


def test_full_pipes_in_both_directions_do_not_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        worker_pool, "PIPE_BYTES", 4096
    )  # as if the limit of processes of the user is reached
    much = bytes(range(256)) * 4096

    @contextmanager
    def worker(emit: Emit) -> Iterator[Worker[bytes]]:
        def work(units: Iterator[bytes]) -> None:
            emit(much)  # before the first unit is accepted
            for unit in units:
                emit(unit)

        yield work

    signal.signal(signal.SIGALRM, unwind)
    signal.alarm(PATIENCE_SECONDS)
    try:
        told = list(run_in_processes(worker, [much[:-1], much[:-2], much[:-3]], 1))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert told == [much, much[:-1], much[:-2], much[:-3]]
