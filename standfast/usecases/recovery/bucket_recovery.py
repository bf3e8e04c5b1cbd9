"""Recovery of a bucket's objects: listing, events and record.

A recovery adds one version to each object that it changes: the restored object, or a delete marker.
The undo removes these versions. `object_recovery` makes the calls to the bucket.

Rules
- The record of a bucket is a local file with the bucket's objects and the added versions
  (`version_record`). The file is written after the restore to the local disk, and before the bucket
  is changed. It stays in its private folder until a person deletes it, because the undo needs it.
- The bucket is listed before it is changed. If the approved plan showed no data in the bucket, but
  the listing contains an object that the recovery would replace or hide, the recovery is refused.
- The bucket is listed again after the last change. If another program has changed an object in the
  meantime, the recovery fails, and all added versions are removed.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict

from backup.records import RecoveryPoint
from backup.repository import Repository
from backup.system.durable_files import make_private_folder
from standfast.errors import Refused, StandfastError
from standfast.plurals import counted
from standfast.usecases.core.backup_repository import translated_errors
from standfast.usecases.core.installation import Installation
from standfast.usecases.recovery.object_recovery import (
    put_objects,
    revert_objects,
    undo_objects,
)
from standfast.usecases.recovery.planned_buckets import (
    PlannedBucket,
    open_target,
    restored_objects,
)
from standfast.usecases.recovery.recovery_journal import (
    PROGRESS,
    REPLACED,
    REPLACING,
    RETURNED,
    RETURNING,
    RecoveryJournal,
)
from standfast.usecases.recovery.version_record import ActState, VersionRecord, open_record

_PROGRESS_SECONDS = 60.0  # between two events of progress
_UNDER_WAY = (ActState.BEGUN, ActState.DONE, ActState.CHANGED, ActState.REMOVING)


def record_objects(
    installation: Installation,
    journal: RecoveryJournal,
    bucket: PlannedBucket,
    repository: Repository,
    point: RecoveryPoint,
) -> None:
    """Write the objects of a recovery point into the bucket's record.

    First remove the versions that an earlier, failed call added to the bucket.
    """
    revert_bucket(installation, journal, bucket)
    make_private_folder(bucket.record_folder)
    with _open_record(bucket, "recording") as record:
        record.replace_all(
            restored_objects(
                installation, journal.set_name, bucket.source, repository, point, bucket.prefix
            )
        )


def replace_objects(
    installation: Installation, journal: RecoveryJournal, bucket: PlannedBucket
) -> None:
    """Add the restored objects to a bucket; continue an interrupted call."""
    if journal.is_replaced(bucket.source):
        return
    if not bucket.record_file.exists():
        raise Refused(
            f"{bucket.record_file}: the record of the objects is gone. Close this recovery, and "
            "open another one."
        )
    target = open_target(installation, journal.set_name, bucket)
    with _open_record(bucket, "replacing") as record:
        target.refuse_unsafe(bucket.prefix)
        if record.has(ActState.REMOVING):  # an earlier call of `revert_objects` was interrupted
            revert_objects(target, record, bucket.restored_folder)
        if not record.has(*_UNDER_WAY):
            record.replace_listing(target.rows(bucket.prefix), hides_others=bucket.hides_others)
            counts = record.counts()
            covered = counts.replaced + (counts.others if bucket.hides_others else 0)
            if covered and not bucket.has_data:
                raise Refused(
                    f"{bucket.name}: objects appeared there after the plan was made. Plan the "
                    "recovery again."
                )
            journal.write(REPLACING, source=bucket.source, path=bucket.name, counts=asdict(counts))
        put_objects(target, record, bucket.restored_folder, _observer(journal, bucket, record))
        record.compare(target.rows(bucket.prefix))
        if changed := record.count(ActState.CHANGED) + record.count_lost():
            raise StandfastError(
                f"{bucket.name}: another program changed {counted(changed, 'object')} during the "
                "recovery. Stop the programs that write there, then retry the step."
            )
        journal.write(
            REPLACED,
            source=bucket.source,
            path=bucket.name,
            objects=record.count(ActState.DONE),
            unknown=record.count_unknown(),
            versions_sha256=record.digest(),
        )


def _observer(
    journal: RecoveryJournal, bucket: PlannedBucket, record: VersionRecord
) -> Callable[[], None]:
    """Return a function that records progress; it raises if a person stopped."""
    recorded_at = time.monotonic()

    def observe() -> None:
        nonlocal recorded_at
        journal.refuse_stopped()
        if time.monotonic() - recorded_at > _PROGRESS_SECONDS:
            recorded_at = time.monotonic()
            done, left = record.count(ActState.DONE), record.count(ActState.PLANNED)
            journal.write(
                PROGRESS, source=bucket.source, path=bucket.name, objects=done, of=done + left
            )

    return observe


def revert_bucket(
    installation: Installation, journal: RecoveryJournal, bucket: PlannedBucket
) -> None:
    """Remove all versions that a failed or interrupted recovery added.

    The call may be repeated.
    """
    if not bucket.record_file.exists():
        return
    with _open_record(bucket, "returning") as record:
        if not record.has(*_UNDER_WAY):
            return
        journal.write(RETURNING, source=bucket.source, path=bucket.name)
        target = open_target(installation, journal.set_name, bucket)
        revert_objects(target, record, bucket.restored_folder)
        record.compare(target.rows(bucket.prefix))
        unknown = record.count_unknown()
        journal.write(RETURNED, source=bucket.source, path=bucket.name, unknown=unknown)


def undo_bucket(
    installation: Installation, journal: RecoveryJournal, bucket: PlannedBucket
) -> None:
    """Undo a recovery: remove the versions that it added.

    The call may be repeated. An object keeps its present state if another program changed it after
    the recovery, or if a delete marker of unknown origin hides it. If there are such objects, the
    added versions of all other objects are removed before StandfastError is raised.
    """
    replaced = journal.find_replaced(bucket.source)
    if replaced is None or not bucket.record_file.exists():
        raise Refused(
            f"{bucket.record_file}: the record of the added versions is gone. Remove the versions "
            "of the recovery with the tools of the bucket."
        )
    target = open_target(installation, journal.set_name, bucket)
    with _open_record(bucket, "returning") as record:
        if record.digest() != replaced["versions_sha256"]:
            raise Refused(
                f"{bucket.record_file}: it differs from the record of this recovery, and nothing "
                "was removed. Restore the file from a copy."
            )
        journal.write(RETURNING, source=bucket.source, path=bucket.name)
        changed = undo_objects(target, record, bucket.prefix)
        unknown = record.count_unknown()
        journal.write(
            RETURNED,
            source=bucket.source,
            path=bucket.name,
            objects=record.count(ActState.REMOVED),
            changed=changed,
            unknown=unknown,
        )
    if unknown:
        raise StandfastError(
            f"{bucket.name}: {counted(unknown, 'object')} are still hidden by delete markers. The "
            "answer to a request was lost, so the recovery or another program may have added these "
            "markers. All other unchanged objects were returned. Table unknown_markers of "
            f"{bucket.record_file} names the markers. Remove the markers of the recovery, then "
            "retry the undo, or close the incident."
        )
    if changed:
        raise StandfastError(
            f"{bucket.name}: {counted(changed, 'object')} changed after the recovery and "
            "keep their present content. All other objects have their previous version. "
            f"{bucket.record_file} names the changed objects. Remove or keep their newer versions, "
            "then retry the undo, or close the incident."
        )


@contextmanager
def _open_record(bucket: PlannedBucket, action: str) -> Iterator[VersionRecord]:
    """Open the record; raise Refused if its folder is not private."""
    with translated_errors(f"{action} objects of {bucket.name}"):
        folder = bucket.record_folder
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise Refused(f"{folder}: it is not a private folder of this user. Remove it.")
        with open_record(bucket.record_file) as record:
            yield record
