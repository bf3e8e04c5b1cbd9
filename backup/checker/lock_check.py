"""Lock check: how long objects must be locked; which objects a run checks.

- The keeper, the machine that may expire backups, extends the locks of needed objects. They are the
  packs of recovery points that have not expired, every snapshot, and every object under `pub/`.
- The lock of a needed object must have the bucket's mode (COMPLIANCE or GOVERNANCE). It must have
  been set for at least the bucket's default time, and a quarter of this time must be left. The
  keeper extends a lock when half of the default time is left. So a warning means that the keeper is
  late by a quarter of the default time.
- A pack that no snapshot names yet must have the default lock. A pack that only expired recovery
  points need does not need a lock. The locks of such packs are not queried.
- A check covers the objects that are new since the last check, and a thirtieth of the other objects
  for each day since the last check. A hash of an object's name selects its day, a number from 0 to
  29. The next check covers all days since the last complete check. So neither a missed day nor an
  interrupted check leaves a gap. If a check finds a problem, or the store does not return a lock,
  the next check covers all objects.
- A wrong lock is a warning, because the object is intact. A lock that the store does not report is
  unknown: neither right nor wrong.
- Times of the store are compared with this machine's clock. S3 refuses requests from a machine with
  a clock that is a quarter of an hour wrong.
"""

import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from backup.checker.pack_check import PackCheck
from backup.errors import NotFound, UsageError
from backup.findings import Findings
from backup.format.object_names import parse_pack_name
from backup.records import LockSummary
from backup.stores import ObjectLock, Retention, Stat, Store
from backup.stores.parallel_reads import run_concurrently

DAYS_FOR_ALL = 30
_BATCH = 256
# With the setting `lock_days`, a backup host computes the end of each lock. The clocks of host and
# store may differ.
_CLOCKS_DIFFER = timedelta(hours=1)
_SINCE_BEFORE = timedelta(days=1)  # objects put during the last check count as new

_LOCK_IT = (
    "lock it as deploy/s3/README.md says, and find out who stored it, or who changed the bucket"
)
_KEEP = "run the keeper: it extends the locks that are needed"
_FIND_WHO_PAYS = (
    "nothing, if the default lock of the bucket was longer in the past; otherwise find out who "
    "locked it: you pay for its storage until the lock ends"
)


