"""Backups whose vault is a bucket: each role with a configuration of its own, on a real S3."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from backup.stores.s3 import open_s3
from standfast.errors import ExitStatus, SecretMissing, Unavailable, UsageError
from standfast.operations import backups, restoring, verification
from standfast.operations.checks import check_place
from standfast.operations.verdicts import Verdict
from tests.backup.s3_options import options
from tests.operations.backup_place import SERVICE, change, furnish, identity, place_at
from tests.servers import free_port
from tests.servers.seaweedfs import Bucket, Key, Role, SeaweedFs

WRITER = "host-1"
KEPT = "bucket {} keeps every object for 30 days against everyone (Object Lock, COMPLIANCE)"


def configuration(folder: Path, bucket: Bucket, key: Key, name: str, more: str = "") -> Path:
    """Write a configuration whose vault is the bucket, with the key's two files beside it."""
    (folder / f"{name}.id").write_text(key.access_key + "\n")
    (folder / f"{name}.secret").write_text(key.secret_key + "\n")
    for file in (f"{name}.id", f"{name}.secret"):
        (folder / file).chmod(0o600)
    table = (
        f'\n[backup.s3]\nbucket = "{bucket.name}"\nendpoint_url = "{bucket.server.url}"\n'
        f'access_key_id = "file:{name}.id"\nsecret_access_key = "file:{name}.secret"\n{more}'
    )
    path = folder / f"{name}.toml"
    path.write_text((folder / "standfast.toml").read_text() + table)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place whose repository was made in a folder, which holds the root record only."""
    furnish(tmp_path, more=SERVICE)
    return tmp_path


def hand_over(folder: Path, bucket: Bucket) -> None:
    """Put the root record into the bucket, as deploy/s3/README.md says."""
    (record,) = (folder / "vault" / "pub" / "root").iterdir()
    store = open_s3(options(bucket, bucket.admin, requires_lock=False))
    store.put(f"pub/root/{record.name}", record.read_bytes())


@pytest.fixture
def as_role(folder: Path, s3_bucket: Bucket) -> Callable[[Role], Path]:
    """Give the configuration of a role for a bucket that has the root record."""
    hand_over(folder, s3_bucket)
    key = {"writer": s3_bucket.key("writer", writer=WRITER)}
    return lambda role: configuration(folder, s3_bucket, key.get(role) or s3_bucket.key(role), role)


def found(config_file: Path, part: str = "backup") -> list[tuple[Verdict, str]]:
    report = check_place(config_file, env={})
    return [(check.verdict, check.found) for check in report.checks if check.part == part]


def test_a_night_a_check_and_a_restore_each_with_its_own_identity(
    folder: Path, as_role: Callable[[Role], Path], s3_bucket: Bucket
) -> None:
    with place_at(as_role("writer")) as place:
        assert backups.run_backup(place, "main", "direct").exit_status is ExitStatus.DONE
        change(folder)
        assert backups.run_backup(place, "main", "direct").exit_status is ExitStatus.DONE
        assert len(backups.list_points(place).points) == 2
    with place_at(as_role("verifier")) as place:
        checked = verification.verify(place, read=True)
    assert checked.exit_status is ExitStatus.DONE
    assert checked.findings == ()
    assert (checked.report.points, checked.is_write_only) == (2, True)
    assert checked.why_write_only == KEPT.format(s3_bucket.name)
    with place_at(as_role("reader")) as place:
        restored = restoring.restore(place, "latest", folder / "out", identity(folder))
        assert restored.exit_status is ExitStatus.DONE
        runs = json.dumps([run.summary for run in place.ledger.runs.all("backup", "main")])
    assert (folder / "out/recordings/notes.txt").read_text() == "the customer rang three times\n"
    assert s3_bucket.key("reader").secret_key not in runs
    assert not list((folder / "vault").glob("w/*")), "nothing goes to the folder"


def test_the_wrong_role_is_told_which_one_is_right(
    folder: Path, as_role: Callable[[Role], Path]
) -> None:
    with (
        place_at(as_role("reader")) as place,
        pytest.raises(UsageError, match=r"storing w/host-1/.*right role; deploy/s3/README.md"),
    ):
        backups.run_backup(place, "main", "direct")
    with place_at(as_role("writer")) as place:
        backups.run_backup(place, "main", "direct")
        for call in (
            lambda: verification.verify(place),
            lambda: restoring.restore(place, "latest", folder / "out", identity(folder)),
        ):
            with pytest.raises(UsageError, match="Use the identity of the right role") as refused:
                call()
            assert refused.value.exit_status is ExitStatus.USAGE


@pytest.mark.parametrize(("lock", "why"), [(None, "no default lock"), ("GOVERNANCE", "bypass it")])
def test_a_lock_that_does_not_hold_is_refused_or_told(
    folder: Path, seaweedfs_server: SeaweedFs, lock: str | None, why: str
) -> None:
    bucket = seaweedfs_server.bucket(mode=lock)
    hand_over(folder, bucket)
    strict = configuration(folder, bucket, bucket.admin, "strict")
    lax = configuration(folder, bucket, bucket.admin, "lax", "requires_lock = false\n")
    if lock is None:
        with (
            place_at(strict) as place,
            pytest.raises(UsageError, match=rf"{why}.*Give the bucket a default lock") as refused,
        ):
            backups.run_backup(place, "main", "direct")
        assert refused.value.exit_status is ExitStatus.USAGE
        ((verdict, text),) = found(strict)
        assert (verdict, why in text) == (Verdict.FAIL, True)
    with place_at(lax) as place:
        backups.run_backup(place, "main", "direct")
        checked = verification.verify(place)
    assert not checked.is_write_only
    assert why in checked.why_write_only
    warned = [text for verdict, text in found(lax) if verdict is Verdict.WARN]
    assert len(warned) == 1
    assert "not write-only here" in warned[0]


def test_a_lock_for_each_object_is_as_good(folder: Path, seaweedfs_server: SeaweedFs) -> None:
    bucket = seaweedfs_server.bucket(mode=None)
    hand_over(folder, bucket)
    path = configuration(folder, bucket, bucket.admin, "each", "lock_days = 45\n")
    with place_at(path) as place:
        backups.run_backup(place, "main", "direct")
        assert verification.verify(place).is_write_only
    client = bucket.client(bucket.admin)
    rows = client.list_object_versions(Bucket=bucket.name, Prefix="w/")["Versions"]
    assert rows
    for row in rows:
        head = client.head_object(Bucket=bucket.name, Key=row["Key"])
        assert head["ObjectLockMode"] == "COMPLIANCE"


def test_a_check_tries_the_right_to_add_and_adds_nothing(
    folder: Path, as_role: Callable[[Role], Path], s3_bucket: Bucket
) -> None:
    writer = as_role("writer")
    first = found(writer)
    assert [verdict for verdict, _ in first] == [Verdict.OK, Verdict.OK]
    assert "the first backup shows whether this identity may add" in first[0][1]
    with place_at(writer) as place:
        backups.run_backup(place, "main", "direct")
    client = s3_bucket.client(s3_bucket.admin)
    before = client.list_object_versions(Bucket=s3_bucket.name)["Versions"]
    assert found(writer) == [
        (Verdict.OK, f"bucket {s3_bucket.name} answers, and this identity may add to it"),
        (
            Verdict.OK,
            f"write-only: {KEPT.format(s3_bucket.name)}",
        ),
    ]
    (verdict, text), *_ = found(as_role("reader"))
    assert verdict is Verdict.FAIL
    assert "was refused" in text
    assert client.list_object_versions(Bucket=s3_bucket.name)["Versions"] == before


def test_what_is_missing_or_wrong_is_told_without_the_secret(
    folder: Path, as_role: Callable[[Role], Path], s3_bucket: Bucket
) -> None:
    writer = as_role("writer")
    (folder / "writer.secret").unlink()
    with place_at(writer) as place, pytest.raises(SecretMissing, match=r"file:writer\.secret"):
        backups.list_points(place)
    as_role("writer")
    (folder / "writer.secret").write_text("mistyped\n")
    with (
        place_at(writer) as place,
        pytest.raises(UsageError, match="does not take these credentials") as refused,
    ):
        backups.list_points(place)
    assert "mistyped" not in str(refused.value)
    key = s3_bucket.key("writer", writer=WRITER)
    assert key.secret_key not in str(refused.value)


def test_a_bucket_that_does_not_answer_is_worth_another_try(
    folder: Path, s3_bucket: Bucket
) -> None:
    path = configuration(folder, s3_bucket, s3_bucket.admin, "gone")
    nobody = f"http://127.0.0.1:{free_port()}"
    path.write_text(path.read_text().replace(s3_bucket.server.url, nobody))
    with place_at(path) as place, pytest.raises(Unavailable, match="no answer"):
        backups.run_backup(place, "main", "direct")
