"""Planned bucket of a recovery: counts of objects, refused targets.

The recovery adds versions to the objects of a bucket, and keeps the earlier versions for the undo.
A local file, the record, contains the added versions.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from backup.records import RecoveryPoint
from backup.repository import Repository
from backup.sources.s3.object_attributes import headers_of, key_of, version_of
from standfast.config.sections.backup import BackupSetConfig
from standfast.config.sections.backup_sources import S3SourceConfig
from standfast.config.sections.recovery import RecoveryBucketConfig
from standfast.errors import Refused
from standfast.plurals import counted
from standfast.records import Json, JsonObject
from standfast.usecases.backups.folder_restore import refuse_stores
from standfast.usecases.backups.service_sources import bucket_options
from standfast.usecases.core.backup_repository import translated_errors
from standfast.usecases.core.installation import Installation
from standfast.usecases.recovery.replacement import Replacement
from standfast.usecases.recovery.version_record import (
    ObjectCounts,
    RestoredObject,
    open_record,
)

if TYPE_CHECKING:
    from backup.targets.s3 import BucketTarget


@dataclass(frozen=True, kw_only=True)
class PlannedBucket:
    """A bucket that receives the restored objects of one source."""

    source: str
    bucket: str
    prefix: str
    endpoint_url: str | None
    replacement: Replacement  # names the local folder to which the files are restored first
    hides_others: bool  # True: delete markers hide objects that are not in the recovery point
    counts: ObjectCounts

    @property
    def has_data(self) -> bool:
        return self.covered_count > 0

    @property
    def covered_count(self) -> int:
        """The number of existing objects that get a newer version."""
        return self.counts.replaced + (self.counts.others if self.hides_others else 0)

    @property
    def size_bytes(self) -> int:
        others = self.counts.other_bytes if self.hides_others else 0
        return self.counts.replaced_bytes + others

    @property
    def name(self) -> str:
        """The bucket, its server and the prefix, in words."""
        where = f"bucket {self.bucket}" + (f" at {self.endpoint_url}" if self.endpoint_url else "")
        return where + (f" below {self.prefix}" if self.prefix else "")

    @property
    def place(self) -> str:
        """The bucket and the planned changes, in words."""
        counts = self.counts
        fate = "hidden" if self.hides_others else "kept"
        return (
            f"{self.name} ({counts.new} added, {counts.replaced} replaced, "
            f"{counts.restored_bytes:,} bytes; {counts.unchanged} unchanged, "
            f"{counts.others} other {fate})"
        )

    @property
    def later_name(self) -> str:
        """The place of the previous data, in words for a message."""
        return f"earlier versions of {counted(self.covered_count, 'object')}"

    @property
    def record_folder(self) -> Path:
        """The private folder of the record file."""
        path = self.replacement.path
        return path.with_name(f"{path.name}.versions-{self.replacement.incident}")

    @property
    def record_file(self) -> Path:
        """The record of added versions."""
        return self.record_folder / "versions.sqlite"

    @property
    def restored_folder(self) -> Path:
        """The local folder with the restored files."""
        return self.replacement.staging / self.source

    def as_json(self) -> dict[str, Json]:
        return {
            "source": self.source,
            "bucket": self.bucket,
            "prefix": self.prefix,
            "endpoint_url": self.endpoint_url,
            "path": str(self.replacement.path),
            "hides_others": self.hides_others,
            "has_data": self.has_data,
            "size_bytes": self.size_bytes,
            "counts": asdict(self.counts),
            "set_aside": self.later_name if self.has_data else None,
        }

    @staticmethod
    def from_json(stored: JsonObject, incident: str) -> "PlannedBucket":
        """Read a bucket from the JSON form of a plan in the ledger (database)."""
        endpoint_url = stored["endpoint_url"]
        return PlannedBucket(
            source=str(stored["source"]),
            bucket=str(stored["bucket"]),
            prefix=str(stored["prefix"]),
            endpoint_url=None if endpoint_url is None else str(endpoint_url),
            replacement=Replacement(path=Path(str(stored["path"])), incident=incident),
            hides_others=bool(stored["hides_others"]),
            counts=ObjectCounts(**cast("dict[str, Any]", stored["counts"])),
        )


def plan_bucket(
    installation: Installation,
    incident: str,
    set_name: str,
    source: str,
    repository: Repository,
    point: RecoveryPoint,
) -> PlannedBucket:
    """Plan the recovery of a source into its bucket; change nothing.

    Count the objects of the source and of the bucket. Raise Refused if the objects cannot be
    restored to the bucket, or if the recovery could not be undone.
    """
    settings = _target_settings(installation, set_name, source)
    _refuse_own_buckets(installation, settings)
    if settings.hides_others and not point.complete:
        raise Refused(
            f"{point.name}: it is incomplete, so objects that the backup could not read would be "
            f"hidden in bucket {settings.bucket}. Choose a complete point, or unset hides_others."
        )
    path = settings.folder / f"{set_name}.{source}"
    planned = PlannedBucket(
        source=source,
        bucket=settings.bucket,
        prefix=settings.prefix,
        endpoint_url=settings.endpoint_url,
        replacement=Replacement(path=path, incident=incident),
        hides_others=settings.hides_others,
        counts=ObjectCounts(),
    )
    if reason := planned.replacement.obstacle():
        raise Refused(reason)
    if planned.record_folder.exists():
        raise Refused(
            f"{planned.record_folder}: it exists, and the recovery needs this name. Move it away."
        )
    refuse_stores(installation, path)
    target = open_target(installation, set_name, planned)
    with (
        translated_errors(f"comparing {planned.name}"),
        tempfile.TemporaryDirectory(prefix="standfast-") as folder,
        open_record(Path(folder) / "versions.sqlite") as record,
    ):
        target.refuse_unsafe(planned.prefix)
        record.replace_all(
            restored_objects(installation, set_name, source, repository, point, planned.prefix)
        )
        record.replace_listing(target.rows(planned.prefix), hides_others=planned.hides_others)
        return replace(planned, counts=record.counts())


def open_target(
    installation: Installation, set_name: str, planned: PlannedBucket
) -> "BucketTarget":
    """Open the bucket of a plan.

    Raise Refused if the target in the configuration has changed since the plan was made.
    """
    settings = _target_settings(installation, set_name, planned.source)
    if (settings.bucket, settings.prefix, settings.endpoint_url) != (
        planned.bucket,
        planned.prefix,
        planned.endpoint_url,
    ):
        raise Refused(
            f"{planned.name}: the configuration of its recovery target changed after the plan. "
            "Correct it, or plan the recovery again."
        )
    # Imported here: it loads boto3.
    from backup.targets.s3 import BucketTarget

    with translated_errors(f"opening bucket {planned.bucket}"):
        options = bucket_options(settings, installation.resolver)
        return BucketTarget(replace(options, requires_lock=False))


def restored_objects(
    installation: Installation,
    set_name: str,
    source: str,
    repository: Repository,
    point: RecoveryPoint,
    prefix: str,
) -> Iterator[RestoredObject]:
    """Yield the objects of a source, with their keys below `prefix`."""
    source_prefix = next(
        config.prefix
        for config in _set(installation, set_name).sources
        if isinstance(config, S3SourceConfig) and config.name == source
    )
    for entry in repository.entries(point, [source]):
        if entry.kind == "directory":
            continue
        if entry.kind != "file":
            raise Refused(f"{point.name}: source {source} has an entry that is not an object.")
        path = entry.path.partition(b"/")[2]
        yield RestoredObject(
            key=key_of(path, entry.xattrs, source_prefix, prefix),
            path=path,
            size=entry.size,
            headers=headers_of(entry.xattrs),
            version=version_of(entry.xattrs),
        )


def _set(installation: Installation, set_name: str) -> BackupSetConfig:
    return installation.config.backup.sets[set_name]


def _target_settings(
    installation: Installation, set_name: str, source: str
) -> RecoveryBucketConfig:
    target = _set(installation, set_name).recovery.get(source)
    if target is None or target.s3 is None:
        raise Refused(
            f"set {set_name}: its source {source} has no bucket as recovery target. Add "
            f"[backup.sets.{set_name}.recovery.{source}.s3]."
        )
    return target.s3


def _refuse_own_buckets(installation: Installation, settings: RecoveryBucketConfig) -> None:
    """Refuse a bucket of backups or evidence, and overlapping prefixes."""
    config = installation.config
    stores = [config.backup.s3, config.custody.s3]
    stores += [copy.s3 for copy in config.backup.copies.values()]
    if any(store is not None and store.bucket == settings.bucket for store in stores):
        raise Refused(
            f"bucket {settings.bucket}: it stores backups or evidence. Name another bucket."
        )
    others = [
        target.s3
        for backup_set in config.backup.sets.values()
        for target in backup_set.recovery.values()
        if target.s3 is not None and target.s3.bucket == settings.bucket
    ]
    overlapping = [other for other in others if _overlap(other.prefix, settings.prefix)]
    if len(overlapping) > 1:
        raise Refused(
            f"bucket {settings.bucket}: two recovery targets overlap. Set a separate prefix for "
            "each source."
        )


def _overlap(prefix: str, other: str) -> bool:
    return prefix.startswith(other) or other.startswith(prefix)
