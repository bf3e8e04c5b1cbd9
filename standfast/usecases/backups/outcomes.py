"""Outcomes of backups and restores: exit status, JSON, ledger record.

Rules
- `summary` is the part for the ledger (the database of runs). It contains counts, times and the
  name of the recovery point, but no file name.
- `as_json` is for the person that started the command. It names each missing file, with the reason.
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
from standfast.usecases.backups.damaged_packs import damaged_packs_as_json
from standfast.usecases.backups.hooks import HookResult

if TYPE_CHECKING:
    from standfast.usecases.backups.restore_warnings import (
        IncompletePoint,
    )  # only restores load it


@dataclass(frozen=True, kw_only=True)
class BackupOutcome:
    """The outcome of one backup of a backup set."""

    run: str
    set_name: str
    result: BackupResult
    died_before: tuple[str, ...]  # earlier runs of the set whose process had died
    hooks: tuple[HookResult, ...] = ()
    jumps: tuple[BackupAnomaly, ...] = ()  # measures far above those of earlier backups
    is_incomparable: bool = False  # everything was uploaded again: anomalies cannot be detected
    ledger_problem: str = ""  # the error that prevented the use of the ledger, or ""
    is_ledger_damaged: bool = False  # True if `ledger_problem` is about a damaged ledger
    cloned_host: ClonedHost | None = None  # another machine that backs up under this host's name
    undistrusted: int = 0  # damaged packs without a recorded name; the recovery point may use them

    @property
    def is_empty(self) -> bool:
        """True if no file was read, for example because a disk is not mounted."""
        return self.result.files == 0

    @property
    def exit_status(self) -> ExitStatus:
        if self.result.is_store_damaged or self.result.key_problem or self.is_ledger_damaged:
            return ExitStatus.DAMAGED  # earlier data is damaged; the new recovery point exists
        has_clone = self.cloned_host is not None and self.cloned_host.is_sure
        result = self.result
        is_alone = not (result.has_foreign_point or result.has_invalid_snapshots or has_clone)
        is_lacking = not self.result.complete or self.is_empty or self.undistrusted
        has_failed_hook = any(hook.problem and hook.is_required for hook in self.hooks)
        is_whole = is_alone and not (is_lacking or self.ledger_problem or has_failed_hook)
        return ExitStatus.DONE if is_whole else ExitStatus.PARTIAL

    def summary(self) -> dict[str, Json]:
        """Return the part for the ledger: counts, and no file name."""
        result = self.result
        return {
            "point": result.point,
            "is_complete": result.complete,
            "has_foreign_point": result.has_foreign_point,
            "has_invalid_snapshots": result.has_invalid_snapshots,
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
            "sent_anew": result.is_full_upload,
            "undistrusted": self.undistrusted,
            "jumps": [
                {
                    "what": jump.measure,
                    "permille": jump.permille,
                    "usual_permille": jump.usual_permille,
                }
                for jump in self.jumps
            ],
            "warnings": len(result.warnings),
            "consistent_at": timestamp(result.consistent_at),
            **({"hooks": [hook.as_json() for hook in self.hooks]} if self.hooks else {}),
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
            "cloned_host": None if self.cloned_host is None else self.cloned_host.as_json(),
            "key_problem": self.result.key_problem,
            "unrecorded": self.ledger_problem,
            "started_at": timestamp(self.result.started),
            "ended_at": timestamp(self.result.ended),
            "exit_status": int(self.exit_status),
        }


@dataclass(frozen=True, kw_only=True)
class PointList:
    """Recovery points, newest last.

    The encrypted details of a point, such as its number of files, are included only if a private
    key was given.
    """

    points: tuple[RecoveryPoint, ...]
    damaged: tuple[tuple[str, str], ...] = ()  # name and problem of unreadable points

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
    """The restored data and the problems of a restore."""

    run: str
    point: RecoveryPoint
    to: Path
    result: RestoreResult
    is_damaged: bool  # files are missing because the stored backups are damaged
    lacking: "IncompletePoint"  # the data that the point lacks or contains only partly
    newer_damaged: tuple[str, ...] = ()  # damaged points that are newer than the chosen point
    is_dated_ahead: bool = False  # the point chosen as latest has a time in the future
    ledger_problem: str = ""  # the error that prevented the record in the ledger, or ""

    @property
    def has_found_nothing(self) -> bool:
        """True if nothing in the point matches the selection."""
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
        """Return the part for the ledger."""
        return {
            "point": self.point.name,
            "files": self.result.files,
            "directories": self.result.directories,
            "bytes": self.result.bytes,
            "problems": len(self.result.problems),
            "is_damaged": self.is_damaged,
            **damaged_packs_as_json(self.result.damaged_packs),
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
            "unrecorded": self.ledger_problem,
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
    """The age of a set's newest good backup, compared with its schedule."""

    set_name: str
    due_at: datetime  # the last time at which the schedule starts a run
    good_at: datetime | None  # the start of the newest run with a recovery point
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
