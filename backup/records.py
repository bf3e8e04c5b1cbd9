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
    bytes_total: int = 0  # what `bytes_done` comes to in the end; 0 where that is not known


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
    is_intruded: bool  # since the last point somebody put what is none where this host's points go
    is_store_damaged: bool  # it lacks what this host had put or seen there: see `warnings`
    files: int
    directories: int
    bytes_read: int  # from the sources
    bytes_total: int  # of all files; each name of a hard link counts by itself
    bytes_new: int  # added to the store, packs and snapshots
    bytes_changed: int  # of content that was not stored before, as it lies in the sources
    sent_anew: bool  # the host knew no earlier run of the set: what is new or changed says nothing
    bytes_incompressible: int  # of that, what hardly compressed: media, or something encrypted
    files_new: int
    files_changed: int
    files_unchanged: int
    unread: tuple[Unread, ...]  # at most 10,000 are named
    unread_total: int
    left_out: tuple[Unread, ...]  # sockets and the like, at most 100 a source are named
    left_out_total: int
    vanished: int  # listed, and deleted before they were read
    consistent_at: datetime  # every change finished before this moment is in the point
    started: datetime
    ended: datetime
    warnings: tuple[str, ...]
    key_problem: str = ""  # why the key store has no key record for what was sealed


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
class RecoveryPointDetails:
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
class RecoveryPoint:
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
    details: RecoveryPointDetails | None

    @property
    def name(self) -> str:
        """How people and commands name the point."""
        return f"{self.writer}/{self.sequence:010d}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundPath:
    """One version of a path, and the points that hold it."""

    path: str
    kind: str
    size: int
    modified_ns: int
    points: tuple[str, ...]  # newest first


Aspect = Literal[
    "kind", "content", "target", "device", "mode", "owner", "time", "xattrs", "hard link"
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A path that two points do not hold alike."""

    path: str
    change: Literal["added", "removed", "changed"]
    aspects: tuple[Aspect, ...]  # of what was changed
    kind: str
    size_before: int | None
    size_after: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One path that was not restored, or not exactly."""

    path: str
    reason: str
    is_missing: bool = False  # not there at all; the same restore, run again, tries it once more
    is_damage: bool = False  # and that because the store no longer holds what it was given


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreResult:
    """What a restore wrote; it is whole only when `problems` is empty."""

    files: int
    directories: int
    bytes: int
    problems: tuple[Problem, ...]
    started: datetime
    ended: datetime
    healed: tuple[str, ...] = ()  # packs that were not as stored, and where their content came from
    damaged_packs: tuple[str, ...] = ()  # by name; or that share a frame with one that is damaged
    owners_lost: int = 0  # paths of other users or groups, restored without their owner
    is_resumed: bool = False  # it went on with a restore that had not ended
    is_on_disk: bool = True  # the disk was waited for; until it has everything, a power cut loses


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The newest snapshot of a writer; kept elsewhere, it is the witness against a rollback."""

    writer: str
    sequence: int
    sha256: str


# How a problem shows: by looking at lists and signed records, by reading every byte, or only by
# opening what is encrypted.
Depth = Literal["looking", "reading", "opening"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that `verify` found; `error` means that data or history is not what it was."""

    severity: Literal["error", "warning", "note"]
    object: str
    problem: str
    what_to_do: str
    depth: Depth = "looking"  # what it took to find it


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """What was drawn at random, and what that says of the rest."""

    pieces: int
    content_bytes: int  # of what was drawn from: what all points would restore, point by point
    damage: float  # the share of damaged content that the confidence is about
    confidence: float  # the chance that so much damage would have been found

    @property
    def sentence(self) -> str:
        """Say it for people; the confidence is rounded down."""
        if not self.pieces:
            return "there is no content to draw from"
        # A hair more, so that 0.29 × 1,000 is 290 and not 289.999….
        certainty = min(int(self.confidence * 1000 + 1e-9) / 10, 99.9)
        from decimal import Decimal  # most commands draw no sample

        # Of a small share its first digits count: it must not come to nothing.
        percent = format(Decimal(f"{100 * self.damage:.4g}"), "f")
        return (
            f"{self.pieces:,} pieces of content were drawn at random and opened: if"
            f" {percent}% or more of it were damaged, this would have found it with"
            f" {certainty:.1f}% certainty"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LockSummary:
    """How many of the objects that must be locked were looked at, and what came of it."""

    objects: int  # that must be locked
    looked_at: int  # of these, and known
    wrong: int  # without a lock, or with a shorter or a weaker one than keeping demands
    unknown: int  # the store did not tell

    @property
    def is_right(self) -> bool:
        """Whether all that was asked for is known, and as it must be."""
        return not (self.wrong or self.unknown)

    @property
    def sentence(self) -> str:
        """Say it for people."""
        looked = f"the locks of {self.looked_at:,} of {self.objects:,} objects were looked at"
        unknown = f", {self.unknown:,} unknown" if self.unknown else ""
        return f"{looked}: {self.wrong or 'none'} wrong{unknown}"


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyReport:
    """What was checked and found."""

    findings: tuple[Finding, ...]
    points: int
    packs: int
    bytes_read: int
    heads: tuple[Head, ...]
    saw: tuple[Depth, ...] = ("looking",)  # what was looked into wholly, so that no news is good
    sampled: Sampled | None = None
    locks: LockSummary | None = None  # None where the store locks nothing
    damaged_packs: tuple[str, ...] = ()  # by name: what the next backup must not build on

    @property
    def is_sound(self) -> bool:
        """Whether nothing of severity `error` was found."""
        return all(finding.severity != "error" for finding in self.findings)
