"""Acts on the objects of a bucket, in batches that can be interrupted."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from backup.errors import TargetFailed
from backup.targets.s3 import BucketTarget
from standfast.usecases.recovery.object_recovery import (
    put_objects,
    revert_objects,
    undo_objects,
)
from standfast.usecases.recovery.version_record import (
    ActState,
    RestoredObject,
    VersionRecord,
    open_record,
)
from tests.backup.s3_options import options
from tests.servers.seaweedfs import Bucket, SeaweedFs

KEYS = [f"calls/{number}.wav" for number in range(5)]


class Ended(Exception):
    """The end of a call by its observer."""


@pytest.fixture
def bucket(seaweedfs_server: SeaweedFs) -> Bucket:
    """A bucket with versions and one object."""
    made = seaweedfs_server.bucket(can_lock=False)
    made.client(made.admin).put_object(Bucket=made.name, Key=KEYS[1], Body=b"encrypted")
    return made


@pytest.fixture
def target(bucket: Bucket) -> BucketTarget:
    return BucketTarget(options(bucket, bucket.admin, requires_lock=False))


@contextmanager
def planned(folder: Path, target: BucketTarget) -> Iterator[VersionRecord]:
    """Yield a record of five restored objects, with the listing of a bucket."""
    (folder / "calls").mkdir()
    for key in KEYS:
        (folder / key).write_bytes(key.encode())
    with open_record(folder / "versions.sqlite") as record:
        record.replace_all(
            RestoredObject(key=key, path=key.encode(), size=len(key), headers={}, version="")
            for key in KEYS
        )
        record.replace_listing(target.rows(""), hides_others=False)
        yield record


@contextmanager
def begun_hides(folder: Path, target: BucketTarget) -> Iterator[VersionRecord]:
    """Yield a record of a killed process that was about to hide one object."""
    with open_record(folder / "versions.sqlite") as record:
        record.replace_all([])
        record.replace_listing(target.rows(""), hides_others=True)
        record.mark(record.acts(ActState.PLANNED, 2), ActState.BEGUN)
        yield record


def listed(target: BucketTarget) -> list[str]:
    return [row.key for row in target.rows("") if row.is_current and not row.is_marker]


def end_after(batches: int) -> Iterator[None]:
    yield from [None] * batches
    raise Ended


def test_ended_call_continues_or_is_reverted(tmp_path: Path, target: BucketTarget) -> None:
    with planned(tmp_path, target) as record:
        rows = list(target.rows(""))
        for _ in range(2):
            with pytest.raises(Ended):
                put_objects(target, record, tmp_path, partial(next, end_after(2)), batch=1)
        assert record.count(ActState.DONE) == 4
        assert listed(target) == KEYS[:4]
        revert_objects(target, record, tmp_path)
        assert list(target.rows("")) == rows
        record.replace_listing(target.rows(""), hides_others=False)
        put_objects(target, record, tmp_path, lambda: None, batch=2)
        assert listed(target) == KEYS
        assert undo_objects(target, record, "") == 0
        assert list(target.rows("")) == rows


def test_missing_file_keeps_the_finished_acts(tmp_path: Path, target: BucketTarget) -> None:
    with planned(tmp_path, target) as record:
        rows = list(target.rows(""))
        (tmp_path / KEYS[2]).unlink()
        with pytest.raises(TargetFailed) as caught:
            put_objects(target, record, tmp_path, lambda: None)
        assert KEYS[2] not in str(caught.value)
        assert record.count(ActState.DONE) == 4
        (tmp_path / KEYS[2]).write_bytes(KEYS[2].encode())
        put_objects(target, record, tmp_path, lambda: None)
        assert listed(target) == KEYS
        revert_objects(target, record, tmp_path)
        assert list(target.rows("")) == rows


def test_object_stored_after_the_look_up_is_removed(
    tmp_path: Path, target: BucketTarget, bucket: Bucket
) -> None:
    def store_late() -> None:
        for key in KEYS[:2]:
            bucket.client(bucket.admin).put_object(Bucket=bucket.name, Key=key, Body=key.encode())

    with planned(tmp_path, target) as record:
        rows = list(target.rows(""))
        record.mark(record.acts(ActState.PLANNED, 2), ActState.BEGUN)  # the process is killed
        put_objects(target, record, tmp_path, store_late)
        record.compare(target.rows(""))
        assert record.count(ActState.DONE) == len(KEYS)
        revert_objects(target, record, tmp_path)
        assert list(target.rows("")) == rows


def test_covered_object_of_another_program_is_counted(
    tmp_path: Path, target: BucketTarget, bucket: Bucket
) -> None:
    def work() -> None:
        bucket.client(bucket.admin).put_object(Bucket=bucket.name, Key=KEYS[2], Body=b"new work")

    with planned(tmp_path, target) as record:
        put_objects(target, record, tmp_path, work)
        record.compare(target.rows(""))
        assert record.count(ActState.CHANGED) == 1
        revert_objects(target, record, tmp_path)
    client = bucket.client(bucket.admin)
    assert listed(target) == KEYS[1:3]
    assert client.get_object(Bucket=bucket.name, Key=KEYS[2])["Body"].read() == b"new work"


def test_marker_of_another_program_is_not_removed(
    tmp_path: Path, target: BucketTarget, bucket: Bucket
) -> None:
    client = bucket.client(bucket.admin)
    with begun_hides(tmp_path, target) as record:
        erased = client.delete_object(Bucket=bucket.name, Key=KEYS[1])
        rows = list(target.rows(""))
        put_objects(target, record, tmp_path, lambda: None)
        for _ in range(2):  # also after a failed try
            record.compare(target.rows(""))
            assert record.count(ActState.CHANGED) == 0, "it does not fail the recovery"
            assert undo_objects(target, record, "") == 0
            assert record.count_unknown() == 1
            assert list(target.rows("")) == rows
            record.replace_listing(target.rows(""), hides_others=True)
        client.delete_object(Bucket=bucket.name, Key=KEYS[1], VersionId=erased["VersionId"])
        assert undo_objects(target, record, "") == 0
        assert record.count_unknown() == 0


def test_hide_without_a_marker_is_done_again(tmp_path: Path, target: BucketTarget) -> None:
    with begun_hides(tmp_path, target) as record:
        rows = list(target.rows(""))
        put_objects(target, record, tmp_path, lambda: None)
        record.compare(target.rows(""))
        assert (listed(target), record.count_unknown()) == ([], 0)
        assert undo_objects(target, record, "") == 0
        assert list(target.rows("")) == rows
