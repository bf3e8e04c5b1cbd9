"""Records that callers receive: progress, results, points, findings.

- A recovery point (point) is one restorable backup of a backup set. A writer is a backup host. A
  pack is a container of backup content in the store.
- Every record is frozen; every datetime is aware and UTC; every size is in bytes.
- A path for people is path text (see FORMAT.md). Bytes that are not UTF-8, control characters and
  the percent sign are written as %XX. So the text is printable and can be converted back exactly.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

INSTALLATION_SET = "installation"  # the backup set with Standfast's own files


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Progress of a long call, reported a few times a second."""

    phase: Literal["reading", "storing", "restoring", "verifying"]
    path: str  # the object or path in progress, for display
    files: int
    bytes_done: int  # read, restored or verified so far
    bytes_new: int  # stored so far; 0 if nothing is stored
    bytes_total: int = 0  # the final value of `bytes_done`; 0 if unknown


@dataclass(frozen=True, kw_only=True, slots=True)
class Unread:
    """A path that is missing in the recovery point, or inconsistent."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BackupResult:
    """Result of one call of `back_up`."""

    point: str  # "<writer>/<sequence, 10 digits>"
    sequence: int
    set_name: str
    complete: bool  # whether all paths were read; if not, see `unread`
    # The store had a recovery point under this host's name that this host did not make: the machine
    # was cloned or rolled back.
    has_foreign_point: bool
    # After the last recovery point, somebody put invalid objects under names of snapshots. A
    # snapshot is the signed object that makes a recovery point exist.
    has_invalid_snapshots: bool
    is_store_damaged: bool  # the store lacks objects that this host put or saw: see `warnings`
    files: int
    directories: int
    bytes_read: int  # from the sources
    bytes_total: int  # size of all files; a file with several names counts several times
    bytes_new: int  # size of the packs and snapshots that were put
    bytes_changed: int  # uncompressed size of content that was not stored before
    # Whether the upload cache (local list of stored content) knew no earlier run of the set. If so,
    # every file counts as new.
    is_full_upload: bool
    bytes_incompressible: int  # incompressible part of `bytes_changed`: media, or encrypted content
    files_new: int
    files_changed: int
    files_unchanged: int
    unread: tuple[Unread, ...]  # at most 10,000 are named
    unread_total: int
    left_out: tuple[Unread, ...]  # omitted paths such as sockets; at most 100 per source are named
    left_out_total: int
    vanished: int  # paths that were listed, but deleted before they were read
    consistent_at: datetime  # the recovery point has all changes that ended before this moment
    started: datetime
    ended: datetime
    warnings: tuple[str, ...]
    key_problem: str = ""  # why the key store has no key for the new packs; empty if it has one


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceOutcome:
    """Part of one source in a recovery point."""

    name: str
    kind: str  # "files", "sqlite", ...
    consistent_at: datetime
    files: int
    bytes: int
    problem: str | None  # why the source failed; None if it did not fail


@dataclass(frozen=True, kw_only=True, slots=True)
class RecoveryPointDetails:
    """Encrypted details of a recovery point; a decryption key opens them."""

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
    """A recovery point; `details` is None without a decryption key."""

    writer: str  # the backup host
    sequence: int
    set_name: str
    domain: str  # name of the key pair to which it is encrypted
    time: datetime  # time of the commit, by the writer's clock
    complete: bool  # the run ended and has read all paths
    is_interim: bool  # committed before the end of a run; paths that were read later are missing
    bytes_new: int  # size of the packs that this recovery point added
    object_name: str
    sha256: str
    details: RecoveryPointDetails | None

    @property
    def name(self) -> str:
        """Return the name for people and commands."""
        return f"{self.writer}/{self.sequence:010d}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundPath:
    """One version of a path, and the recovery points that contain it."""

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
    """A path that differs between two recovery points."""

    path: str
    change: Literal["added", "removed", "changed"]
    aspects: tuple[Aspect, ...]  # what changed; empty for an added or removed path
    kind: str
    size_before: int | None
    size_after: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """A path that was not restored, or not exactly."""

    path: str
    reason: str
    is_missing: bool = False  # the path does not exist; a repeated restore tries it again
    is_damage: bool = False  # the cause is lost or changed data in the store


@dataclass(frozen=True, kw_only=True, slots=True)
class RestoreResult:
    """Result of a restore; complete only if `problems` is empty."""

    files: int
    directories: int
    bytes: int
    problems: tuple[Problem, ...]
    started: datetime
    ended: datetime
    healed: tuple[str, ...] = ()  # a sentence for each damaged pack with content read from others
    # Names of packs. If damaged content continues in a second pack, both are named.
    damaged_packs: tuple[str, ...] = ()
    owners_lost: int = 0  # paths of other users or groups, restored without their owner
    is_resumed: bool = False  # the call continued an interrupted restore
    is_on_disk: bool = True  # False: files are not flushed yet, and a power failure may lose them


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """Newest snapshot of a backup host; kept elsewhere, it reveals a rollback."""

    writer: str
    sequence: int
    sha256: str


# Depth of a check: "looking" compares listings and signed records, "reading" also reads every byte,
# "opening" also decrypts.
Depth = Literal["looking", "reading", "opening"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A finding of `verify`."""

    severity: Literal["error", "warning", "note"]  # "error": data or history changed
    object: str
    problem: str
    what_to_do: str
    depth: Depth = "looking"  # depth of the check that found it


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """A random sample of content, and the probability that it finds damage."""

    pieces: int
    content_bytes: int  # sum over all recovery points; content that points share counts for each
    damage: float  # share of damaged content
    confidence: float  # probability that the sample finds damage, if this share is damaged

    @property
    def sentence(self) -> str:
        """Return a sentence for people; the confidence is rounded down."""
        if not self.pieces:
            return "there is no content to draw from"
        # Add a little, so that 0.29 × 1,000 is 290 and not 289.999….
        certainty = min(int(self.confidence * 1000 + 1e-9) / 10, 99.9)
        # Keep the first digits of a small share, so that it is not rounded to 0.
        percent = format(Decimal(f"{100 * self.damage:.4g}"), "f")
        return (
            f"{self.pieces:,} random pieces of content were decrypted: if {percent}% or more of "
            f"the content were damaged, they would have shown it with {certainty:.1f}% certainty"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LockSummary:
    """Numbers of objects by the result of the lock check."""

    objects: int  # objects that must be locked
    looked_at: int  # checked objects; the store reported their lock, or that they have no lock
    wrong: int  # checked objects without a lock, or with a shorter or weaker lock than needed
    unknown: int  # objects for which the store did not answer

    @property
    def is_right(self) -> bool:
        """Return whether all checked locks are known and right."""
        return not (self.wrong or self.unknown)

    @property
    def sentence(self) -> str:
        """Return a sentence for people."""
        looked = f"{self.looked_at:,} of {self.objects:,} locks were checked"
        unknown = f", {self.unknown:,} unknown" if self.unknown else ""
        return f"{looked}: {self.wrong or 'none'} wrong{unknown}"


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyReport:
    """Scope and findings of a verification."""

    findings: tuple[Finding, ...]
    points: int
    packs: int
    bytes_read: int
    heads: tuple[Head, ...]
    saw: tuple[Depth, ...] = ("looking",)  # depths of the checks that covered all objects
    sampled: Sampled | None = None
    locks: LockSummary | None = None  # None if the store does not lock objects
    damaged_packs: tuple[str, ...] = ()  # names of packs that the next backup must not use

    @property
    def is_sound(self) -> bool:
        """Return whether there is no finding of severity `error`."""
        return all(finding.severity != "error" for finding in self.findings)
