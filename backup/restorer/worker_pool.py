"""Lanes: one kind of work done by several at once, in processes where that is safe or in threads.

- Units are handed out one by one, in order, to whoever asks; so a slow one holds up no other.
- A worker is given all its units as one stream: it may ask for the next before it is done with the
  one in hand, so that what it reads ahead need not run dry between them.
- Processes that are as many as there are processors keep to one each.  Left to itself the system
  now and then has two of them share one while another has nothing to do: 5 to 10 % of a restore.
- A process is forked only while this one has a single thread: a fork copies no other thread, and
  what such a thread had locked would stay locked.  Threads do the same where Python is not what is
  waited for: a store across a network.
- What a worker raises ends the whole and is raised here.  A worker that dies without a word is an
  error too.  A worker whose parent is gone ends with its unit.
"""

import os
import pickle
import queue
import select
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from typing import Any, TypeVar

from backup.errors import BackupError
from backup.restorer.pipe_messages import End, open_message_pipe
from backup.system.process_fork import fork

_AHEAD = 1  # units that lie ready for a worker, so that it never waits for us

U = TypeVar("U")
Emit = Callable[[Any], None]
Worker = Callable[[Iterator[U]], None]
WorkerFactory = Callable[[Emit], AbstractContextManager[Worker[U]]]


def in_processes(make: WorkerFactory[U], units: Iterable[U], lanes: int) -> Iterator[Any]:
    """Work units off in forked processes; gives what the workers emit, as it comes.

    A worker made by `make` lives in its process; what it emits is pickled.
    """
    rest = iter(units)
    pipes: list[End] = []
    pids: list[int] = []
    processors = os.sched_getaffinity(0)
    own = sorted(processors) if len(processors) == lanes else [None] * lanes
    try:
        for processor in own:
            ours, theirs = open_message_pipe()
            pipes.append(ours)
            with closing(theirs):
                pid = fork()
                if not pid:
                    _child(make, theirs, pipes, processor)
            pids.append(pid)
        working = {pipe.reading: pipe for pipe in pipes}
        taking = {pipe.writing: pipe for pipe in pipes}
        listening = select.poll()
        for number in working:
            listening.register(number, select.POLLIN)
        for pipe in pipes * _AHEAD:
            _hand_out(pipe, rest, listening)
        while working:
            for number, _ in listening.poll():
                if number in taking:
                    _go_on(taking[number], listening)
                    continue
                kind, value = _received(working[number])
                if kind == "next":
                    _hand_out(working[number], rest, listening)
                elif kind == "end":
                    listening.unregister(number)
                    del working[number]
                elif kind == "raise":
                    raise value
                else:
                    yield value
    finally:
        for pipe in pipes:
            pipe.close()
        for pid in pids:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def in_threads(make: WorkerFactory[U], units: Iterable[U], lanes: int) -> Iterator[Any]:
    """The same in threads of this process."""
    rest = iter(units)
    guard = threading.Lock()
    said: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=64)
    stopped = threading.Event()

    def emit(value: Any) -> None:
        said.put(("say", value))

    def handed_out() -> Iterator[U]:
        while not stopped.is_set():
            with guard:
                unit = next(rest, None)
            if unit is None:
                return
            yield unit

    def run() -> None:
        try:
            with make(emit) as work:
                work(handed_out())
            said.put(("end", None))
        except BaseException as error:
            said.put(("raise", error))

    threads = [threading.Thread(target=run, daemon=True) for _ in range(lanes)]
    for thread in threads:
        thread.start()
    working = len(threads)
    try:
        while working:
            kind, value = said.get()
            if kind == "end":
                working -= 1
            elif kind == "raise":
                raise value
            else:
                yield value
    finally:
        stopped.set()
        while any(thread.is_alive() for thread in threads):
            with suppress(queue.Empty):
                said.get(timeout=0.01)


def _hand_out(pipe: End, rest: Iterator[U], listening: select.poll) -> None:
    # Never waiting for it to be taken: who is to take it may itself wait until we hear its report.
    pipe.post(next(rest, None))
    listening.register(pipe.writing, select.POLLOUT)


def _go_on(pipe: End, listening: select.poll) -> None:
    with suppress(BrokenPipeError):  # its death is noticed where it is listened to
        if not pipe.has_sent_all():
            return
    listening.unregister(pipe.writing)


def _received(pipe: End) -> tuple[str, Any]:
    try:
        kind, value = pipe.receive()
    except (EOFError, OSError):  # the latter in the middle of a word
        raise BackupError(
            "a process that took part in the work was killed; run the same command again"
        ) from None
    return kind, value


def _child(
    make: WorkerFactory[U],
    pipe: End,
    others: list[End],
    processor: int | None,
) -> None:
    """Work until there is nothing left, and leave without any of the parent's clean-up."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and closes the pipe
        for other in others:
            other.close()
        if processor is not None:
            with suppress(OSError):  # it was taken from us since we asked
                os.sched_setaffinity(0, [processor])
        with make(lambda value: pipe.send(("say", value))) as work:
            work(_handed_out(pipe))
        pipe.send(("end", None))
        status = 0
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone, or has enough
    except BaseException as error:
        with suppress(OSError):
            pipe.send(("raise", _portable(error)))
    finally:
        os._exit(status)


def _handed_out(pipe: End) -> Iterator[Any]:
    while True:
        try:
            unit = pipe.receive()
            if unit is None:
                return
            pipe.send(("next", None))
        except OSError:
            raise EOFError from None  # not to be taken for what ails a file
        yield unit


def _portable(error: BaseException) -> BaseException:
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:
        return BackupError(f"unexpected {type(error).__name__} in a process that took part")
    return error
