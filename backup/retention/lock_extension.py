"""Lock extension: locks to extend, and locks that prevent a removal.

- A lock is an S3 Object Lock. Live objects are the packs of recovery points that do not expire,
  every snapshot, and every object under `pub/`. If less than half of the bucket's default lock time
  is left on a live object, its lock is extended to the full default time.
- An object that was put less than half of the default lock time ago still has more than half of its
  lock time. Its lock is not queried.
- The keeper, the machine that may expire backups, extends locks. A backup host has no right to do
  so: a compromised host could lock junk for years, at the organisation's cost.
- If the store refuses to extend a lock, the object is reported, and the other locks are extended.
"""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import TypeVar

from backup.errors import NotFound, UsageError
from backup.format.keep_record import PackId
from backup.retention.vault_state import ProgressCallback, VaultState, no_progress, with_progress
from backup.stores import Stat
from backup.stores.keeper import KeeperStore
from backup.stores.parallel_reads import run_concurrently

PUBLIC = "pub/"

T = TypeVar("T")


def find_expiring_locks(
    vault: KeeperStore,
    state: VaultState,
    live: Collection[PackId],
    clock: datetime,
    progress: ProgressCallback = no_progress,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of live objects with less than half of their lock left.

    Also return the refusals of the store, as problems. `live` are the live packs; `clock` is the
    time of the store.
    """
    half = _half(vault)
    if half is None:
        return (), ()
    live_packs = (state.packs[pack] for pack in live if pack in state.packs)
    stats: list[Stat] = [*vault.list(PUBLIC), *state.snapshots, *live_packs]
    candidates = [stat.name for stat in stats if stat.modified + half <= clock]

    def is_due(name: str) -> bool:
        try:
            until = vault.lock_until(name)
        except NotFound:
            return False  # removed since the listing; `verify` reports missing objects
        return until is None or until < clock + half

    due, problems = _call_for_each(vault, candidates, is_due, "looking at locks", progress)
    return tuple(name for name, is_expiring in due.items() if is_expiring), problems


def extend_locks(
    vault: KeeperStore,
    names: Collection[str],
    clock: datetime,
    progress: ProgressCallback = no_progress,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Extend locks to the full default time.

    Return the names of the objects with an extended lock, and the refusals of the store, as
    problems.
    """
    lock = vault.describe().lock
    if lock is None:
        return (), ()
    until = clock + timedelta(days=lock.days)
    done, problems = _call_for_each(
        vault, names, lambda name: vault.extend_lock(name, until), "extending locks", progress
    )
    return tuple(done), problems


def find_locks(
    vault: KeeperStore,
    names: Collection[str],
    clock: datetime,
    progress: ProgressCallback = no_progress,
) -> dict[str, datetime]:
    """Return the end of the lock of each object that is locked now."""
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


def _call_for_each(
    vault: KeeperStore,
    names: Collection[str],
    call: Callable[[str], T],
    action: str,
    progress: ProgressCallback,
) -> tuple[dict[str, T], tuple[str, ...]]:
    """Call a function for each name.

    Return the results by name, and the refusals of the store, as problems. Raise other errors.
    """
    problems: list[str] = []
    done: dict[str, T] = {}

    def call_or_refusal(name: str) -> T | UsageError:
        try:
            return call(name)
        except UsageError as error:
            return error

    answers = run_concurrently(call_or_refusal, names, vault.calls_at_once)
    for name, result in zip(
        names, with_progress(answers, action, len(names), progress), strict=True
    ):
        if isinstance(result, UsageError):
            problems.append(str(result))
        else:
            done[name] = result
    return done, tuple(problems)
