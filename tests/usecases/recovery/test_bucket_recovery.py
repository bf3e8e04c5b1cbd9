"""Recoveries of the objects of a bucket that keeps versions."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.handlers import validate_ascii_metadata

from backup.errors import StoreUnavailable
from backup.targets.s3 import BucketTarget
from standfast.errors import ExitStatus
from standfast.records import StepState
from standfast.usecases.approvals import step_retry
from standfast.usecases.approvals.pending_requests import pending_requests
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle
from standfast.usecases.incidents.outcome import Outcome
from standfast.usecases.recovery.recovery_plan import plan_recovery
from standfast.usecases.recovery.recovery_status import recovery_status
from tests.backup.s3_proxy import Fault, running_proxy
from tests.servers.seaweedfs import Bucket, SeaweedFs
from tests.usecases.backup_installation import installation_at
from tests.usecases.installations import approve_as, undo_approved
from tests.usecases.recovery.bucket_installation import (
    CALLS,
    ENCRYPTED,
    NOTE,
    contents,
    objects,
    remove_marker,
    version_count,
    with_bucket,
)
from tests.usecases.recovery.recovery_installation import opened


@pytest.fixture
def bucket(seaweedfs_server: SeaweedFs) -> Iterator[Bucket]:
    """A bucket with versions and no locks."""
    made = seaweedfs_server.bucket(can_lock=False)
    yield made
    made.remove_identities()


def recovered(installation: Installation) -> tuple[str, Outcome]:
    case = opened(installation)
    approve_as(installation, case, "recover", "lee")
    return case, lifecycle.advance(installation, case, "direct")


def test_objects_equal_the_backup_and_undo_is_exact(tmp_path: Path, bucket: Bucket) -> None:
    with installation_at(with_bucket(tmp_path, bucket)) as installation:
        before, versions = objects(bucket), version_count(bucket)
        case, outcome = recovered(installation)
        assert outcome.exit_status is ExitStatus.DONE, outcome
        assert contents(bucket) == CALLS | {NOTE: b"pay"}
        found = objects(bucket)
        assert found["calls/2026/2.wav"][1] == "audio/wav"
        head = bucket.client(bucket.admin).head_object(Bucket=bucket.name, Key="calls/2026/1.wav")
        assert head["Metadata"] == {"agent": "7"}
        # An unchanged object is not put again.
        assert found["calls/index.json"] == before["calls/index.json"]
        assert version_count(bucket) == versions + 2
        (status,) = recovery_status(installation, case).sets
        assert status.set_aside == ("earlier versions of 1 object",)
        assert not list((tmp_path / "spare").glob("*.restoring-*"))
        undo_approved(installation, case)
        lifecycle.advance(installation, case, "direct")
        assert objects(bucket) == before
        assert version_count(bucket) == versions
        assert [status.state for status in recovery_status(installation, case).sets] == ["returned"]


def test_properties_that_are_not_ascii_are_restored(tmp_path: Path, bucket: Bucket) -> None:
    client, place = bucket.client(bucket.admin), {"Bucket": bucket.name, "Key": "calls/3.wav"}
    event = "before-parameter-build.s3.PutObject"
    client.meta.events.unregister(event, validate_ascii_metadata)  # as a program without boto3
    client.put_object(
        **place,
        Body=b"third call",
        Metadata={"agent": "Jürgen €"},
        ContentDisposition='attachment; filename="Gespräch.wav"',
    )
    with installation_at(with_bucket(tmp_path, bucket)) as installation:
        before = client.head_object(**place)
        client.put_object(**place, Body=ENCRYPTED)
        _, outcome = recovered(installation)
        assert outcome.exit_status is ExitStatus.DONE, outcome
        after = client.head_object(**place)
        assert after["VersionId"] != before["VersionId"]
        assert after["Metadata"] == before["Metadata"]
        assert after["Metadata"]["agent"].encode("latin-1").decode() == "Jürgen €"
        assert after["ContentDisposition"] == before["ContentDisposition"]
        assert contents(bucket) == CALLS | {NOTE: b"pay", "calls/3.wav": b"third call"}


def test_approval_shows_the_counts(tmp_path: Path, bucket: Bucket) -> None:
    with installation_at(with_bucket(tmp_path, bucket)) as installation:
        (planned,) = plan_recovery(installation, "crm", "newest").sets["calls"].buckets
        counts = planned.counts
        assert (counts.new, counts.replaced, counts.unchanged, counts.others) == (1, 1, 2, 1)
        assert planned.size_bytes == len(ENCRYPTED)
        case = opened(installation)
        state = installation.ledger.incidents.state(case)
        assert state.steps["recover"].state is StepState.ASKING
        (request,) = pending_requests(installation, case, "lee")
        assert "1 added, 1 replaced" in request.details[1]
        assert "1 other kept" in request.details[1]


def test_other_objects_are_hidden_on_request(tmp_path: Path, bucket: Bucket) -> None:
    config_file = with_bucket(tmp_path, bucket, "hides_others = true")
    with installation_at(config_file) as installation:
        before = objects(bucket)
        case, outcome = recovered(installation)
        assert outcome.exit_status is ExitStatus.DONE, outcome
        assert contents(bucket) == CALLS
        assert objects(bucket)["other/kept"] == before["other/kept"]
        undo_approved(installation, case)
        lifecycle.advance(installation, case, "direct")
        assert objects(bucket) == before


def test_incomplete_backup_hides_no_object(tmp_path: Path, bucket: Bucket) -> None:
    config_file = with_bucket(tmp_path, bucket, "hides_others = true")
    text = config_file.read_text()
    config_file.write_text(
        f"""{text}
