"""Lists of recovery points, and search and comparison of their files.

A recovery point is the state of a backup set that one backup stored.

Rules
- File names and contents are returned to the caller, and never written to a disk. The ledger (the
  database of runs) records that the content of a file was read, but not the name of the file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backup.format.manifest import Entry
from backup.records import Difference, FoundPath, RecoveryPoint
from standfast.errors import ExitStatus
from standfast.records import Json, timestamp
from standfast.usecases.backups.outcomes import PointList
from standfast.usecases.backups.restore_warnings import damaged_points
from standfast.usecases.core.backup_repository import (
    check_set,
    identity_of,
    open_repository,
    translated_errors,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import recorded_if_possible


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The entries of one folder of a point."""

    point: RecoveryPoint
    entries: tuple[Entry, ...]

    def as_json(self) -> dict[str, Json]:
        return {
            "point": self.point.name,
            "entries": [
                {
                    "path": entry.text,
                    "kind": entry.kind,
                    "size": entry.size,
                    "mode": f"{entry.mode:04o}",
                    "user": entry.user or str(entry.uid),
                    "group": entry.group or str(entry.gid),
                    "modified_at": timestamp(moment(entry.modified_ns)),
                }
                for entry in self.entries
            ],
            "exit_status": int(ExitStatus.DONE),
        }


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Versions of paths, and the recovery points that contain each version."""

    points: tuple[RecoveryPoint, ...]  # the searched points
    found: tuple[FoundPath, ...]

    def as_json(self) -> dict[str, Json]:
        return {
            "searched": [point.name for point in self.points],
            "found": [
                {
                    "path": path.path,
                    "kind": path.kind,
                    "size": path.size,
                    "modified_at": timestamp(moment(path.modified_ns)),
                    "points": list(path.points),
                }
                for path in self.found
            ],
            "exit_status": int(ExitStatus.DONE),
        }


@dataclass(frozen=True, kw_only=True)
class RecoveryPointDiff:
    """The differences between two points."""

    before: RecoveryPoint
    after: RecoveryPoint
    differences: tuple[Difference, ...]

    def as_json(self) -> dict[str, Json]:
        return {
            "before": self.before.name,
            "after": self.after.name,
            "differences": [
                {
                    "path": difference.path,
                    "change": difference.change,
                    "aspects": list(difference.aspects),
                    "kind": difference.kind,
                    "size_before": difference.size_before,
                    "size_after": difference.size_after,
                }
                for difference in self.differences
            ],
            "exit_status": int(ExitStatus.DONE),
        }


def list_points(
    installation: Installation, set_name: str | None = None, identity: Path | None = None
) -> PointList:
    """List the recovery points of one backup set, or of all backup sets.

    `identity` is a file with a private key that decrypts the details of the points.
    """
    with translated_errors("listing recovery points"):
        opened = None if identity is None else identity_of(installation, identity)
        repository = open_repository(installation, opened)
        points = repository.points(set_name)
    check_set(installation, set_name, points)
    return PointList(points=tuple(points), damaged=damaged_points(repository))


def list_folder(
    installation: Installation,
    point: str,
    folder: str,
    identity_file: Path | None,
    set_name: str | None = None,
) -> Listing:
    """List a folder of a point; for "", list the sources of the point.

    Raise UsageError for an unknown point or folder.
    """
    with translated_errors(f"looking into {point}"):
        repository = open_repository(installation, identity_of(installation, identity_file))
        chosen = repository.resolve(point, set_name)
        return Listing(point=chosen, entries=tuple(repository.list_folder(chosen, folder)))


def find_paths(
    installation: Installation,
    patterns: Sequence[str],
    identity_file: Path | None,
    set_name: str | None = None,
    *,
    in_all_points: bool = False,
) -> Findings:
    """Find paths in the newest point of each set, or in all points.

    `set_name` limits the search to one set.
    """
    with translated_errors("searching the recovery points"):
        repository = open_repository(installation, identity_of(installation, identity_file))
        points = repository.points(set_name)
        check_set(installation, set_name, points)
        if not in_all_points:
            ended = [point for point in points if not point.is_interim]
            newest = {point.set_name: point for point in (*points, *ended)}
            points = [point for point in points if point in newest.values()]
        found = repository.find(patterns, points)
    return Findings(points=tuple(points), found=tuple(found))


def compare_points(
    installation: Installation,
    before: str,
    after: str,
    identity_file: Path | None,
    patterns: Sequence[str] = (),
    set_name: str | None = None,
) -> RecoveryPointDiff:
    """Return the differences between two points of one host.

    "latest" means the newest point of the set and host of the other point.
    """
    with translated_errors(f"comparing {before} with {after}"):
        repository = open_repository(installation, identity_of(installation, identity_file))
        if "latest" in (before, after) and before != after:
            named = repository.resolve(before if after == "latest" else after, set_name)
            set_name, latest = named.set_name, f"{named.writer}/latest"
            before, after = (latest if text == "latest" else text for text in (before, after))
        earlier, later = (repository.resolve(text, set_name) for text in (before, after))
        return RecoveryPointDiff(
            before=earlier,
            after=later,
            differences=tuple(repository.diff(earlier, later, patterns)),
        )


def write_file_to(
    installation: Installation,
    point: str,
    path: str,
    identity_file: Path | None,
    write: Callable[[bytes], object],
    set_name: str | None = None,
) -> str:
    """Pass the content of a file to `write`, in pieces.

    Each piece is verified before it is passed. Return the reason if the ledger does not record this
    read, else "". `Damaged` may be raised after a part was passed; that part is correct.
    """
    with translated_errors("restoring"):
        repository = open_repository(installation, identity_of(installation, identity_file))
        chosen = repository.resolve(point, set_name)
        pieces = repository.stream(chosen, path)
    with (
        recorded_if_possible(
            installation, "restore", chosen.set_name, "direct", is_shared=True
        ) as run,
        translated_errors(f"restoring out of {chosen.name}"),
    ):
        written = 0
        for piece in pieces:
            write(piece)
            written += len(piece)
        run.ends("done", {"point": chosen.name, "files": 1, "bytes": written, "problems": 0})
    return run.ledger_problem


def moment(nanoseconds: int) -> datetime:
    """Return a file time in whole microseconds, within the years 1 to 9999."""
    try:
        return datetime.fromtimestamp(nanoseconds // 1000 / 1_000_000, UTC)
    except (OverflowError, ValueError):
        return (
            datetime.max.replace(tzinfo=UTC)
            if nanoseconds > 0
            else datetime.min.replace(tzinfo=UTC)
        )
