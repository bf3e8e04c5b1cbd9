"""Backups to a real S3 bucket, each role with its own configuration."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup.checker.lock_check import check_day, due_days
from backup.records import LockSummary
from backup.stores import Stat
from backup.stores.s3.store import open_s3
from standfast.cli.backups.verification_summary import verification_summary_lines
from standfast.errors import ExitStatus, SecretMissing, Unavailable, UsageError
from standfast.usecases.backups import (
    backup_run,
    folder_restore,
    recovery_point_contents,
    verification,
)
from standfast.usecases.backups.replication import replicate_to_second_site
from standfast.usecases.health.check_results import Verdict
from standfast.usecases.health.installation_check import check_installation
from standfast.usecases.health.status import look
from standfast.usecases.key_ceremonies.owner_operations import open_stores
from tests.backup.s3_options import ignore_the_condition, options
from tests.servers import free_port
from tests.servers.seaweedfs import Bucket, Key, Role, SeaweedFs
from tests.usecases.backup_installation import SERVICE, change, furnish, identity, installation_at

WRITER = "host-1"
KEPT = (
    "bucket {} protects every object from deletion by anybody for 30 days (Object Lock, COMPLIANCE)"
)


def configuration(folder: Path, bucket: Bucket, key: Key, name: str, more: str = "") -> Path:
    """Write a configuration for a bucket as vault, with two key files."""
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
    """Make an installation with a root record in a folder, without backups."""
    furnish(tmp_path, more=SERVICE)
    return tmp_path


def hand_over(folder: Path, bucket: Bucket) -> None:
    """Put the root record into the bucket, as deploy/s3/README.md says."""
    (record,) = (folder / "vault" / "pub" / "root").iterdir()
    store = open_s3(options(bucket, bucket.admin, requires_lock=False))
    store.put(f"pub/root/{record.name}", record.read_bytes())


@pytest.fixture
def as_role(folder: Path, s3_bucket: Bucket) -> Callable[[Role], Path]:
    """Return a role's configuration for a bucket with the root record."""
    hand_over(folder, s3_bucket)
    key = {"writer": s3_bucket.key("writer", writer=WRITER)}
    return lambda role: configuration(folder, s3_bucket, key.get(role) or s3_bucket.key(role), role)


def found(config_file: Path, part: str = "backup") -> list[tuple[Verdict, str]]:
    report = check_installation(config_file, env={})
    return [(check.verdict, check.found) for check in report.checks if check.part == part]


def test_each_role_works_with_its_own_identity(
    folder: Path, as_role: Callable[[Role], Path], s3_bucket: Bucket
) -> None:
    with installation_at(as_role("writer")) as installation:
        assert backup_run.run_backup(installation, "main", "direct").exit_status is ExitStatus.DONE
        change(folder)
        assert backup_run.run_backup(installation, "main", "direct").exit_status is ExitStatus.DONE
        assert len(recovery_point_contents.list_points(installation).points) == 2
    with installation_at(as_role("verifier")) as installation:
        checked = verification.verify(installation, read=True)
    assert checked.exit_status is ExitStatus.DONE
    assert checked.findings == ()
    assert (checked.report.points, checked.is_write_only) == (2, True)
    assert checked.why_write_only == KEPT.format(s3_bucket.name)
    with installation_at(as_role("reader")) as installation:
        restored = folder_restore.restore(installation, "latest", folder / "out", identity(folder))
        assert restored.exit_status is ExitStatus.DONE
        runs = json.dumps([run.summary for run in installation.ledger.runs.all("backup", "main")])
    assert (folder / "out/recordings/notes.txt").read_text() == "the customer rang three times\n"
    assert s3_bucket.key("reader").secret_key not in runs
    assert not list((folder / "vault").glob("w/*")), "nothing goes to the folder"


def test_folder_points_are_copied_to_the_bucket(folder: Path, s3_bucket: Bucket) -> None:
    """The copy precedes the change of the vault (deploy/s3/README.md)."""
    with installation_at(folder / "standfast.toml") as installation:
        backup_run.run_backup(installation, "main", "direct")
    as_copy = configuration(folder, s3_bucket, s3_bucket.key("copier"), "copier")
    as_copy.write_text(as_copy.read_text().replace("[backup.s3]", "[backup.copies.bucket.s3]"))
    copied = replicate_to_second_site(open_stores(as_copy, {}), "bucket", with_keys=False)
    assert copied.exit_status is ExitStatus.DONE
    key = s3_bucket.key("writer", writer=WRITER)
    with installation_at(configuration(folder, s3_bucket, key, "writer")) as installation:
        assert backup_run.run_backup(installation, "main", "direct").exit_status is ExitStatus.DONE
    reader = configuration(folder, s3_bucket, s3_bucket.key("verifier"), "verifier")
    with installation_at(reader) as installation:
        assert verification.verify(installation, read=True).exit_status is ExitStatus.DONE
        restored = folder_restore.restore(
            installation, "host-1/1", folder / "out", identity(folder)
        )
        assert restored.exit_status is ExitStatus.DONE


