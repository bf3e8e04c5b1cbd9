"""Objects put or hidden by a bucket recovery: search after a crash, undo.

    put_objects(target, record, folder, observe)   # may be repeated after a crash
    revert_objects(target, record, folder)         # after a failed or interrupted recovery
    undo_objects(target, record, prefix)           # after a complete recovery

Rules
- An act adds one version to one object: the restored object, or a delete marker that hides the
  object. The reversal of an act removes this version, so that the version before it is current
  again. No other version is removed.
- Acts are done in batches. The record is a local file. In this file, the acts of a batch are marked
  as begun before the first call to the bucket, and as done after the last call. Each mark is on the
  disk before the program continues.
- After a crash, the program searches the bucket for the versions that begun acts have added. It
  repeats the search after the last batch, because a bucket can finish a request after the process
  that sent it has died.
- A delete marker that is found after a crash may come from another program that deleted the object:
  S3 does not store the program that added a marker. Therefore such a marker is never removed. It is
  recorded as unknown, and the object stays hidden until a person decides. Batches of delete markers
  are small, because a crash can make all markers of the last batch unknown.
- If another program changed an object after the bucket was listed, the object keeps its state. The
  result contains the number of such objects.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from backup.errors import Damaged, TargetFailed
from backup.system.interruptible_wait import result_of
from standfast.usecases.recovery.version_record import ActState, ObjectAct, VersionRecord

if TYPE_CHECKING:
    from backup.targets.s3 import BucketTarget

HIDES_AT_ONCE = 16  # delete markers of one batch
_BATCH = 256  # most restored objects of one batch
_CALLS_AT_ONCE = 16


def put_objects(
    target: "BucketTarget",
    record: VersionRecord,
    folder: Path,
    observe: Callable[[], None],
    *,
    batch: int = _BATCH,
) -> None:
    """Do all planned acts; `folder` contains the restored files.

    `observe` is called before each batch. An exception that it raises ends the call.
    """
    _look_up_begun(target, record, folder)
    while acts := record.acts(ActState.PLANNED, batch):
        observe()
        for part in _parts(acts):
            record.mark(part, ActState.BEGUN)
            _do_all(record.record_added_versions, part, partial(_do, target, folder))
            _look_up_begun(target, record, folder)  # acts whose call returned no version
    _look_up_again(target, record, folder)


def _parts(acts: Sequence[ObjectAct]) -> Iterator[Sequence[ObjectAct]]:
    """Yield the acts that restore objects, then batches of delete markers."""
    if puts := [act for act in acts if act.path is not None]:
        yield puts
    hides = [act for act in acts if act.path is None]
    for start in range(0, len(hides), HIDES_AT_ONCE):
        yield hides[start : start + HIDES_AT_ONCE]


def revert_objects(target: "BucketTarget", record: VersionRecord, folder: Path) -> None:
    """Remove all added versions, even those that are not current any more."""
    _look_up_begun(target, record, folder)
    _look_up_again(target, record, folder)
    for state in (ActState.REMOVING, ActState.CHANGED, ActState.DONE):
        _remove_all(target, record, state)


def undo_objects(target: "BucketTarget", record: VersionRecord, prefix: str) -> int:
    """Remove the added versions that are current; return the number of others."""
    _remove_all(target, record, ActState.REMOVING)
    record.compare(target.rows(prefix))
    _remove_all(target, record, ActState.DONE)
    return record.count(ActState.CHANGED)


def _look_up_begun(target: "BucketTarget", record: VersionRecord, folder: Path) -> None:
    """Search the bucket for the versions of begun acts, and record them."""
    while acts := record.acts(ActState.BEGUN, _BATCH):
        _do_all(record.record_found_versions, acts, partial(_look_up, target, folder))


def _look_up_again(target: "BucketTarget", record: VersionRecord, folder: Path) -> None:
    """Search once more for the versions of interrupted acts, and record them.

    Omit an act if its restored file is missing or has another size, because another recovery point
    was restored to the folder after the crash.
    """
    acts = [act for act in record.interrupted_acts() if _has_file(folder, act)]
    _do_all(record.record_found_versions, acts, partial(_look_up, target, folder))


def _do_all(
    record_results: Callable[[Iterator[tuple[ObjectAct, Sequence[str]]]], None],
    acts: Sequence[ObjectAct],
    make_call: Callable[[ObjectAct], Sequence[str]],
) -> None:
    """Do one call for each act, record the results, raise the first error."""
    with ThreadPoolExecutor(_CALLS_AT_ONCE) as pool:
        running = [(act, pool.submit(make_call, act)) for act in acts]
    errors = [error for _, future in running if (error := future.exception()) is not None]
    record_results((act, future.result()) for act, future in running if future.exception() is None)
    if errors:
        raise errors[0]


def _do(target: "BucketTarget", folder: Path, act: ObjectAct) -> list[str]:
    if act.path is None:
        return target.hide(act.key, newest_marker=act.newest_marker)
    with _restored_file(folder, act) as file:
        return target.put(act.key, file, act.headers, newest_version=act.newest_version)


def _look_up(target: "BucketTarget", folder: Path, act: ObjectAct) -> list[str]:
    if act.path is None:
        return target.newer_markers(act.key, act.newest_marker)
    with _restored_file(folder, act) as file:
        return target.own_versions(act.key, file, act.newest_version)


def _has_file(folder: Path, act: ObjectAct) -> bool:
    """Return whether the restored file of an act exists, or none is needed."""
    if act.path is None:
        return True
    with suppress(Damaged, TargetFailed), _restored_file(folder, act):
        return True
    return False


@contextmanager
def _restored_file(folder: Path, act: ObjectAct) -> Iterator[Path]:
    """Yield a restored file after a check of its size.

    Errors do not contain the name of the file, which may be personal data.
    """
    file = folder / os.fsdecode(act.path or b"")
    try:
        if file.stat(follow_symlinks=False).st_size != act.size:
            raise Damaged(f"{folder}: a restored object has another size than in the backup")
        yield file
    except OSError as error:
        problem = error.strerror or type(error).__name__
        raise TargetFailed(
            f"{folder}: a restored object cannot be read ({problem}). Retry the step"
        ) from error


def _remove_all(target: "BucketTarget", record: VersionRecord, state: ActState) -> None:
    while acts := record.acts(state, _BATCH):
        record.mark(acts, ActState.REMOVING)
        versions = [(act.key, version) for act in acts for version in record.added_versions(act)]
        with ThreadPoolExecutor(_CALLS_AT_ONCE) as pool:
            for removed in [pool.submit(target.remove, *version) for version in versions]:
                result_of(removed)
        record.mark(acts, ActState.REMOVED)
