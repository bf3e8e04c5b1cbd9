"""The objects' own locks: whether what must not go is locked as keeping demands.

- Needed is what the keeper extends: packs of points that have not expired, every snapshot, and
  everything under `pub/`.  Its lock is of the bucket's mode, was made for the bucket's default
  time, and has a quarter of that left: the keeper extends at half, and may be late for so long.
- A pack that no snapshot names yet has the default lock.  What only expired points need may lose
  its lock, and is not asked for.
- What came since the last look is looked at, and each day a thirtieth of the rest: an object's turn
  is a hash of its name.  A look takes the turns of all days since the last one that came to its
  end, so neither a day that was missed nor a run that died leaves anything unseen.  After a look
  that found something wrong, or was not told something, the next looks at everything.
- What is wrong is a warning: the object is whole.  What the store does not tell is unknown, and
  neither right nor wrong.
- The times are the store's own, and the bound on them is this machine's clock, which S3 refuses
  when it is a quarter of an hour off.
"""

import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from backup.checker.pack_check import Packs
from backup.errors import NotFound, UsageError
from backup.findings import Findings
from backup.format.object_names import pack_in
from backup.records import LockSummary
from backup.stores import ObjectLock, Retention, Stat, Store
from backup.stores.parallel_reads import run_concurrently

DAYS_FOR_ALL = 30
_AT_ONCE = 256
# The store's clock and that of a writer who locks each object (`lock_days`) differ by minutes.
_CLOCKS_DIFFER = timedelta(hours=1)
_SINCE_BEFORE = timedelta(days=1)  # what was put while the last look went on is new to the next

_LOCK_IT = "lock it as deploy/s3/README.md says, and find out who put it or changed the bucket"
_KEEP = "let the keeper run: it extends what is needed"
_PAY = "nothing if the bucket's time was longer once; if not, find out who locked it: it costs you"


class Locks:
    """One look at the locks of a vault that has a default one."""

    def __init__(
        self,
        vault: Store,
        default: ObjectLock,
        packs: Mapping[str, Packs],
        found: Findings,
        tell: Callable[[str, int], None],
        *,
        now: datetime,
        since: datetime | None,
    ) -> None:
        self._vault = vault
        self._default = default
        self._packs = packs
        self._needed = {writer: one.needed() for writer, one in packs.items()}
        self._found = found
        self._tell = tell
        self._now = now
        self._since = since
        self._turns = turns(since, now)
        self._waiting: list[tuple[Stat, bool]] = []
        self._objects = self._looked_at = self._wrong = self._unknown = 0
        self._refusal: tuple[str, str] | None = None  # the first object, and what the store said
        self._is_refused = False  # nobody is told anything here: no more is asked

    def look(self, stat: Stat) -> None:
        """Take an object of this repository from the listing; it is asked for when its turn is."""
        pack = pack_in(stat.name)
        is_needed = True
        if pack is not None:
            writer, sha256 = pack
            is_needed = sha256 in self._needed[writer]
            if not is_needed and sha256 in self._packs[writer].history.packs:
                return
        self._objects += 1
        if self._is_due(stat):
            self._waiting.append((stat, is_needed))
            if len(self._waiting) == _AT_ONCE:
                self._ask()

    def end(self) -> LockSummary:
        """Ask for what is left, and say how many were seen."""
        self._ask()
        if self._refusal is not None:
            name, said = self._refusal
            more = self._unknown - 1
            others = f", nor those of {more:,} others" if more else ""
            self._found.warning(
                name,
                f"its lock is not known{others}: {said}",
                "verify with the verifier's identity; what was not seen is looked at then",
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
        return turn_of(stat.name) in self._turns

    def _ask(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        if self._is_refused:
            self._unknown += len(waiting)
            return
        names = [stat.name for stat, _ in waiting]
        answers = [*run_concurrently(self._lock_of, names, self._vault.calls_at_once)]
        refused = 0
        for (stat, is_needed), answer in zip(waiting, answers, strict=True):
            if isinstance(answer, NotFound):
                continue  # dropped meanwhile; what is missing is told of the packs
            if isinstance(answer, UsageError):
                refused += 1
                self._refusal = self._refusal or (stat.name, str(answer))
                continue
            self._looked_at += 1
            self._judge(stat, answer, is_needed=is_needed)
        self._unknown += refused
        self._is_refused = refused == len(waiting)
        self._tell(waiting[-1][0].name, 0)

    def _lock_of(self, name: str) -> Retention | UsageError | None:
        try:
            return self._vault.lock_of(name)
        except UsageError as error:
            return error

    def _judge(self, stat: Stat, lock: Retention | None, *, is_needed: bool) -> None:
        wrong = problem_of(lock, self._default, stat.modified, self._now, is_needed=is_needed)
        if wrong is not None:
            self._wrong += 1
            kind, problem, what_to_do = wrong
            self._found.warning(stat.name, problem, what_to_do, kind=kind)
        longest = max(self._now, stat.modified) + timedelta(days=self._default.days)
        if lock is not None and lock.until > longest + _CLOCKS_DIFFER:
            self._found.warning(
                stat.name,
                f"is locked until {_day(lock.until)}, for longer than anybody here locks",
                _PAY,
                kind="a long lock",
            )


def problem_of(
    lock: Retention | None,
    default: ObjectLock,
    stored: datetime,
    now: datetime,
    *,
    is_needed: bool,
) -> tuple[str, str, str] | None:
    """Say what is wrong with a lock: the kind, the problem and what to do; None for nothing.

    `stored` is when the object was put, by the store's clock.
    """
    if lock is None:
        return "no lock", f"has no lock, where {_demanded(default)}", _LOCK_IT
    if default.mode == "COMPLIANCE" and lock.mode != "COMPLIANCE":
        problem = f"is locked in {lock.mode} mode, where {_demanded(default)}"
        return "a weaker lock", problem, _LOCK_IT
    days = timedelta(days=default.days)
    if lock.until < stored + days - _CLOCKS_DIFFER:
        problem = f"is locked until {_day(lock.until)} only, where {_demanded(default)}"
        return "a short lock", problem, _LOCK_IT
    if is_needed and lock.until < now + days / 4:
        verb = "is locked until" if lock.until > now else "was locked until"
        problem = f"{verb} {_day(lock.until)}, and is needed for longer: nobody extended that"
        return "a lock that ends", problem, _KEEP
    return None


def turns(since: datetime | None, now: datetime) -> frozenset[int]:
    """Give whose turn it is: of each day after that of the last look, and today.

    All, without a last look, after thirty days, and where the clock went back.
    """
    today = now.astimezone(UTC).toordinal()
    first = today - DAYS_FOR_ALL + 1
    if since is not None and since <= now:
        first = max(first, since.astimezone(UTC).toordinal() + 1)
    days = range(first, today + 1)
    return frozenset(day % DAYS_FOR_ALL for day in days)


def turn_of(name: str) -> int:
    """Give the day of thirty on which an object is looked at."""
    return zlib.crc32(name.encode()) % DAYS_FOR_ALL


def _demanded(default: ObjectLock) -> str:
    return f"the bucket locks for {default.days} days in {default.mode} mode"


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}Z"
