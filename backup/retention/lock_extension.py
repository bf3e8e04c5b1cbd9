"""Lock extension: which locks to extend, and which prevent a removal.

- The lock of a live object is extended to the bucket's full default time once less than half of it
  is left: packs of unexpired recovery points, every snapshot, and everything under `pub/`.
- A version in its first half is not queried: its default lock covers it.
- The keeper extends locks, not the writer: a compromised writer could inflate the bill for years.
- If the store refuses to extend a lock, the object is reported, and the other locks are extended
  nevertheless.
"""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import TypeVar

from backup.errors import NotFound, UsageError
from backup.format.keep_record import PackId
from backup.retention.vault_state import VaultState, Watch, no_progress, with_progress
from backup.stores import Stat
from backup.stores.keeper import KeeperStore
from backup.stores.parallel_reads import run_concurrently

PUBLIC = "pub/"

T = TypeVar("T")


def find_expiring_locks(
    vault: KeeperStore,
    view: VaultState,
    live: Collection[PackId],
    clock: datetime,
    progress: Watch = no_progress,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names with less than half of their lock left, and problems."""
    half = _half(vault)
    if half is None:
        return (), ()
    live_packs = (view.packs[pack] for pack in live if pack in view.packs)
    stats: list[Stat] = [*vault.list(PUBLIC), *view.snapshots, *live_packs]
    candidates = [stat.name for stat in stats if stat.modified + half <= clock]

    def is_due(name: str) -> bool:
        try:
            until = vault.lock_until(name)
        except NotFound:
            return False  # gone meanwhile; `verify` reports missing objects
        return until is None or until < clock + half

    due, problems = _act_on_each(vault, candidates, is_due, "looking at locks", progress)
    return tuple(name for name, is_expiring in due.items() if is_expiring), problems


def extend_locks(
    vault: KeeperStore, names: Collection[str], clock: datetime, progress: Watch = no_progress
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Extend locks to the full default time; return names and problems."""
    lock = vault.describe().lock
    if lock is None:
        return (), ()
    until = clock + timedelta(days=lock.days)
    done, problems = _act_on_each(
        vault, names, lambda name: vault.extend_lock(name, until), "extending locks", progress
    )
    return tuple(done), problems


def find_locks(
    vault: KeeperStore, names: Collection[str], clock: datetime, progress: Watch = no_progress
) -> dict[str, datetime]:
    """Return the objects that are locked now, with the end of the lock."""
    if vault.describe().lock is None:
        return {}

    def read_lock(name: str) -> datetime | None:
        try:
            return vault.lock_until(name)
        except NotFound:
            return None

    answers = run_concurrently(read_lock, names, vault.calls_at_once)
    locks = zip(
        names, with_progress(answers, "looking at locks", len(names), progress), strict=True
    )
    return {name: until for name, until in locks if until is not None and until > clock}


def _half(vault: KeeperStore) -> timedelta | None:
    lock = vault.describe().lock
    return None if lock is None else timedelta(days=lock.days) / 2


def _act_on_each(
    vault: KeeperStore,
    names: Collection[str],
    act: Callable[[str], T],
    action: str,
    progress: Watch,
) -> tuple[dict[str, T], tuple[str, ...]]:
    """Act on each name; collect refusals as problems, raise other errors."""
    problems: list[str] = []
    done: dict[str, T] = {}

    def act_or_refusal(name: str) -> T | UsageError:
        try:
            return act(name)
        except UsageError as error:
            return error

    answers = run_concurrently(act_or_refusal, names, vault.calls_at_once)
    for name, result in zip(
        names, with_progress(answers, action, len(names), progress), strict=True
    ):
        if isinstance(result, UsageError):
            problems.append(str(result))
        else:
            done[name] = result
    return done, tuple(problems)