[[backup.sets.calls.sources]]
kind = "files"
name = "gone"
path = "gone"

[backup.sets.calls.recovery.gone]
path = "{tmp_path}/spare/gone"
"""
    )
    with installation_at(config_file) as installation:
        assert run_backup(installation, "calls", "direct").exit_status is ExitStatus.PARTIAL
        assert "incomplete" in plan_recovery(installation, "crm", "newest").refused["calls"]


def test_failed_check_changes_no_object(tmp_path: Path, bucket: Bucket) -> None:
    with installation_at(with_bucket(tmp_path, bucket, check="absent")) as installation:
        before, versions = objects(bucket), version_count(bucket)
        _, outcome = recovered(installation)
        assert outcome.exit_status is ExitStatus.FAILED
        assert (objects(bucket), version_count(bucket)) == (before, versions)


def test_undo_keeps_what_changed_later(tmp_path: Path, bucket: Bucket) -> None:
    client = bucket.client(bucket.admin)
    with installation_at(with_bucket(tmp_path, bucket)) as installation:
        before = objects(bucket)
        case, _ = recovered(installation)
        later = client.put_object(Bucket=bucket.name, Key="calls/2026/1.wav", Body=b"new work")
        undo_approved(installation, case)
        outcome = lifecycle.advance(installation, case, "direct")
        assert outcome.exit_status is ExitStatus.FAILED
        found = contents(bucket)
        assert found["calls/2026/1.wav"] == b"new work"
        assert "calls/2026/2.wav" not in found
        client.delete_object(
            Bucket=bucket.name, Key="calls/2026/1.wav", VersionId=later["VersionId"]
        )
        undo_approved(installation, case)
        lifecycle.advance(installation, case, "direct")
        assert objects(bucket) == before


def test_changed_record_removes_nothing(tmp_path: Path, bucket: Bucket) -> None:
    with installation_at(with_bucket(tmp_path, bucket)) as installation:
        case, _ = recovered(installation)
        (record,) = (tmp_path / "spare").glob("*/versions.sqlite")
        (kept, _, version) = objects(bucket)["other/kept"]
        with sqlite3.connect(record) as database:
            database.execute("INSERT INTO added VALUES ('other/kept', ?)", (version,))
        undo_approved(installation, case)
        assert lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.FAILED
        assert objects(bucket)["other/kept"][0] == kept
        assert contents(bucket) == CALLS | {NOTE: b"pay"}


def test_record_folder_of_others_is_refused(tmp_path: Path, bucket: Bucket) -> None:
    with installation_at(with_bucket(tmp_path, bucket)) as installation:
        before = objects(bucket)
        case = opened(installation)
        (tmp_path / "spare" / f"calls.objects.versions-{case}").mkdir(mode=0o755)
        approve_as(installation, case, "recover", "lee")
        outcome = lifecycle.advance(installation, case, "direct")
        assert outcome.exit_status is ExitStatus.FAILED
        assert objects(bucket) == before


@pytest.mark.sampled
@pytest.mark.parametrize(("can_lock", "is_versioned"), [(False, False), (True, True)])
def test_bucket_that_cannot_be_undone_is_refused(
    tmp_path: Path, bucket: Bucket, seaweedfs_server: SeaweedFs, can_lock: bool, is_versioned: bool
) -> None:
    target = seaweedfs_server.bucket(can_lock=can_lock, is_versioned=is_versioned)
    with installation_at(with_bucket(tmp_path, bucket, target=target)) as installation:
        refused = plan_recovery(installation, "crm", "newest").refused["calls"]
    target.remove_identities()
    assert target.name in refused
    assert objects(target) == {}


def test_another_bucket_gets_all_objects(
    tmp_path: Path, bucket: Bucket, seaweedfs_server: SeaweedFs
) -> None:
    target = seaweedfs_server.bucket(can_lock=False)
    with installation_at(with_bucket(tmp_path, bucket, target=target)) as installation:
        case = opened(installation)
        # Nothing is there, so nobody has to approve.
        assert lifecycle.look(installation, case).exit_status is ExitStatus.DONE
        assert contents(target) == CALLS
        undo_approved(installation, case)
        lifecycle.advance(installation, case, "direct")
        assert version_count(target) == 0
    target.remove_identities()


def test_put_with_lost_answer_is_undone_exactly(tmp_path: Path, bucket: Bucket) -> None:
    with running_proxy(bucket.server.url) as proxy:
        config_file = with_bucket(tmp_path, bucket, "hides_others = true", url=proxy.url)
        with installation_at(config_file) as installation:
            before, versions = objects(bucket), version_count(bucket)
            proxy.will(Fault.LOST_ANSWER, "PUT", "1.wav")
            case, outcome = recovered(installation)
            assert outcome.exit_status is ExitStatus.DONE, outcome
            assert contents(bucket) == CALLS
            assert version_count(bucket) == versions + 4
            undo_approved(installation, case)
            lifecycle.advance(installation, case, "direct")
    assert (objects(bucket), version_count(bucket)) == (before, versions)


def test_undo_reports_a_marker_of_unknown_origin(tmp_path: Path, bucket: Bucket) -> None:
    with running_proxy(bucket.server.url) as proxy:
        config_file = with_bucket(tmp_path, bucket, "hides_others = true", url=proxy.url)
        with installation_at(config_file) as installation:
            before, versions = objects(bucket), version_count(bucket)
            proxy.will(Fault.LOST_ANSWER, "DELETE", "ransom-note.txt")
            case, outcome = recovered(installation)
            assert outcome.exit_status is ExitStatus.DONE, outcome
            assert contents(bucket) == CALLS
            undo_approved(installation, case)
            outcome = lifecycle.advance(installation, case, "direct")
            assert outcome.exit_status is ExitStatus.FAILED
            assert objects(bucket) == {key: before[key] for key in before if key != NOTE}
            remove_marker(bucket, NOTE)
            undo_approved(installation, case)
            lifecycle.advance(installation, case, "direct")
            status = recovery_status(installation, case).sets[0]
            assert status.state == "returned"
    assert (objects(bucket), version_count(bucket)) == (before, versions)


def test_other_target_than_planned_is_refused(
    tmp_path: Path, bucket: Bucket, seaweedfs_server: SeaweedFs
) -> None:
    other = seaweedfs_server.bucket(can_lock=False)
    config_file = with_bucket(tmp_path, bucket)
    with installation_at(config_file) as installation:
        case = opened(installation)
        approve_as(installation, case, "recover", "lee")
    first, second = config_file.read_text().split("[backup.sets.calls.recovery.objects.s3]")
    config_file.write_text(
        first + "[backup.sets.calls.recovery.objects.s3]" + second.replace(bucket.name, other.name)
    )
    with installation_at(config_file) as installation:
        outcome = lifecycle.advance(installation, case, "direct")
        assert outcome.exit_status is ExitStatus.FAILED
    assert version_count(other) == 0
    assert contents(bucket)["calls/2026/1.wav"] == ENCRYPTED


def test_failed_call_reverts_everything(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = BucketTarget.put

    def fail_once(self: BucketTarget, key: str, *rest: object, **more: object) -> list[str]:
        if key.endswith("2.wav"):
            raise StoreUnavailable("no answer")
        return put(self, key, *rest, **more)  # type: ignore[arg-type]

    with installation_at(with_bucket(tmp_path, bucket)) as installation:
        before, versions = objects(bucket), version_count(bucket)
        with monkeypatch.context() as patched:
            patched.setattr(BucketTarget, "put", fail_once)
            case, outcome = recovered(installation)
        assert outcome.exit_status is ExitStatus.FAILED
        assert (objects(bucket), version_count(bucket)) == (before, versions)
        step_retry.retry(installation, case, "recover", by="dana")
        assert lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.DONE
        assert contents(bucket) == CALLS | {NOTE: b"pay"}


def test_lost_record_fails_the_retry(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> list[str]:
        raise StoreUnavailable("no answer")

    with installation_at(with_bucket(tmp_path, bucket)) as installation:
        before = objects(bucket)
        with monkeypatch.context() as patched:
            patched.setattr(BucketTarget, "put", fail)
            case, _ = recovered(installation)
        (record,) = (tmp_path / "spare").glob("*/versions.sqlite")
        record.unlink()
        step_retry.retry(installation, case, "recover", by="dana")
        assert lifecycle.advance(installation, case, "direct").exit_status is ExitStatus.FAILED
        assert objects(bucket) == before


@pytest.mark.sampled
@pytest.mark.parametrize("key", ["calls/2026/1.wav", "calls/index.json"])
def test_object_that_changes_meanwhile_is_kept(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    put = BucketTarget.put

    def put_both(self: BucketTarget, own: str, *rest: object, **more: object) -> list[str]:
        added = put(self, own, *rest, **more)  # type: ignore[arg-type]
        if own == "calls/2026/1.wav":
            bucket.client(bucket.admin).put_object(Bucket=bucket.name, Key=key, Body=b"new work")
        return added

    with installation_at(with_bucket(tmp_path, bucket)) as installation:
        before = contents(bucket)
        monkeypatch.setattr(BucketTarget, "put", put_both)
        _, outcome = recovered(installation)
        assert outcome.exit_status is ExitStatus.FAILED
        assert contents(bucket) == before | {key: b"new work"}