def test_wrong_role_names_the_right_one(folder: Path, as_role: Callable[[Role], Path]) -> None:
    with (
        installation_at(as_role("reader")) as installation,
        pytest.raises(UsageError, match=r"storing w/host-1/.*right role; deploy/s3/README.md"),
    ):
        backup_run.run_backup(installation, "main", "direct")
    with installation_at(as_role("writer")) as installation:
        backup_run.run_backup(installation, "main", "direct")
        for call in (
            lambda: verification.verify(installation),
            lambda: folder_restore.restore(
                installation, "latest", folder / "out", identity(folder)
            ),
        ):
            with pytest.raises(UsageError, match="identity") as refused:
                call()
            assert refused.value.exit_status is ExitStatus.USAGE


@pytest.mark.parametrize(("lock", "why"), [(None, "no default lock"), ("GOVERNANCE", "bypass")])
def test_missing_lock_is_refused_or_reported(
    folder: Path, seaweedfs_server: SeaweedFs, lock: str | None, why: str
) -> None:
    bucket = seaweedfs_server.bucket(mode=lock)
    hand_over(folder, bucket)
    strict = configuration(folder, bucket, bucket.admin, "strict")
    lax = configuration(folder, bucket, bucket.admin, "lax", "requires_lock = false\n")
    if lock is None:
        with (
            installation_at(strict) as installation,
            pytest.raises(UsageError, match=rf"{why}.*Give the bucket a default lock") as refused,
        ):
            backup_run.run_backup(installation, "main", "direct")
        assert refused.value.exit_status is ExitStatus.USAGE
        ((verdict, text),) = found(strict)
        assert (verdict, why in text) == (Verdict.FAIL, True)
    with installation_at(lax) as installation:
        backup_run.run_backup(installation, "main", "direct")
        checked = verification.verify(installation)
    assert not checked.is_write_only
    assert why in checked.why_write_only
    warned = [text for verdict, text in found(lax) if verdict is Verdict.WARN]
    assert len(warned) == 1
    assert "not write-only" in warned[0]


def test_a_lock_for_each_object_is_as_good(folder: Path, seaweedfs_server: SeaweedFs) -> None:
    bucket = seaweedfs_server.bucket(mode=None)
    hand_over(folder, bucket)
    path = configuration(folder, bucket, bucket.admin, "each", "lock_days = 45\n")
    with installation_at(path) as installation:
        backup_run.run_backup(installation, "main", "direct")
        assert verification.verify(installation).is_write_only
    client = bucket.client(bucket.admin)
    rows = client.list_object_versions(Bucket=bucket.name, Prefix="w/")["Versions"]
    assert rows
    for row in rows:
        head = client.head_object(Bucket=bucket.name, Key=row["Key"])
        assert head["ObjectLockMode"] == "COMPLIANCE"


def test_missing_lock_makes_verification_partial(folder: Path, seaweedfs_server: SeaweedFs) -> None:
    bucket = seaweedfs_server.bucket(mode=None)
    hand_over(folder, bucket)  # a plain client puts it without a lock
    path = configuration(folder, bucket, bucket.admin, "each", "lock_days = 30\n")
    (root,) = [stat.name for stat in stored_in(bucket)]
    with installation_at(path) as installation:
        backup_run.run_backup(installation, "main", "direct")
        objects = len(stored_in(bucket))
        for _ in range(2):  # the second run checks the faulty lock again, and all others
            found = verification.verify(installation)
            assert found.exit_status is ExitStatus.PARTIAL
            assert [(one.severity, one.object) for one in found.findings] == [("warning", root)]
            assert found.summary()["locks"] == {
                "objects": objects,
                "looked_at": objects,
                "wrong": 1,
                "unknown": 0,
                "is_right": False,
            }
            assert said(found) == (f"{objects} of {objects} locks were checked: 1 wrong.")
        assert look(path, {}, installation.clock()).verify_failed is None, "nothing is damaged"
        bucket.client(bucket.admin).put_object_retention(
            Bucket=bucket.name,
            Key=root,
            Retention={
                "Mode": "COMPLIANCE",
                "RetainUntilDate": installation.clock() + timedelta(days=31),
            },
        )
        mended = verification.verify(installation)
        assert mended.exit_status is ExitStatus.DONE
        assert mended.as_json()["locks"] == mended.summary()["locks"]
        assert locks_of(mended).looked_at == objects


