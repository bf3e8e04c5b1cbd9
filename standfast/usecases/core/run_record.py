"""Record of a run in the ledger; its lock file; the end of dead runs.

A run is one execution of a backup, verification, restore, drill (measured test restore), retention
or notification of people. The ledger is the database of runs and incidents.

Rules
- A run is recorded as running before it changes anything, and as ended even after an error.
- If the ledger is unavailable, a restore, a backup or a verification continues, and reports that it
  is not recorded. The ledger may have been lost together with the data, or the disk may be full.
- Two runs of one kind on one backup set never overlap on a host, because a run locks a file. The
  kernel releases the lock when the process dies, so nobody has to remove a lock file by hand.
  Restores share their lock, and may overlap.
- Root may not back up, verify or drill in another user's installation, because that user could not
  open the files and locks of root. Root may restore: a restore is never refused.
- The process that has the lock marks earlier runs that are still `running` as failed, because their
  processes have died. If hosts share a ledger, each host marks only its own runs, which have its
  backup host (`backup.writer`) and the name of its machine. The backup host alone does not suffice,
  because a second machine may have a copy of the configuration.
- The record of a run contains its origin (host, machine and store of the backups) from the start.
- A heartbeat is a request to a monitor. The last heartbeat of a run is sent before its end is
  recorded, so that the record can report a heartbeat that did not arrive.
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
from standfast.usecases.core.heartbeats import heartbeat
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import origin_of

SERVICE_SUBJECT = "service."  # prefix of the subject of a service drill; a set name has no dot
SURPRISE_SUBJECT = "any.service"  # subject of a drill of a randomly drawn service
KINDS = ("backup", "verify", "restore", "drill", "draw", "keep", "alarm", "page", "event")
_LEAVING_FILES = ("backup", "verify", "drill")  # runs that create files which later runs need
DIED = "the process ended without a result"
_LARGEST_NOTE_BYTES = 4096
_MAY_ONLY_READ = (errno.EACCES, errno.EPERM, errno.EROFS)
# Longest wait for a lock. A search for dead runs locks the file for less time than this.
_PATIENCE_SECONDS = 0.5


@dataclass(kw_only=True)
class Run:
    """A run in progress; the code that runs inside `recorded` sets its result."""

    token: str
    origin: Origin
    died_before: tuple[str, ...]  # earlier runs whose process had died
    state: str = "failed"
    summary: dict[str, Json] = field(default_factory=dict)
    ledger_problem: str = ""  # the error that prevented the record of this run or its end, or ""
    is_ledger_damaged: bool = False  # True if `ledger_problem` is about a damaged ledger

    def ends(self, state: str, summary: JsonObject) -> None:
        """Set the result: done, partial or failed.

        `summary` may contain no personal data.
        """
        self.state, self.summary = state, dict(summary)

    def record_unavailability(self, error: StandfastError) -> None:
        """Store the error that prevented the record of this run in the ledger."""
        self.ledger_problem = self.ledger_problem or str(error)
        self.is_ledger_damaged |= isinstance(error, Damaged)


@contextmanager
def recorded(
    installation: Installation, kind: str, subject: str, way: str, *, is_shared: bool = False
) -> Iterator[Run]:
    """Lock and record a run during the block, then sign the audit log.

    `subject` is the object of the run, such as the name of a backup set. `way` names the caller:
    prefect, serve, direct or incident. If a run of the same kind and subject is in progress, raise
    `UnderWay` and write nothing; with `is_shared`, both runs continue. An exception from the block
    is recorded as the failure of the run, and raised again.
    """
    with _hold_lock(installation, kind, subject, is_shared=is_shared) as lock:
        died = _mark_dead(installation, kind, subject) if lock.is_alone else ()
        if is_shared:
            lock.share()
        origin = origin_of(installation.config)
        token = installation.runs.start(
            kind, subject, way, installation.actor, installation.clock(), origin=origin
        )
        run = Run(token=token, origin=origin, died_before=died)
        try:
            with heartbeat(installation, kind, subject, run):
                yield run
        except BaseException as error:
            # Record only the class of an error from a library: its text may contain a path or
            # personal data.
            is_ours = isinstance(error, StandfastError)
            problem = str(error) if is_ours else f"unexpected {type(error).__name__}"
            with suppress(StandfastError):  # raise the error of the block, not that of `_finish`
                _finish(installation, run, kind, "failed", {**run.summary, "problem": problem})
            raise
        _finish(installation, run, kind, run.state, run.summary)
        installation.runs.sign_head(installation.clock())


@contextmanager
def recorded_if_possible(
    installation: Installation, kind: str, subject: str, way: str, *, is_shared: bool = False
) -> Iterator[Run]:
    """Record a run if possible; continue if the ledger is unavailable.

    After the block, `Run.ledger_problem` states why the run is not recorded, or "". With
    `is_shared`, the run continues even if its lock file cannot be locked.
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
                record.enter_context(_hold_lock(installation, kind, subject, is_shared=False))
            run = Run(token="", origin=NOWHERE, died_before=())
            run.record_unavailability(error)
            record.enter_context(heartbeat(installation, kind, subject, run))
        yield run
        try:
            record.close()
        except StandfastError as error:
            run.record_unavailability(error)


