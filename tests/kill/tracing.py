"""Tracing every durable act of a run, and dying at a chosen one.

A point is a commit that writes to the ledger or the upload cache, an object put into a store, a
call to another system, or a line or file that is published. Its name contains its kind and its
number within this kind, as `commit attempt.claimed accounts.lock 1`, so the order of two threads
does not change it. A run is first recorded; then it is repeated in a fresh process for every point
and every phase:

- before: the act has not begun;
- during: a second thread kills the process while the act is in progress, or in the instant after
  it, at random;
- after: the act is over, and nothing that follows it has begun.

The process dies by SIGKILL: no handler, no flush, no `finally`.
"""

import functools
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

ENDS_WITHIN_SECONDS = 120  # on a busy machine


class Phase(StrEnum):
    BEFORE = "before"
    DURING = "during"
    AFTER = "after"


@dataclass(frozen=True)
class Death:
    """Point of the kill, as the trace names it, and its phase."""

    point: str
    phase: Phase

    def __str__(self) -> str:
        return f"{self.phase} {self.point}"


@dataclass
class Tracer:
    """Tracer that names the points of this process and dies at one of them."""

    log: Path
    death: Death | None
    _counts: Counter[str] = field(default_factory=Counter)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _inside: threading.local = field(default_factory=threading.local)

    def reach(self, label: str, act: Callable[[], Any], *, is_within: bool = False) -> Any:
        """Do one act as a point of the trace.

        Acts within it are part of it, except acts that are points everywhere (`is_within`).
        """
        was_inside = getattr(self._inside, "is_set", False)
        if was_inside and not is_within:
            return act()
        with self._guard:
            self._counts[label] += 1
            point = f"{label} {self._counts[label]}"
            with self.log.open("a") as log:
                log.write(f"{point}\n")
        phase = self.death.phase if self.death and self.death.point == point else None
        self._inside.is_set = True
        try:
            if phase is Phase.BEFORE:
                die()
            if phase is Phase.DURING:
                threading.Thread(target=_die_soon, daemon=True).start()
            result = act()
            if phase is Phase.DURING:
                time.sleep(10)  # until the second thread kills the process
            if phase is Phase.AFTER:
                die()
            return result
        finally:
            self._inside.is_set = was_inside

    def wrap(self, owner: Any, name: str, label: str, *, is_within: bool = False) -> None:
        """Make every call of `owner.name` a point."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def traced(*args: Any, **kwargs: Any) -> Any:
            return self.reach(label, lambda: original(*args, **kwargs), is_within=is_within)

        setattr(owner, name, traced)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_soon() -> None:
    time.sleep(0.0005)
    die()


def wrap_ledger(tracer: Tracer) -> None:
    """Make each commit of a writing transaction a point, by its event."""
    from sqlalchemy.engine.base import RootTransaction

    from standfast.ledger.audit.transaction import Write
    from standfast.ledger.runs import sqlite_run_writer

    commit, finish = RootTransaction._do_commit, Write.finish
    told = threading.local()

    @functools.wraps(finish)
    def named(self: Write) -> None:
        finish(self)
        about = self.detail.get("verb") or self.detail.get("step") or ""
        has_changed = self._touched or self.detail
        told.label = f"commit {self.action} {about}".rstrip() if has_changed else None

    @functools.wraps(commit)
    def traced(self: Any) -> Any:
        if not self.connection.get_execution_options().get("standfast_writes"):
            return commit(self)
        label, told.label = getattr(told, "label", "commit"), "commit"
        # A claim that finds nothing writes nothing, and the number of such claims is random.
        return tracer.reach(label, lambda: commit(self)) if label else commit(self)

    Write.finish = named
    RootTransaction._do_commit = traced
    tracer.wrap(sqlite_run_writer, "commit", "commit")


def wrap_outside(tracer: Tracer) -> None:
    """Make every call to another system a point, named by its verb."""
    from standfast.adapters.factory import Adapters
    from standfast.ledger.effects.effect_rows import Batch, EffectQueue, EffectRow
    from standfast.records import Observed, Result

    call, observe = Adapters.call, Adapters.observe

    def traced_call(self: Adapters, batch: Batch) -> list[Result]:
        act = functools.partial(call, self, batch)
        results: list[Result] = tracer.reach(f"call {batch.queue.verb}", act)
        return results

    def traced_observe(self: Adapters, queue: EffectQueue, rows: list[EffectRow]) -> list[Observed]:
        act = functools.partial(observe, self, queue, rows)
        seen: list[Observed] = tracer.reach(f"observe {queue.verb}", act)
        return seen

    Adapters.call = traced_call
    Adapters.observe = traced_observe  # type: ignore[assignment]


def wrap_files(tracer: Tracer) -> None:
    """Make each published file and each durable line a point."""
    from standfast.adapters.evidence_sources import sealed_source
    from standfast.ledger.audit.hash_chain import Chain

    for name in ("rename", "replace"):
        tracer.wrap(os, name, name, is_within=True)
    tracer.wrap(sealed_source, "append_custody", "append custody", is_within=True)
    tracer.wrap(Chain, "send_to_witness", "append witness", is_within=True)


def wrap_new_passwords(tracer: Tracer) -> None:
    """Make each new password a point: its sealing and its set in OpenLDAP."""
    from standfast.adapters.accounts.base.new_passwords import NewPasswords
    from standfast.adapters.clients.ldap.client import LdapConnection

    tracer.wrap(NewPasswords, "make", "seal", is_within=True)
    replace = LdapConnection.replace

    @functools.wraps(replace)
    def traced(self: LdapConnection, dn: str, changes: Any, **more: Any) -> int:
        act = functools.partial(replace, self, dn, changes, **more)
        if "userPassword" not in changes:
            return act()
        code: int = tracer.reach("set", act, is_within=True)
        return code

    LdapConnection.replace = traced


def wrap_stores(tracer: Tracer) -> None:
    """Make every object put into a store a point."""
    from backup.stores.directory import DirectoryStore

    tracer.wrap(DirectoryStore, "put", "put")


def wrap_send_log(tracer: Tracer) -> None:
    """Make every change of the upload cache a point, with its commit."""
    from backup.archiver.upload_cache.cache import UploadCache
    from backup.archiver.upload_cache.history_state import HistoryState
    from backup.archiver.upload_cache.stored_runs import StoredRuns

    for owner, names in (
        (UploadCache, ("acknowledge", "forget_packs", "forget_everything", "record_commit")),
        (StoredRuns, ("begin", "set_start", "store_page", "reuse_page")),
        (
            HistoryState,
            ("record_intention", "abandon_intention", "store_root_number", "store_keep_record"),
        ),
    ):
        for name in names:
            tracer.wrap(owner, name, "send-log")


def own_process(run: Callable[..., None], *args: Any) -> BaseProcess:
    """Start `run(*args)` in a fresh process that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.kill.preloaded"])
    process = context.Process(target=run, args=args)
    process.start()
    return process


def in_own_process(run: Callable[..., None], *args: Any) -> int:
    """Run `run(*args)` in a fresh process; return its exit code."""
    process = own_process(run, *args)
    process.join(timeout=ENDS_WITHIN_SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"{run.__name__}{args} did not end within {ENDS_WITHIN_SECONDS} s")
    return process.exitcode


def traced_points(log: Path) -> list[str]:
    """Read the trace of a run: the name of each point, in order."""
    return log.read_text().splitlines() if log.exists() else []
