"""One run, from its first word in the ledger to its last: backups, drills, verifications, restores.

Rules
- A run is in the ledger as running before it touches anything, and ended whatever happens after.
  A restore, a backup and a verification go on when the ledger takes nothing, and say so: that night
  it may be what is lost, or the disk that is full.
- Two runs of one kind on one set never overlap on a host: a lock that the kernel gives back when
  the process dies, so that nobody ever has to remove one by hand. Restores share theirs.
- Root does not back up, verify or drill in another user's place: its objects and locks would keep
  that user out from then on. It restores, which nobody may be refused.
- Whoever holds the lock knows that an earlier run which is still `running` has died, and says so.
  Several hosts may have one ledger: each judges its own runs, by the name of the backup host
  (`backup.writer`) and of the machine, for a copied configuration has the same one; and only of
  what it ever ran.
- Where a run is made stands in its row from its beginning to its end.
"""

import errno
import fcntl
import json
import os
import pwd
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from standfast.config import Config
from standfast.errors import Damaged, OnlyReadable, Refused, StandfastError, UnderWay
from standfast.host_name import host_name
from standfast.ledger.runs.run_record import NOWHERE, Origin
from standfast.records import Json, JsonObject, moment, timestamp
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import origin_of

KINDS = ("backup", "verify", "restore", "drill", "keep", "alarm", "page")
_LEAVING_FILES = ("backup", "verify", "drill")
DIED = "the process died"
_LARGEST_NOTE_BYTES = 4096
_MAY_ONLY_READ = (errno.EACCES, errno.EPERM, errno.EROFS)
_PATIENCE_SECONDS = 0.5  # who looks for dead runs holds the lock for a moment: that refuses nobody


@dataclass(kw_only=True)
class Run:
    """A run under way; the block that holds it says how it ended."""

    token: str
    origin: Origin
    died_before: tuple[str, ...]  # runs whose process had died, found at the start
    state: str = "failed"
    summary: dict[str, Json] = field(default_factory=dict)
    unrecorded: str = ""  # why the ledger has not, or not to its end, what goes on all the same
    is_ledger_damaged: bool = False  # that is why

    def ends(self, state: str, summary: JsonObject) -> None:
        """Say how the run ended: done, partial or failed, with counts and nothing personal."""
        self.state, self.summary = state, dict(summary)

    def goes_on_without(self, error: StandfastError) -> None:
        """Note why the ledger, or the witness, does not take it or cannot be asked."""
        self.unrecorded = self.unrecorded or str(error)
        self.is_ledger_damaged |= isinstance(error, Damaged)


@contextmanager
def recorded(
    installation: Installation, kind: str, subject: str, way: str, *, is_shared: bool = False
) -> Iterator[Run]:
    """Hold the lock and keep the ledger's row of a run; then sign the chain's head.

    Raises `UnderWay` when the same run is under way, before anything is written. What escapes the
    block is written down as the run's failure and raised on.
    """
    with _held(installation, kind, subject, is_shared=is_shared) as lock:
        died = _bury(installation, kind, subject) if lock.is_alone else ()
        if is_shared:
            lock.share()
        origin = origin_of(installation.config)
        token = installation.runs.start(
            kind, subject, way, installation.actor, installation.clock(), origin=origin
        )
        run = Run(token=token, origin=origin, died_before=died)
        try:
            yield run
        except BaseException as error:
            # Only the class of a foreign error: it may quote a path or a person.
            is_ours = isinstance(error, StandfastError)
            problem = str(error) if is_ours else f"unexpected {type(error).__name__}"
            with suppress(StandfastError):  # the first error is the one to be told
                _finish(installation, run, kind, "failed", {**run.summary, "problem": problem})
            raise
        _finish(installation, run, kind, run.state, run.summary)
        installation.runs.sign_head(installation.clock())


@contextmanager
def recorded_if_possible(
    installation: Installation, kind: str, subject: str, way: str, *, is_shared: bool = False
) -> Iterator[Run]:
    """As `recorded`, for what no ledger may keep from happening; see `Run.unrecorded`.

    `unrecorded` is to be looked at behind the block. A shared one goes on without a lock as well.
    """
    with ExitStack() as record:
        try:
            run = record.enter_context(
                recorded(installation, kind, subject, way, is_shared=is_shared)
            )
        except UnderWay:
            raise
        except StandfastError as error:
            if not is_shared:
                record.enter_context(_held(installation, kind, subject, is_shared=False))
            run = Run(token="", origin=NOWHERE, died_before=())
            run.goes_on_without(error)
        yield run
        try:
            record.close()
        except StandfastError as error:
            run.goes_on_without(error)


def other_user_of(config: Config) -> str | None:
    """Name the user who runs a place, where that is another than who asks.

    The host's own keys, which only their user can read, tell; a machine without them has none.
    """
    try:
        owner = config.backup.host.stat().st_uid
    except OSError:
        return None
    if owner == os.geteuid():
        return None
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return f"#{owner}"