def other_user_of(config: Config) -> str | None:
    """Return the user of the installation if it is another user, else None.

    The user of the installation is the owner of the folder with the host's keys, because only this
    user can read the keys. Return None on a machine without host keys.
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
    """Mark runs of dead processes as failed; return kind and subject of each.

    `clean` maps a kind to a function that deletes the files of a dead run. The function is called
    while this process has the lock of the run.
    """
    marked: list[tuple[str, str]] = []
    for kind in KINDS:
        running = {row.subject for row in installation.runs.all(kind, states=["running"])}
        for subject in sorted(running):
            if not _lock_file(installation, kind, subject).exists():
                continue  # the run is of another host
            with suppress(UnderWay), _hold_lock(installation, kind, subject, is_shared=False):
                dead = _mark_dead(installation, kind, subject)
                if dead and kind in clean:
                    clean[kind](installation, subject)
                marked += [(kind, subject)] * len(dead)
    return tuple(marked)


def is_first(
    installation: Installation, run: Run, kind: str, subject: str, within: timedelta
) -> bool:
    """Return whether no other host began the same kind of run earlier.

    The lock file is local to this machine and does not exclude other hosts. Each host records its
    run before this call, so the order of the records in the ledger decides. A run that started
    longer ago than `within` is ignored as dead.
    """
    now = installation.clock()
    others = [
        row.id
        for row in installation.ledger.runs.all(kind, subject, states=["running"])
        if row.id != run.token and abs(now - row.started_at) <= within
    ]
    return not any(
        _start_sequence(installation, other) < _start_sequence(installation, run.token)
        for other in others
    )


def _start_sequence(installation: Installation, token: str) -> int:
    """Return the sequence number of the audit event of a run's start.

    Unlike the time of the start, this number does not depend on the clock of a host.
    """
    return installation.ledger.timeline(token)[0].sequence


def _mark_dead(installation: Installation, kind: str, subject: str) -> tuple[str, ...]:
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
    is_alone: bool  # no other process holds the lock; several processes may hold a shared lock

    def share(self) -> None:
        """Turn the lock into a shared lock.

        The call waits only while another process searches for dead runs.
        """
        fcntl.flock(self.descriptor, fcntl.LOCK_SH)


@contextmanager
def _hold_lock(
    installation: Installation, kind: str, subject: str, *, is_shared: bool
) -> Iterator[_Lock]:
    user = other_user_of(installation.config) if os.geteuid() == 0 else None
    if kind in _LEAVING_FILES and user is not None:
        raise Refused(
            f"{kind}: this installation belongs to the user {user}, who cannot use files of "
            f"root. Run the command as that user: put `sudo -u {user}` before it."
        )
    path = _lock_file(installation, kind, subject)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        if error.errno in _MAY_ONLY_READ:
            raise OnlyReadable(
                f"{kind}: it must be recorded, but this user cannot write to {path.parent} "
                f"({error.strerror}). Run it on the installation's machine, as the owner of "
                "that folder."
            ) from error
        raise StandfastError(
            f"lock {path}: cannot be created: {error.strerror}. Repair the folder of "
            "backup.send_log, then run the command again."
        ) from error
    try:
        is_alone = _lock_exclusively(descriptor)
        if not is_alone and not is_shared:
            raise UnderWay(_lock_holder_text(descriptor, kind, subject))
        if is_alone:
            _write_lock_note(descriptor, timestamp(installation.clock()))
        yield _Lock(descriptor=descriptor, is_alone=is_alone)
    finally:
        os.close(descriptor)


def _lock_exclusively(descriptor: int) -> bool:
    """Lock the file for this process alone; return False if it is locked."""
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


def _write_lock_note(descriptor: int, since: str) -> None:
    note = json.dumps({"pid": os.getpid(), "host": host_name(), "since": since})
    with suppress(OSError):  # a full disk must not stop a restore; the lock works without the note
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, note.encode(), 0)


def _lock_holder_text(descriptor: int, kind: str, subject: str) -> str:
    try:
        note = json.loads(os.pread(descriptor, _LARGEST_NOTE_BYTES, 0))
        since = moment(note["since"])
        holder = f"process {note['pid']} on {note['host']}, since {since:%Y-%m-%d %H:%M} UTC"
    except (ValueError, KeyError, TypeError):
        holder = "another process"
    return f"{kind} of {subject}: in progress ({holder}). Wait until it ends, then run again."