class LockCheck:
    """One check of the locks of a vault with a default lock."""

    def __init__(
        self,
        vault: Store,
        default: ObjectLock,
        packs: Mapping[str, PackCheck],
        found: Findings,
        on_progress: Callable[[str, int], None],
        *,
        now: datetime,
        since: datetime | None,
    ) -> None:
        self._vault = vault
        self._default = default
        self._packs = packs
        self._needed = {writer: check.needed() for writer, check in packs.items()}
        self._found = found
        self._on_progress = on_progress
        self._now = now
        self._since = since
        self._due_days = due_days(since, now)
        self._waiting: list[tuple[Stat, bool]] = []
        self._objects = self._looked_at = self._wrong = self._unknown = 0
        self._refusal: tuple[str, str] | None = (
            None  # the store's first refusal of a query: name of the object, message
        )
        self._are_all_refused = (
            False  # after the store refused a whole batch, no more queries are sent
        )

    def add(self, stat: Stat) -> None:
        """Add a listed object; its lock is queried if it is due."""
        pack = parse_pack_name(stat.name)
        is_needed = True
        if pack is not None:
            writer, sha256 = pack
            is_needed = sha256 in self._needed[writer]
            if not is_needed and sha256 in self._packs[writer].history.packs:
                return
        self._objects += 1
        if self._is_due(stat):
            self._waiting.append((stat, is_needed))
            if len(self._waiting) == _BATCH:
                self._query_waiting()

    def finish(self) -> LockSummary:
        """Query the remaining objects and return the counts."""
        self._query_waiting()
        if self._refusal is not None:
            name, answer = self._refusal
            more = self._unknown - 1
            others = f", nor those of {more:,} others" if more else ""
            self._found.warning(
                name,
                f"its lock is not known{others}: {answer}",
                "verify with the verifier's identity; unknown locks are checked again then",
            )
        return LockSummary(
            objects=self._objects,
            looked_at=self._looked_at,
            wrong=self._wrong,
            unknown=self._unknown,
        )

    def _is_due(self, stat: Stat) -> bool:
        if self._since is None or stat.modified >= self._since - _SINCE_BEFORE:
            return True
        return check_day(stat.name) in self._due_days

    def _query_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        if self._are_all_refused:
            self._unknown += len(waiting)
            return
        names = [stat.name for stat, _ in waiting]
        answers = [*run_concurrently(self._read_lock, names, self._vault.calls_at_once)]
        refused = 0
        for (stat, is_needed), answer in zip(waiting, answers, strict=True):
            if isinstance(answer, NotFound):
                continue  # removed during the check; `pack_check` reports missing packs
            if isinstance(answer, UsageError):
                refused += 1
                self._refusal = self._refusal or (stat.name, str(answer))
                continue
            self._looked_at += 1
            self._judge(stat, answer, is_needed=is_needed)
        self._unknown += refused
        self._are_all_refused = refused == len(waiting)
        self._on_progress(waiting[-1][0].name, 0)

    def _read_lock(self, name: str) -> Retention | UsageError | None:
        try:
            return self._vault.lock_of(name)
        except UsageError as error:
            return error

    def _judge(self, stat: Stat, lock: Retention | None, *, is_needed: bool) -> None:
        wrong = lock_problem(lock, self._default, stat.modified, self._now, is_needed=is_needed)
        if wrong is not None:
            self._wrong += 1
            kind, problem, what_to_do = wrong
            self._found.warning(stat.name, problem, what_to_do, kind=kind)
        longest = max(self._now, stat.modified) + timedelta(days=self._default.days)
        if lock is not None and lock.until > longest + _CLOCKS_DIFFER:
            self._found.warning(
                stat.name,
                f"is locked until {_format_time(lock.until)}, longer than any lock of this vault",
                _FIND_WHO_PAYS,
                kind="a long lock",
            )


def lock_problem(
    lock: Retention | None, default: ObjectLock, stored: datetime, now: datetime, *, is_needed: bool
) -> tuple[str, str, str] | None:
    """Return kind, problem and action for a wrong lock, or None.

    `stored` is the time at which the object was put, by the clock of the store.
    """
    if lock is None:
        return "no lock", f"has no lock, although {_required(default)}", _LOCK_IT
    if default.mode == "COMPLIANCE" and lock.mode != "COMPLIANCE":
        problem = f"is locked in {lock.mode} mode, although {_required(default)}"
        return "a weaker lock", problem, _LOCK_IT
    days = timedelta(days=default.days)
    if lock.until < stored + days - _CLOCKS_DIFFER:
        problem = f"is locked until {_format_time(lock.until)} only, although {_required(default)}"
        return "a short lock", problem, _LOCK_IT
    if is_needed and lock.until < now + days / 4:
        verb = "is locked until" if lock.until > now else "was locked until"
        problem = (
            f"{verb} {_format_time(lock.until)}, but is needed for longer: nobody extended the lock"
        )
        return "a lock that ends", problem, _KEEP
    return None


def due_days(since: datetime | None, now: datetime) -> frozenset[int]:
    """Return the numbers, 0 to 29, of the days since the last check.

    All days are due if there was no check, if the last check is thirty days old, or if the clock
    went back.
    """
    today = now.astimezone(UTC).toordinal()
    first = today - DAYS_FOR_ALL + 1
    if since is not None and since <= now:
        first = max(first, since.astimezone(UTC).toordinal() + 1)
    days = range(first, today + 1)
    return frozenset(day % DAYS_FOR_ALL for day in days)


def check_day(name: str) -> int:
    """Return the day, from 0 to 29, on which an object is checked."""
    return zlib.crc32(name.encode()) % DAYS_FOR_ALL


def _required(default: ObjectLock) -> str:
    return f"the bucket locks for {default.days} days in {default.mode} mode"


def _format_time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}Z"
