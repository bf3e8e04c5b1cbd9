"""Tracing every durable act of a run, and dying at a chosen one.

Points, in the order in which they happen: each commit that writes to the ledger or the send-log,
each object put into a store, each call to the outside, each move or unlink that publishes a file. A
run is first recorded; then it is repeated in a fresh process for every point and every phase:

- before: the act has not begun;
- during: a second thread kills the process while the act is under way (or in the instant after it:
  which of the two is left to chance, as in life);
- after: the act is over, and nothing that follows it has begun.

The process dies by SIGKILL: no handler, no flush, no `finally`.
"""

import functools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class Phase(StrEnum):
    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


@dataclass(frozen=True)
class Death:
    """Where to die: the point's number in the trace, counted from 1, and the phase."""

    point: int
    phase: Phase


@dataclass
class Tracer:
    """Counts the points of this process and dies at one of them."""

    log: Path
    death: Death | None
    _count: int = 0
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _inside: threading.local = field(default_factory=threading.local)

    def reach(self, label: str, act: Callable[[], Any]) -> Any:
        """Do one act as a point of the trace; acts within it are part of it."""
        if getattr(self._inside, "is_set", False):
            return act()
        with self._guard:
            self._count += 1
            number = self._count
            with self.log.open("a") as log:
                log.write(f"{number} {label}\n")
        phase = self.death.phase if self.death and self.death.point == number else None
        self._inside.is_set = True
        try:
            if phase is Phase.BEFORE:
                die()
            if phase is Phase.DURING:
                threading.Thread(target=_die_soon, daemon=True).start()
            result = act()
            if phase is Phase.DURING:
                time.sleep(10)  # the killer is on its way
            if phase is Phase.AFTER:
                die()
            return result
        finally:
            self._inside.is_set = False

    def wrap(self, owner: Any, name: str, label: str) -> None:
        """Make every call of `owner.name` a point."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def traced(*args: Any, **kwargs: Any) -> Any:
            return self.reach(label, lambda: original(*args, **kwargs))

        setattr(owner, name, traced)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_soon() -> None:
    time.sleep(0.0005)
    die()


def wrap_ledger(tracer: Tracer) -> None:
    """Every commit of a ledger transaction that writes."""
    from sqlalchemy.engine.base import RootTransaction

    original = RootTransaction._do_commit

    @functools.wraps(original)
    def traced(self: Any) -> Any:
        if not self.connection.get_execution_options().get("standfast_writes"):
            return original(self)
        return tracer.reach("commit", lambda: original(self))

    RootTransaction._do_commit = traced  # type: ignore[method-assign]


def wrap_outside(tracer: Tracer) -> None:
    """Every call to the outside, to act or to look."""
    from standfast.outside import Outside

    tracer.wrap(Outside, "call", "call")
    tracer.wrap(Outside, "observe", "observe")


def wrap_stores(tracer: Tracer) -> None:
    """Every object put into a store."""
    from backup.stores.directory import DirectoryStore

    tracer.wrap(DirectoryStore, "_put", "put")


def wrap_send_log(tracer: Tracer) -> None:
    """Every change of the send-log, with its commit."""
    from backup.send_log import SendLog

    for name in (
        "acknowledge",
        "forget_packs",
        "forget_everything",
        "begin_run",
        "keep_page",
        "carry_page",
        "intend",
        "settle",
        "abandon_intention",
        "remember_root",
    ):
        tracer.wrap(SendLog, name, "send-log")


def in_own_process(run: Callable[..., None], *args: Any) -> int:
    """Run `run(*args)` in a fresh process that has imported everything; give its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.kill.preloaded"])
    process = context.Process(target=run, args=args)
    process.start()
    process.join(timeout=120)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"{run.__name__}{args} did not end within 120 s")
    return process.exitcode


def traced_labels(log: Path) -> list[str]:
    """Read what a run wrote: the label of each point, in order."""
    return [line.split(" ", 1)[1] for line in log.read_text().splitlines()] if log.exists() else []