def test_daily_verification_checks_locks_in_turn(
    folder: Path, as_role: Callable[[Role], Path], s3_bucket: Bucket
) -> None:
    with installation_at(as_role("writer")) as installation:
        for _ in range(3):
            backup_run.run_backup(installation, "main", "direct")
    names = [stat.name for stat in stored_in(s3_bucket)]
    path = as_role("verifier")
    began = datetime.now(UTC)

    def on_day(day: int) -> int:
        with installation_at(path, lambda: began + timedelta(days=day)) as installation:
            checked = verification.verify(installation)
            assert checked.exit_status is ExitStatus.DONE
            return locks_of(checked).looked_at

    assert [on_day(0), on_day(1)] == [len(names)] * 2, "what is a day old is new"
    for last, day in ((1, 2), (2, 7)):  # four days without a verification
        due = due_days(began + timedelta(days=last), began + timedelta(days=day))
        assert on_day(day) == sum(check_day(name) in due for name in names)
    with installation_at(path, lambda: began + timedelta(days=8)) as installation:
        assert locks_of(verification.verify(installation, read=True)).looked_at == len(names)


def test_identity_without_lock_rights_verifies_the_rest(
    as_role: Callable[[Role], Path],
) -> None:
    with installation_at(as_role("writer")) as installation:
        backup_run.run_backup(installation, "main", "direct")
    with installation_at(as_role("reader")) as installation:
        for _ in range(2):
            checked = verification.verify(installation)
            assert checked.exit_status is ExitStatus.DONE
            (finding,) = checked.findings
            assert finding.severity == "warning"
            assert "s3:GetObjectRetention" in finding.problem
            assert "verifier's identity" in finding.what_to_do
            assert locks_of(checked).unknown == locks_of(checked).objects > 0
            assert said(checked).endswith(f": none wrong, {locks_of(checked).unknown} unknown.")
    with installation_at(as_role("verifier")) as installation:
        seen = verification.verify(installation)
    assert seen.findings == ()
    assert locks_of(seen).looked_at == locks_of(seen).objects, "what was unknown is looked at now"


def stored_in(bucket: Bucket) -> list[Stat]:
    return list(open_s3(options(bucket, bucket.admin, requires_lock=False)).list(""))


def locks_of(outcome: verification.VerifyOutcome) -> LockSummary:
    assert outcome.report.locks is not None
    return outcome.report.locks


def said(outcome: verification.VerifyOutcome) -> str:
    (line,) = [
        line for line in verification_summary_lines(outcome) if "locks were checked" in str(line)
    ]
    return str(line)


def test_check_tests_the_right_without_adding(
    folder: Path, as_role: Callable[[Role], Path], s3_bucket: Bucket
) -> None:
    writer = as_role("writer")
    first = found(writer)
    assert [verdict for verdict, _ in first] == [Verdict.OK, Verdict.OK]
    assert "the first backup shows whether this identity may add" in first[0][1]
    with installation_at(writer) as installation:
        backup_run.run_backup(installation, "main", "direct")
    client = s3_bucket.client(s3_bucket.admin)
    before = client.list_object_versions(Bucket=s3_bucket.name)["Versions"]
    assert found(writer) == [
        (Verdict.OK, f"bucket {s3_bucket.name} answers, and this identity may add objects"),
        (
            Verdict.OK,
            f"the vault is write-only: {KEPT.format(s3_bucket.name)}",
        ),
    ]
    (verdict, text), *_ = found(as_role("reader"))
    assert verdict is Verdict.FAIL
    assert "was refused" in text
    assert client.list_object_versions(Bucket=s3_bucket.name)["Versions"] == before


def test_check_reports_a_bucket_that_overwrites(
    folder: Path, as_role: Callable[[Role], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ignore_the_condition(monkeypatch)
    writer = as_role("writer")
    with installation_at(writer) as installation:
        backup_run.run_backup(installation, "main", "direct")
    for _ in range(2):
        (verdict, text), *_ = found(writer)
        assert verdict is Verdict.WARN
        assert "accepted w/host-1/s/0000000001" in text
        assert "ignores If-None-Match" in text


def test_bucket_errors_contain_no_secret(
    folder: Path, as_role: Callable[[Role], Path], s3_bucket: Bucket
) -> None:
    writer = as_role("writer")
    (folder / "writer.secret").unlink()
    with (
        installation_at(writer) as installation,
        pytest.raises(SecretMissing, match=r"file:writer\.secret"),
    ):
        recovery_point_contents.list_points(installation)
    as_role("writer")
    (folder / "writer.secret").write_text("mistyped\n")
    with (
        installation_at(writer) as installation,
        pytest.raises(UsageError, match="does not accept these credentials") as refused,
    ):
        recovery_point_contents.list_points(installation)
    assert "mistyped" not in str(refused.value)
    key = s3_bucket.key("writer", writer=WRITER)
    assert key.secret_key not in str(refused.value)


def test_silent_bucket_is_retryable(folder: Path, s3_bucket: Bucket) -> None:
    path = configuration(folder, s3_bucket, s3_bucket.admin, "gone")
    nobody = f"http://127.0.0.1:{free_port()}"
    path.write_text(path.read_text().replace(s3_bucket.server.url, nobody))
    with installation_at(path) as installation, pytest.raises(Unavailable, match="no answer"):
        backup_run.run_backup(installation, "main", "direct")
