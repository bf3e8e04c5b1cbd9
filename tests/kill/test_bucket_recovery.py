"""A killed recovery of a bucket continues, and its undo stays exact."""

from pathlib import Path

from backup.stores.s3 import S3Options
from backup.targets.s3 import BucketTarget
from standfast.errors import ExitStatus
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle
from standfast.usecases.recovery.object_recovery import (
    HIDES_AT_ONCE,
    put_objects,
    undo_objects,
)
from standfast.usecases.recovery.version_record import ActState, VersionRecord, open_record
from tests.backup.s3_options import options
from tests.kill.tracing import Death, Phase, Tracer, in_own_process, traced_points, wrap_ledger
from tests.sampling import sample
from tests.servers.seaweedfs import Bucket, SeaweedFs
from tests.usecases.backup_installation import installation_at
from tests.usecases.installations import approve_as, undo_approved
from tests.usecases.recovery.bucket_installation import (
    CALLS,
    NOTE,
    contents,
    objects,
    remove_marker,
    version_count,
    with_bucket,
)
from tests.usecases.recovery.recovery_installation import opened

KILLED = -9
CALLS_TO_S3 = ("put", "hide", "remove")
WRITES = ("replace_all", "replace_listing", "mark", "record_added_versions", "compare")
RECOVERY, UNDO = PARTS = ("recovery", "undo")
OF_THE_RECOVERY = ("commit recovery", *CALLS_TO_S3, *WRITES)


def advance(config_file: Path, case: str, log: Path, death: Death | None) -> None:
    """Continue the incident in this process; die at one of its steps."""
    tracer = Tracer(log=log, death=death)
    wrap_ledger(tracer)
    for name in CALLS_TO_S3:
        tracer.wrap(BucketTarget, name, name, is_within=True)
    for name in WRITES:
        tracer.wrap(VersionRecord, name, name, is_within=True)
    with installation_at(config_file) as installation:
        outcome = lifecycle.advance(installation, case, "direct")
    assert outcome.exit_status is ExitStatus.DONE, outcome


def run(folder: Path, server: SeaweedFs, death: Death | None, killed: str = "") -> dict[str, Path]:
    """Recover and undo, one of them with a kill; return the trace of each."""
    folder.mkdir()
    bucket = server.bucket(can_lock=False)
    config_file = with_bucket(folder, bucket, "hides_others = true")
    before, versions = objects(bucket), version_count(bucket)
    with installation_at(config_file) as installation:
        case = opened(installation)
        approve_as(installation, case, "recover", "lee")
    logs = {part: folder / f"trace of {part}" for part in PARTS}
    for part, log in logs.items():
        if part == UNDO:
            assert contents(bucket) == CALLS, death
            with installation_at(config_file) as installation:
                undo_approved(installation, case)
                if killed == RECOVERY:
                    undo_without_receipts(installation, case, bucket)
        if part == killed:
            assert in_own_process(advance, config_file, case, log, death) == KILLED, death
        assert in_own_process(advance, config_file, case, log, None) == 0, death
    assert (objects(bucket), version_count(bucket)) == (before, versions), death
    bucket.remove_identities()
    return logs


def undo_without_receipts(installation: Installation, case: str, bucket: Bucket) -> None:
    """Undo; if a hide has no receipt, remove its marker as a person must.

    Some hides run at the same time, and their receipts are written after the last one. So a process
    that died at any of them may leave the marker of a hide without a receipt.
    """
    outcome = lifecycle.advance(installation, case, "direct")
    is_exact = NOTE in objects(bucket)
    assert outcome.exit_status is (ExitStatus.DONE if is_exact else ExitStatus.FAILED), outcome
    if not is_exact:
        remove_marker(bucket, NOTE)
        undo_approved(installation, case)


def deaths_in(log: Path) -> list[Death]:
    """Return a death after each write, and one more during each call."""
    points = [point for point in traced_points(log) if point.startswith(OF_THE_RECOVERY)]
    return [
        Death(point, phase)
        for point in points
        for phase in (Phase.DURING, Phase.AFTER)
        if phase is Phase.AFTER or point.startswith(CALLS_TO_S3)
    ]


def test_killed_bucket_recovery_continues_and_is_undone_exactly(
    tmp_path: Path, seaweedfs_server: SeaweedFs
) -> None:
    logs = run(tmp_path / "clean", seaweedfs_server, None)
    deaths = [(part, death) for part, log in logs.items() for death in deaths_in(log)]
    assert {death.point.split(" ")[0] for _, death in deaths} >= {"commit", "mark", *CALLS_TO_S3}
    for number, (part, death) in enumerate(sample(deaths, "recovery of a bucket")):
        run(tmp_path / str(number), seaweedfs_server, death, part)


def hide_others(target: S3Options, folder: Path, log: Path, death: Death) -> None:
    """Hide all objects of a bucket in this process; die at one of them."""
    tracer = Tracer(log=log, death=death)
    tracer.wrap(BucketTarget, "hide", "hide")
    with open_record(folder / "versions.sqlite") as record:
        put_objects(BucketTarget(target), record, folder, lambda: None)


def test_killed_hides_leave_few_unknown_markers(
    tmp_path: Path, seaweedfs_server: SeaweedFs
) -> None:
    bucket = seaweedfs_server.bucket(can_lock=False)
    client = bucket.client(bucket.admin)
    keys = [f"calls/{number}.wav" for number in range(3 * HIDES_AT_ONCE)]
    for key in keys:
        client.put_object(Bucket=bucket.name, Key=key, Body=b"encrypted")
    settings = options(bucket, bucket.admin, requires_lock=False)
    target = BucketTarget(settings)
    with open_record(tmp_path / "versions.sqlite") as record:
        record.replace_all([])
        record.replace_listing(target.rows(""), hides_others=True)
    hides = 2 * HIDES_AT_ONCE
    death = Death(f"hide {hides}", Phase.AFTER)
    assert in_own_process(hide_others, settings, tmp_path, tmp_path / "trace", death) == KILLED
    with open_record(tmp_path / "versions.sqlite") as record:
        assert record.count(ActState.DONE) >= hides - HIDES_AT_ONCE
        put_objects(target, record, tmp_path, lambda: None)
        assert objects(bucket) == {}
        assert undo_objects(target, record, "") == 0
        assert 1 <= record.count_unknown() <= HIDES_AT_ONCE
        assert len(objects(bucket)) == len(keys) - record.count_unknown()
