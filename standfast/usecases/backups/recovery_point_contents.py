"""Looking into recovery points: which there are, a folder's list, a search, a comparison, a file.

Rules
- Nothing here writes to a disk. What is read out of the vault goes to who asked, and its names are
  in no ledger; that a file was taken out is.
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
from standfast.usecases.core.backup_repository import (
    check_set,
    identity_of,
    opened_repository,
    translated_errors,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import recorded_if_possible


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What lies in one folder of a point."""

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
    """Versions of paths, and the points that hold each."""

    points: tuple[RecoveryPoint, ...]  # that were searched
    found: tuple[FoundPath, ...]

    def as_json(self) -> dict[str, Json]:
        return {
            "searched": [point.name for point in self.points],
            "found": [
                {
                    "path": one.path,
                    "kind": one.kind,
                    "size": one.size,
                    "modified_at": timestamp(moment(one.modified_ns)),
                    "points": list(one.points),
                }
                for one in self.found
            ],
            "exit_status": int(ExitStatus.DONE),
        }


@dataclass(frozen=True, kw_only=True)
class RecoveryPointDiff:
    """What is different in the later of two points."""

    before: RecoveryPoint
    after: RecoveryPoint
    differences: tuple[Difference, ...]

    def as_json(self) -> dict[str, Json]:
        return {
            "before": self.before.name,
            "after": self.after.name,
            "differences": [
                {
                    "path": one.path,
                    "change": one.change,
                    "aspects": list(one.aspects),
                    "kind": one.kind,
                    "size_before": one.size_before,
                    "size_after": one.size_after,
                }
                for one in self.differences
            ],
            "exit_status": int(ExitStatus.DONE),
        }


def list_points(
    installation: Installation, set_name: str | None = None, identity: Path | None = None
) -> PointList:
    """List the recovery points of one set or of all; `identity` is a custodian's file."""
    with translated_errors("listing recovery points"):
        opened = None if identity is None else identity_of(installation, identity)
        repository = opened_repository(installation, opened)
        points = repository.points(set_name)
    check_set(installation, set_name, points)
    from standfast.usecases.backups.damage_cause import damaged_points  # nothing else here needs it

    return PointList(points=tuple(points), damaged=damaged_points(repository))


def list_folder(
    installation: Installation,
    point: str,
    folder: str,
    identity_file: Path | None,
    set_name: str | None = None,
) -> Listing:
    """List what lies directly in a folder of a point; "" are its sources.

    `UsageError` when there is no such point or folder.
    """
    with translated_errors(f"looking into {point}"):
        repository = opened_repository(installation, identity_of(installation, identity_file))
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
    """Search the newest point of each set, or all points, of one set where it is named."""
    with translated_errors("searching the recovery points"):
        repository = opened_repository(installation, identity_of(installation, identity_file))
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
    """Say what is different in the later of two points of one host.

    Beside a point that is named, "latest" is that of its set and host.
    """
    with translated_errors(f"comparing {before} with {after}"):
        repository = opened_repository(installation, identity_of(installation, identity_file))
        if "latest" in (before, after) and before != after:
            named = repository.resolve(before if after == "latest" else after, set_name)
            set_name, latest = named.set_name, f"{named.writer}/latest"
            before, after = (latest if text == "latest" else text for text in (before, after))
        one, two = (repository.resolve(text, set_name) for text in (before, after))
        return RecoveryPointDiff(
            before=one, after=two, differences=tuple(repository.diff(one, two, patterns))
        )


def write_file_to(
    installation: Installation,
    point: str,
    path: str,
    identity_file: Path | None,
    write: Callable[[bytes], object],
    set_name: str | None = None,
) -> str:
    """Hand one file's content to `write`, piece by piece as proven.

    Gives why the ledger has nothing of it, or "" when it has. `Damaged` may come after some of it
    was written: that is then right, and not all of it.
    """
    with translated_errors("restoring"):
        repository = opened_repository(installation, identity_of(installation, identity_file))
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
    return run.unrecorded


def moment(nanoseconds: int) -> datetime:
    """A time of a file as a datetime, for people: cut to microseconds, and to the years we have."""
    try:
        return datetime.fromtimestamp(nanoseconds // 1000 / 1_000_000, UTC)
    except (OverflowError, ValueError):
        return (
            datetime.max.replace(tzinfo=UTC)
            if nanoseconds > 0
            else datetime.min.replace(tzinfo=UTC)
        )
