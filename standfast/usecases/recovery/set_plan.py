"""Plan of the recovery of one set: its point, targets and refusals.

Rules
- A person signs the plan to approve it. The signed plan contains the recovery point and each
  target, and states whether a target has data.
- All sources of a set are recovered, so each source must have a target. If a target cannot be
  replaced, or if its disk has too little space, the set is refused before anything is restored.
- The paths of targets are on the machine that made the plan. No other machine may execute the plan.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

from backup.records import RecoveryPoint
from backup.repository import Repository
from standfast.config.sections.backup import BackupSetConfig
from standfast.config.sections.recovery import KINDS_WITH_LOG, RECOVERABLE_KINDS
from standfast.errors import Refused, UsageError
from standfast.host_name import host_name
from standfast.playbook.actions.drill_last_clean_point import FIND
from standfast.records import EffectState, JsonObject, moment, timestamp, typed_time_to_utc
from standfast.usecases.backups.folder_restore import refuse_stores
from standfast.usecases.core.backup_repository import (
    identity_of,
    open_repository,
    set_of,
    translated_errors,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.chosen_point import open_newest
from standfast.usecases.recovery.planned_buckets import PlannedBucket, plan_bucket
from standfast.usecases.recovery.planned_databases import PlannedDatabase, plan_databases
from standfast.usecases.recovery.replacement import Replacement

NEWEST, CLEAN = "newest", "clean"
_SEARCHED_LATER = "an example: the clean point is searched before the recovery"


@dataclass(frozen=True, kw_only=True)
class PlannedTarget:
    """One source, and the path at which its restored data replaces other data."""

    source: str
    replacement: Replacement
    has_data: bool
    size_bytes: int  # size of the data at the target
    until: datetime | None = None  # end of the replay of a data directory's log; None: all of it

    @property
    def place(self) -> str:
        """The target, in words."""
        if not self.replacement.is_data_directory:
            return str(self.replacement.path)
        end = "its end" if self.until is None else timestamp(self.until)
        return f"{self.replacement.path} (log up to {end})"

    @property
    def later_name(self) -> str:
        """The name that the previous data gets when it is replaced."""
        return str(self.replacement.set_aside)

    def as_json(self) -> JsonObject:
        return {
            "source": self.source,
            "path": str(self.replacement.path),
            "is_database": self.replacement.is_database,
            "is_data_directory": self.replacement.is_data_directory,
            "until": timestamp(self.until) if self.until else None,
            "has_data": self.has_data,
            "size_bytes": self.size_bytes,
            "set_aside": self.later_name if self.has_data else None,
        }


@dataclass(frozen=True, kw_only=True)
class SetPlan:
    """The plan of the recovery of one set, as a person approves it."""

    point: str
    point_time: datetime
    consistent_at: datetime  # changes until this time are in the recovery point
    is_complete: bool  # True if the backup could read all files of all sources
    evidence: str  # the reason why the point was chosen, in words
    services: tuple[str, ...]
    machine: str
    size_bytes: int  # size of the recovery point
    targets: tuple[PlannedTarget, ...]  # targets that are paths
    databases: tuple[PlannedDatabase, ...]
    buckets: tuple[PlannedBucket, ...]

    @property
    def everything(self) -> tuple[PlannedTarget | PlannedDatabase | PlannedBucket, ...]:
        """All targets: paths, then databases, then buckets."""
        return (*self.targets, *self.databases, *self.buckets)

    @property
    def staged(self) -> tuple[PlannedTarget | PlannedBucket, ...]:
        """The targets that are first restored to a local folder."""
        return (*self.targets, *self.buckets)

    @property
    def directories(self) -> tuple[PlannedTarget, ...]:
        """The targets that are PostgreSQL data directories."""
        return tuple(target for target in self.targets if target.replacement.is_data_directory)

    @property
    def replaces(self) -> tuple[PlannedTarget | PlannedDatabase | PlannedBucket, ...]:
        """The targets with data that the recovery renames or hides."""
        return tuple(target for target in self.everything if target.has_data)

    def as_json(self) -> JsonObject:
        """Return the plan in the form that is stored and approved."""
        return {
            "point": self.point,
            "point_time": timestamp(self.point_time),
            "consistent_at": timestamp(self.consistent_at),
            "is_complete": self.is_complete,
            "evidence": self.evidence,
            "services": list(self.services),
            "machine": self.machine,
            "size_bytes": self.size_bytes,
            "targets": [target.as_json() for target in self.targets],
            "databases": [database.as_json() for database in self.databases],
            "buckets": [bucket.as_json() for bucket in self.buckets],
        }

    @staticmethod
    def of_effect(details: JsonObject, incident: str) -> "SetPlan | None":
        """Read a stored plan; None in an exercise or for a refused set."""
        return SetPlan.from_json(details, incident) if "targets" in details else None

    @staticmethod
    def from_json(details: JsonObject, incident: str) -> "SetPlan":
        """Read a stored plan of this incident."""
        return SetPlan(
            point=str(details["point"]),
            point_time=moment(str(details["point_time"])),
            consistent_at=moment(str(details["consistent_at"])),
            is_complete=bool(details["is_complete"]),
            evidence=str(details["evidence"]),
            services=tuple(cast("Sequence[str]", details["services"])),
            machine=str(details["machine"]),
            size_bytes=cast("int", details["size_bytes"]),
            targets=tuple(
                PlannedTarget(
                    source=str(target["source"]),
                    replacement=Replacement(
                        path=Path(str(target["path"])),
                        incident=incident,
                        is_database=bool(target["is_database"]),
                        is_data_directory=bool(target.get("is_data_directory")),
                    ),
                    has_data=bool(target["has_data"]),
                    until=moment(str(target["until"])) if target.get("until") else None,
                    size_bytes=cast("int", target["size_bytes"]),
                )
                for target in cast("Sequence[JsonObject]", details["targets"])
            ),
            databases=tuple(
                PlannedDatabase.from_json(database, incident)
                for database in cast("Sequence[JsonObject]", details.get("databases") or ())
            ),
            buckets=tuple(
                PlannedBucket.from_json(bucket, incident)
                for bucket in cast("Sequence[JsonObject]", details.get("buckets") or ())
            ),
        )


def plan_set(
    installation: Installation,
    incident: str,
    set_name: str,
    point: str,
    services: Iterable[str] = (),
    *,
    is_preview: bool = False,
) -> SetPlan:
    """Choose the recovery point, and read the targets; change nothing.

    `point` is "newest", "clean" (the newest point that a search finds without damage) or a time. A
    preview of "clean" shows the newest point, because the search runs in a later step of the
    incident. Raise UsageError if a source has no target or if no point matches, and Refused for a
    target that cannot be replaced.
    """
    settings = set_of(installation, set_name)
    replacements = dict(_replacements(installation, settings, set_name, incident))
    if point == CLEAN and any(found.is_data_directory for found in replacements.values()):
        raise UsageError(
            f"set {set_name}: the log of a data directory can be replayed only to a time. Name the "
            "time before the damage instead of `clean`."
        )
    if is_preview and point == CLEAN:
        repository, chosen, _ = _choose(installation, incident, set_name, NEWEST)
        evidence = _SEARCHED_LATER
    else:
        repository, chosen, evidence = _choose(installation, incident, set_name, point)
    if chosen.details is None:
        raise UsageError(f"{chosen.name}: the identity does not open it. Set drills.identity.")
    buckets = tuple(
        plan_bucket(installation, incident, set_name, source, repository, chosen)
        for source, target in settings.recovery.items()
        if target.s3 is not None
    )
    sizes = {source.name: source.bytes for source in chosen.details.sources}
    for source, replacement in replacements.items():
        if replacement.is_data_directory:
            sizes[source] = 2 * sizes.get(source, 0)  # base backup, and the directory made from it
    staged = {bucket.source: bucket.replacement for bucket in buckets}
    _refuse_full_disks(replacements | staged, sizes)
    return SetPlan(
        point=chosen.name,
        point_time=chosen.time,
        consistent_at=chosen.details.consistent_at,
        is_complete=chosen.complete,
        evidence=evidence,
        services=tuple(services),
        machine=host_name(),
        size_bytes=chosen.details.bytes,
        targets=tuple(
            PlannedTarget(
                source=source,
                replacement=replacement,
                has_data=replacement.has_data,
                size_bytes=_size(replacement.path),
                until=_time(point) if replacement.is_data_directory else None,
            )
            for source, replacement in replacements.items()
        ),
        databases=tuple(
            database
            for source, target in settings.recovery.items()
            if target.into is not None
            for database in plan_databases(
                installation, incident, source, target.into, repository, chosen
            )
        ),
        buckets=buckets,
    )


def _replacements(
    installation: Installation, settings: BackupSetConfig, set_name: str, incident: str
) -> Iterator[tuple[str, Replacement]]:
    for source in settings.sources:
        if source.kind not in RECOVERABLE_KINDS:
            raise UsageError(
                f"set {set_name}: its source {source.name} is of kind {source.kind}, which a "
                "recovery cannot restore. Use `standfast backup restore`, or move it to a set of "
                "its own."
            )
        if source.name not in settings.recovery:
            raise UsageError(
                f"set {set_name}: its source {source.name} has no recovery target. Add "
                f"[backup.sets.{set_name}.recovery.{source.name}]."
            )
        path = settings.recovery[source.name].path
        if path is None:
            continue  # a database or a bucket instead of a path
        replacement = Replacement(
            path=path,
            incident=incident,
            is_database=source.kind == "sqlite",
            is_data_directory=source.kind in KINDS_WITH_LOG,
        )
        if reason := replacement.obstacle() or _shared_with(installation, path):
            raise Refused(reason)
        refuse_stores(installation, path)
        yield source.name, replacement


def _shared_with(installation: Installation, path: Path) -> str:
    """Return an error text if a path overlaps another recovery target, or ""."""
    paths = [
        target.path
        for settings in installation.config.backup.sets.values()
        for target in settings.recovery.values()
        if target.path is not None
    ]
    others = [other for other in paths if other.is_relative_to(path)]
    if len(others) > 1:
        return f"{path}: two recovery targets are there. Set a separate folder for each source."
    return ""


def _choose(
    installation: Installation, incident: str, set_name: str, point: str
) -> tuple[Repository, RecoveryPoint, str]:
    identity = identity_of(installation, None)
    if point == CLEAN:
        name, evidence = _clean_point(installation, incident, set_name)
        with translated_errors("opening the repository"):
            repository = open_repository(installation, identity)
            chosen = repository.resolve(name, set_name, of_any_host=True)
            return repository, chosen, evidence
    until = _time(point)
    opened = open_newest(installation, identity, set_name, until)
    if until is None:
        return *opened, "the newest recovery point"
    return *opened, f"the newest recovery point before {timestamp(until)}"


def _time(point: str) -> datetime | None:
    """Return the time that `point` states; None for the newest point."""
    if point == NEWEST:
        return None
    try:
        return typed_time_to_utc(datetime.fromisoformat(point))
    except ValueError as error:
        raise UsageError(
            f"point {point!r}: not a recovery point. Write `newest`, `clean`, or a time with its "
            "zone, such as 2026-03-02T14:20+01:00."
        ) from error


def _clean_point(installation: Installation, incident: str, set_name: str) -> tuple[str, str]:
    """Return the clean point that a step of the incident found, and why."""
    for row in reversed(installation.ledger.effects.of_incident(incident)):
        is_found = row.verb == FIND and row.state is EffectState.DONE
        if is_found and row.as_order().target == set_name:
            return str(row.facts["point"]), row.reason
    raise UsageError(
        f"set {set_name}: {incident} has found no clean point of this set. Run the step "
        f"{FIND} first, or name a time."
    )


def _refuse_full_disks(replacements: Mapping[str, Replacement], sizes: Mapping[str, int]) -> None:
    """Raise Refused if a disk has too little space for the restored data."""
    needed: dict[int, int] = {}
    for source, replacement in replacements.items():
        folder = replacement.path.parent
        device = folder.stat().st_dev
        needed[device] = needed.get(device, 0) + sizes.get(source, 0)
        if shutil.disk_usage(folder).free < needed[device]:
            raise Refused(
                f"{folder}: its disk lacks space for the restored data next to the existing data. "
                "Free space, or name a target on another disk."
            )


def _size(path: Path) -> int:
    """Return the size of a file or of all files in a folder, in bytes."""
    if not path.is_dir():
        return path.stat().st_size if path.exists() else 0
    return sum(
        os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - a million paths
        for folder, _, names in os.walk(path)
        for name in names
    )
