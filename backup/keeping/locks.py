"""Locks: which the keeper must extend, and which hold it back.

- What is live is extended once less than half of the bucket's default time is left, to the whole
  of it: packs of unexpired points, every snapshot, and everything under `pub/`.
- A version in its first half is not even asked for: its own default lock covers it.
- The keeper extends and not the writer, which could inflate the bill for years with it.
- One object that refuses stops none of the others; it is told.
"""

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from backup.errors import BackupError, NotFound, UsageError
from backup.format.keep import PackId
from backup.keeping.view import View, Watch, unwatched, watched
from backup.stores import Stat
from backup.stores.keeping import KeeperStore

PUBLIC = "pub/"
_THREADS = 8


def to_extend(
    vault: KeeperStore,
    view: View,
    live: Collection[PackId],
    clock: datetime,
    watch: Watch = unwatched,
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

    due, problems = _each(old, is_due, "looking at locks", watch)
    return tuple(name for name, is_so in due if is_so), problems


def extend(
    vault: KeeperStore, names: Collection[str], clock: datetime, watch: Watch = unwatched
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Lock each for the whole default time again; give what was done, and the problems."""
    lock = vault.describe().lock
    if lock is None:
        return (), ()
    until = clock + timedelta(days=lock.days)
    done, problems = _each(
        names, lambda name: vault.extend_lock(name, until), "extending locks", watch
    )
    return tuple(name for name, _ in done), problems


def locked_until(
    vault: KeeperStore, names: Collection[str], clock: datetime, watch: Watch = unwatched
) -> dict[str, datetime]:
    """Give those that are locked now, and until when."""
    if vault.describe().lock is None:
        return {}

    def ask(name: str) -> datetime | None:
        try:
            return vault.lock_until(name)
        except NotFound:
            return None

    with ThreadPoolExecutor(_THREADS) as pool:
        answers = watched(pool.map(ask, names), "looking at locks", len(names), watch)
        found = zip(names, answers, strict=True)
        return {name: until for name, until in found if until is not None and until > clock}


def _half(vault: KeeperStore) -> timedelta | None:
    lock = vault.describe().lock
    return None if lock is None else timedelta(days=lock.days) / 2


def _each(
    names: Collection[str], act: Callable[[str], object], what: str, watch: Watch
) -> tuple[list[tuple[str, object]], tuple[str, ...]]:
    """Act on each name in threads; a refusal is a problem of that name, anything else ends it."""
    problems: list[str] = []
    done: list[tuple[str, object]] = []

    def one(name: str) -> tuple[str, object] | BackupError:
        try:
            return name, act(name)
        except UsageError as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        for found in watched(pool.map(one, names), what, len(names), watch):
            if isinstance(found, BackupError):
                problems.append(str(found))
            else:
                done.append(found)
    return done, tuple(problems)
