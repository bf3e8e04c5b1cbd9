"""Locks: which the keeper must extend, and which hold it back.

- What is live is extended once less than half of the bucket's default time is left, to the whole
  of it: packs of unexpired points, every snapshot, and everything under `pub/`.
- A version in its first half is not even asked for: its own default lock covers it.
- The keeper extends and not the writer, which could inflate the bill for years with it.
- One object that refuses stops none of the others; it is told.
"""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import TypeVar

from backup.errors import NotFound, UsageError
from backup.format.keep_record import PackId
from backup.retention.vault_state import View, Watch, no_progress, with_progress
from backup.stores import Stat
from backup.stores.keeper import KeeperStore
from backup.stores.parallel_reads import run_concurrently

PUBLIC = "pub/"

T = TypeVar("T")


def to_extend(
    vault: KeeperStore,
    view: View,
    live: Collection[PackId],
    clock: datetime,
    watch: Watch = no_progress,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the names whose lock has less than half left, and the problems with looking."""
    half = _half(vault)
    if half is None:
        return (), ()
    live_packs = (view.packs[pack] for pack in live if pack in view.packs)
    stats: list[Stat] = [*vault.list(PUBLIC), *view.snapshots, *live_packs]
    old = [stat.name for stat in stats if stat.modified + half <= clock]

    def is_due(name: str) -> bool:
        try:
            until = vault.lock_until(name)
        except NotFound:
            return False  # gone meanwhile; `verify` says what is missing
        return until is None or until < clock + half

    due, problems = _each(vault, old, is_due, "looking at locks", watch)
    return tuple(name for name, is_so in due.items() if is_so), problems


def extend(
    vault: KeeperStore, names: Collection[str], clock: datetime, watch: Watch = no_progress
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Lock each for the whole default time again; give what was done, and the problems."""
    lock = vault.describe().lock
    if lock is None:
        return (), ()
    until = clock + timedelta(days=lock.days)
    done, problems = _each(
        vault, names, lambda name: vault.extend_lock(name, until), "extending locks", watch
    )
    return tuple(done), problems


def locked_until(
    vault: KeeperStore, names: Collection[str], clock: datetime, watch: Watch = no_progress
) -> dict[str, datetime]:
    """Give those that are locked now, and until when."""
    if vault.describe().lock is None:
        return {}

    def ask(name: str) -> datetime | None:
        try:
            return vault.lock_until(name)
        except NotFound:
            return None

    answers = run_concurrently(ask, names, vault.calls_at_once)
    found = zip(names, with_progress(answers, "looking at locks", len(names), watch), strict=True)
    return {name: until for name, until in found if until is not None and until > clock}


def _half(vault: KeeperStore) -> timedelta | None:
    lock = vault.describe().lock
    return None if lock is None else timedelta(days=lock.days) / 2


def _each(
    vault: KeeperStore, names: Collection[str], act: Callable[[str], T], what: str, watch: Watch
) -> tuple[dict[str, T], tuple[str, ...]]:
    """Act on each name; a refusal is a problem of that name, anything else ends it."""
    problems: list[str] = []
    done: dict[str, T] = {}

    def one(name: str) -> T | UsageError:
        try:
            return act(name)
        except UsageError as error:
            return error

    answers = run_concurrently(one, names, vault.calls_at_once)
    for name, found in zip(names, with_progress(answers, what, len(names), watch), strict=True):
        if isinstance(found, UsageError):
            problems.append(str(found))
        else:
            done[name] = found
    return done, tuple(problems)
