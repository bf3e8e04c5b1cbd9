"""The records that callers receive: progress, results, recovery points, findings.

- Every record is frozen; every datetime is aware and UTC; every size is in bytes.
- A path that a person may see is text in the encoding of FORMAT.md ("Path text"): bytes that are
  not UTF-8 and the percent sign stand as %XX, so it prints anywhere and converts back exactly.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a long call has come; sent a few times a second."""

    phase: Literal["reading", "storing", "restoring", "verifying"]
    path: str  # what is being worked on, for display
    files: int
    bytes_done: int  # read, restored or verified so far
    bytes_new: int  # stored so far; 0 where nothing is stored


@dataclass(frozen=True, kw_only=True, slots=True)
class Unread:
    """Something that the point lacks, or holds only as it was in the middle of a change."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BackupResult:
    """What one call of `back_up` made."""

    point: str  # "<writer>/<sequence, 10 digits>"
    sequence: int
    set_name: str
    complete: bool  # False: see `unread`; everything else is in the point
    is_fork: bool  # the store held a point that this machine did not know: clone or rolled back
    files: int
    directories: int
    bytes_read: int  # from the sources
    bytes_total: int  # what a restore would write
    bytes_new: int  # added to the store, packs and snapshots
    files_new: int
    files_changed: int
    files_unchanged: int
    unread: tuple[Unread, ...]  # at most 10,000 are named
    unread_total: int
    consistent_at: datetime  # every change finished before this moment is in the point
    started: datetime
    ended: datetime
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceOutcome:
    """What one source gave to a point."""

    name: str
    kind: str  # "files", "sqlite", ...
    consistent_at: datetime
    files: int
    bytes: int
    problem: str | None  # why the source failed wholly


@dataclass(frozen=True, kw_only=True, slots=True)
class PointDetails:
    """The sealed part of a recovery point: known only to who holds a key."""

    consistent_at: datetime
    started: datetime
    ended: datetime
    files: int
    directories: int
    bytes: int
    unread: tuple[Unread, ...]
    unread_total: int
    sources: tuple[SourceOutcome, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A recovery point; `details` is None without an identity."""

    writer: str
    sequence: int
    set_name: str
    domain: str
    time: datetime  # when the writer committed it, by the writer's clock
    complete: bool  # everything was read
    is_interim: bool  # committed in the middle of a run: lacks what came later
    bytes_new: int  # size of the packs that it added
    object_name: str
    sha256: str
    details: PointDetails | None

    @property
    def name(self) -> str:
        """How people and commands name the point."""
        return f"{self.writer}/{self.sequence:010d}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One path that was not restored, or not exactly."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreResult:
    """What a restore wrote; it is whole only when `problems` is empty."""

    files: int
    directories: int
    bytes: int
    problems: tuple[Problem, ...]
    started: datetime
    ended: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The newest snapshot of a writer; kept elsewhere, it is the witness against a rollback."""

    writer: str
    sequence: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that `verify` found; `error` means that data or history is not what it was."""

    severity: Literal["error", "warning", "note"]
    object: str
    problem: str
    what_to_do: str


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyReport:
    """What was checked and found."""

    findings: tuple[Finding, ...]
    points: int
    packs: int
    bytes_read: int
    heads: tuple[Head, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing of severity `error` was found."""
        return all(finding.severity != "error" for finding in self.findings)
