"""What backups and restores came to, for people, for `--json` and for the ledger.

Rules
- `summary` is what the ledger keeps: counts, times and the point's name, no name of a file.
- `as_json` is for who asked: it names each file that is missing, and why.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from backup.records import BackupResult, RecoveryPoint, RestoreResult
from standfast.continuity.backup_anomalies import BackupAnomaly
from standfast.errors import ExitStatus
from standfast.records import Json, timestamp
from standfast.usecases.backups.cloned_hosts import ClonedHost
from standfast.usecases.backups.damaged_packs import kept

if TYPE_CHECKING:
    from standfast.usecases.backups.incomplete_points import IncompletePoint  # no backup needs it


@dataclass(frozen=True, kw_only=True)
class BackupOutcome:
    """What one backup of a set came to."""

    run: str
    set_name: str
    result: BackupResult
    died_before: tuple[str, ...]  # earlier runs of the set whose process had died
    jumps: tuple[BackupAnomaly, ...] = ()  # what is far more than in the nights before
    is_incomparable: bool = False  # everything was sent anew: no jump could be seen
    unrecorded: str = ""  # why the ledger has nothing of it, or could not be asked
    is_ledger_damaged: bool = False  # that is why
    twin: ClonedHost | None = None  # another machine that backs up under this host's name
    undistrusted: int = 0  # packs known to be damaged, and not which: it may be built on them

    @property
    def is_empty(self) -> bool:
        """Whether no file was there: a disk that is not mounted looks so, and nobody means that."""
        return self.result.files == 0

    @property
    def exit_status(self) -> ExitStatus:
        if self.result.is_store_damaged or self.result.key_problem or self.is_ledger_damaged:
            return ExitStatus.DAMAGED  # what is so is older; the point of this night is made
        has_twin = self.twin is not None and self.twin.is_sure
        is_alone = not (self.result.is_fork or self.result.is_intruded or has_twin)
        is_lacking = not self.result.complete or self.is_empty or self.undistrusted
        is_whole = is_alone and not is_lacking and not self.unrecorded
        return ExitStatus.DONE if is_whole else ExitStatus.PARTIAL

    def summary(self) -> dict[str, Json]:
        """What the ledger keeps: counts, and no name of a file."""
        result = self.result
        return {
            "point": result.point,
            "is_complete": result.complete,
            "is_fork": result.is_fork,
            "is_intruded": result.is_intruded,
            "is_store_damaged": result.is_store_damaged,
            "is_key_missing": bool(result.key_problem),
            "files": result.files,
            "directories": result.directories,
            "files_new": result.files_new,
            "files_changed": result.files_changed,
            "files_unchanged": result.files_unchanged,
            "unread": result.unread_total,
            "left_out": result.left_out_total,
            "vanished": result.vanished,
            "bytes_read": result.bytes_read,
            "bytes_total": result.bytes_total,
            "bytes_new": result.bytes_new,
            "bytes_changed": result.bytes_changed,
            "bytes_incompressible": result.bytes_incompressible,
            "sent_anew": result.sent_anew,
            "undistrusted": self.undistrusted,
            "jumps": [
                {
                    "what": jump.what,
                    "permille": jump.permille,
                    "usual_permille": jump.usual_permille,
                }
                for jump in self.jumps
            ],
            "warnings": len(result.warnings),
            "consistent_at": timestamp(result.consistent_at),
        }

    def as_json(self) -> dict[str, Json]:
        return {
            "run": self.run,
            "set": self.set_name,
            **self.summary(),
            "unread": [{"path": item.path, "reason": item.reason} for item in self.result.unread],
            "unread_total": self.result.unread_total,
            "left_out": [
                {"path": item.path, "reason": item.reason} for item in self.result.left_out
            ],
            "left_out_total": self.result.left_out_total,
            "warnings": list(self.result.warnings),
            "died_before": list(self.died_before),
            "twin": None if self.twin is None else self.twin.as_json(),
            "key_problem": self.result.key_problem,
            "unrecorded": self.unrecorded,
            "started_at": timestamp(self.result.started),
            "ended_at": timestamp(self.result.ended),
            "exit_status": int(self.exit_status),
        }


@dataclass(frozen=True, kw_only=True)
class PointList:
    """Recovery points, newest last; sealed details only where an identity was given."""

    points: tuple[RecoveryPoint, ...]
    damaged: tuple[tuple[str, str], ...] = ()  # what were points, perhaps, and what is wrong

    @property
    def exit_status(self) -> ExitStatus:
        return ExitStatus.DAMAGED if self.damaged else ExitStatus.DONE

    def as_json(self) -> dict[str, Json]:
        return {
            "points": [_point_as_json(point) for point in self.points],
            "damaged": [{"point": name, "problem": problem} for name, problem in self.damaged],
            "exit_status": int(self.exit_status),
        }


@dataclass(frozen=True, kw_only=True)
class RestoreOutcome:
    """What a restore wrote, and what it could not."""

    run: str
    point: RecoveryPoint
    to: Path
    result: RestoreResult
    is_damaged: bool  # something is missing because the vault is not what was written
    lacking: "IncompletePoint"  # what the point itself has not, or not whole
    newer_damaged: tuple[str, ...] = ()  # where the latest was asked for: what came after it
    is_dated_ahead: bool = False  # where the latest was asked for: its time is still to come
    unrecorded: str = ""  # why the ledger has nothing of it

    @property
    def has_found_nothing(self) -> bool:
        """Whether something was asked for, and the point holds none of it."""
        result = self.result
        has_written = result.files or result.directories
        is_missing = any(problem.is_missing for problem in result.problems)
        return bool(result.problems) and not has_written and not is_missing

    @property
    def exit_status(self) -> ExitStatus:
        if self.is_damaged or self.newer_damaged:
            return ExitStatus.DAMAGED
        if self.has_found_nothing:
            return ExitStatus.USAGE
        is_whole = not (self.result.problems or self.lacking.is_any)
        return ExitStatus.DONE if is_whole else ExitStatus.PARTIAL

    def summary(self) -> dict[str, Json]:
        """What the ledger keeps."""
        return {
            "point": self.point.name,
            "files": self.result.files,
            "directories": self.result.directories,
            "bytes": self.result.bytes,
            "problems": len(self.result.problems),
            "is_damaged": self.is_damaged,
            **kept(self.result.damaged_packs),
        }

    def as_json(self) -> dict[str, Json]:
        return {
            "run": self.run,
            "set": self.point.set_name,
            "to": str(self.to),
            **self.summary(),
            "damaged_packs": list(self.result.damaged_packs),
            "problems": [
                {"path": item.path, "reason": item.reason} for item in self.result.problems
            ],
            "lacking": self.lacking.as_json(),
            "newer_damaged": list(self.newer_damaged),
            "is_dated_ahead": self.is_dated_ahead,
            "unrecorded": self.unrecorded,
            "owners_lost": self.result.owners_lost,
            "healed": list(self.result.healed),
            "is_resumed": self.result.is_resumed,
            "is_on_disk": self.result.is_on_disk,
            "started_at": timestamp(self.result.started),
            "ended_at": timestamp(self.result.ended),
            "exit_status": int(self.exit_status),
        }


@dataclass(frozen=True, kw_only=True)
class BackupAge:
    """How old the newest good backup of a set is, against its schedule."""

    set_name: str
    due_at: datetime  # when the schedule wanted the newest run
    good_at: datetime | None  # when the newest run that gave a recovery point was begun
    age_seconds: int | None
    is_missed: bool

    def as_json(self) -> dict[str, Json]:
        return {
            "set": self.set_name,
            "due_at": timestamp(self.due_at),
            "good_at": timestamp(self.good_at) if self.good_at else None,
            "age_seconds": self.age_seconds,
            "is_missed": self.is_missed,
        }


def _point_as_json(point: RecoveryPoint) -> dict[str, Json]:
    details = point.details
    known: dict[str, Json] = {}
    if details is not None:
        known = {
            "consistent_at": timestamp(details.consistent_at),
            "files": details.files,
            "directories": details.directories,
            "bytes": details.bytes,
            "unread": details.unread_total,
        }
    return {
        "point": point.name,
        "set": point.set_name,
        "domain": point.domain,
        "at": timestamp(point.time),
        "is_complete": point.complete,
        "is_interim": point.is_interim,
        "bytes_new": point.bytes_new,
        **known,
    }