def mark_dead_runs_failed(
    installation: Installation, clean: Mapping[str, Callable[[Installation, str], object]]
) -> tuple[tuple[str, str], ...]:
    """Mark every run of this host whose process died as failed; give the kind and set of each.

    `clean` is called by kind, under the lock, to remove what the dead one left behind.
    """
    buried: list[tuple[str, str]] = []
    for kind in KINDS:
        running = {row.subject for row in installation.runs.all(kind, states=["running"])}
        for subject in sorted(running):
            if not _lock_file(installation, kind, subject).exists():
                continue  # another host's set
            with suppress(UnderWay), _held(installation, kind, subject, is_shared=False):
                dead = _bury(installation, kind, subject)
                if dead and kind in clean:
                    clean[kind](installation, subject)
                buried += [(kind, subject)] * len(dead)
    return tuple(buried)


def is_first(
    installation: Installation, run: Run, kind: str, subject: str, within: timedelta
) -> bool:
    """Is no other host about this very thing, since before us? A lock here says nothing of it.

    Both are in the ledger before either asks, and its order decides. One that began longer ago than
    `within`, by whichever clock, has died.
    """
    now = installation.clock()
    others = [
        row.id
        for row in installation.ledger.runs.all(kind, subject, states=["running"])
        if row.id != run.token and abs(now - row.started_at) <= within
    ]
    return not any(
        _begun(installation, other) < _begun(installation, run.token) for other in others
    )


def _begun(installation: Installation, token: str) -> int:
    """Give where a run's beginning stands in the chain, which goes by no clock."""
    return installation.ledger.timeline(token)[0].sequence


def _bury(installation: Installation, kind: str, subject: str) -> tuple[str, ...]:
    runs, own = installation.runs, origin_of(installation.config)
    dead: list[str] = []
    for row in runs.all(kind, subject, states=["running"]):
        origin = Origin.of(row.summary)
        if (origin.host or own.host, origin.machine or own.machine) == (own.host, own.machine):
            problem = {**origin.as_json(), "problem": DIED}
            runs.finish(row.id, kind, "failed", problem, installation.actor, installation.clock())
            dead.append(row.id)
    return tuple(dead)


def _finish(
    installation: Installation, run: Run, kind: str, state: str, summary: JsonObject
) -> None:
    summary = {**run.origin.as_json(), **summary}
    installation.runs.finish(
        run.token, kind, state, summary, installation.actor, installation.clock()
    )


@dataclass(frozen=True, kw_only=True)
class _Lock:
    descriptor: int
    is_alone: bool  # nobody else held it; a shared one may not be

    def share(self) -> None:
        """Let others in; waits only for who looks for dead runs at this moment."""
        fcntl.flock(self.descriptor, fcntl.LOCK_SH)


@contextmanager
def _held(
    installation: Installation, kind: str, subject: str, *, is_shared: bool
) -> Iterator[_Lock]:
    user = other_user_of(installation.config) if os.geteuid() == 0 else None
    if kind in _LEAVING_FILES and user is not None:
        raise Refused(
            f"this place is run by the user {user}, whom what root leaves in it would keep out: "
            f"run this as that user, with `sudo -u {user}` before it"
        )
    path = _lock_file(installation, kind, subject)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        if error.errno in _MAY_ONLY_READ:
            raise OnlyReadable(
                f"each {kind} is written down, and this user cannot write into {path.parent} "
                f"({error.strerror}): run this where the place is in use, as the user who owns it"
            ) from error
        raise StandfastError(
            f"the lock {path} cannot be made: {error.strerror}; mend the folder that "
            "backup.send_log lies in, then run again"
        ) from error
    try:
        is_alone = _take(descriptor)
        if not is_alone and not is_shared:
            raise UnderWay(_who_holds(descriptor, kind, subject))
        if is_alone:
            _sign(descriptor, timestamp(installation.clock()))
        yield _Lock(descriptor=descriptor, is_alone=is_alone)
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    """Take the lock for this process alone, unless a run holds it."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_PATIENCE_SECONDS / 10)
        else:
            return True


def _lock_file(installation: Installation, kind: str, subject: str) -> Path:
    return installation.config.backup.send_log.parent / f"{kind}-{subject}.lock"


def _sign(descriptor: int, since: str) -> None:
    note = json.dumps({"pid": os.getpid(), "host": host_name(), "since": since})
    with suppress(OSError):  # a full disk keeps nobody from restoring: the lock holds without it
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, note.encode(), 0)


def _who_holds(descriptor: int, kind: str, subject: str) -> str:
    try:
        note = json.loads(os.pread(descriptor, _LARGEST_NOTE_BYTES, 0))
        since = moment(note["since"])
        who = f"process {note['pid']} on {note['host']}, since {since:%Y-%m-%d %H:%M} UTC"
    except (ValueError, KeyError, TypeError):
        who = "another process"
    return f"a {kind} of {subject} is under way ({who}); wait until it has ended, then run again"
