"""Object locks on a real S3: rights to read them, choices of a writer.

- The host's own policy does not let it choose a lock. With `lock_days`, the host locks each object
  at its put, so the host and an intruder on it can choose a lock.
- Each point is restored and compared at the end.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup.checker.verification import verify
from backup.errors import UsageError
from backup.format.object_names import pack_name, root_name, snapshot_name
from backup.records import VerifyReport
from backup.stores import ObjectLock
from backup.stores.s3.store import open_s3
from tests.backup.s3_options import options
from tests.backup.site import WRITER, Site, new_site
from tests.backup.trees import describe, plain_tree
from tests.servers.seaweedfs import LOCK_DAYS, Bucket, Role, SeaweedFs

DAY = timedelta(days=1)
EACH = ObjectLock(mode="COMPLIANCE", days=LOCK_DAYS)


def stored_by(bucket: Bucket, folder: Path, **more: Any) -> Site:
    """Make a repository in the bucket with a root record and one point."""
    site = new_site(folder / "site", open_s3(options(bucket, bucket.key("owner"), **more)))
    site.vault = open_s3(options(bucket, bucket.key("writer"), **more))
    site.back_up(plain_tree(folder / "source"))
    return site


def seen_by(role: Role, bucket: Bucket, site: Site, **more: Any) -> VerifyReport:
    vault = open_s3(options(bucket, bucket.key(role), **more))
    return verify(vault, owner=site.host.owner)


def named(report: VerifyReport) -> dict[str, str]:
    assert report.is_sound, "a lock that is wrong damages nothing"
    return {one.object: one.problem for one in report.findings if one.severity == "warning"}


def comes_back(bucket: Bucket, site: Site, folder: Path, **more: Any) -> None:
    site.vault = open_s3(options(bucket, bucket.key("reader"), **more))
    assert site.restore("latest", folder / "out").problems == ()
    assert describe(folder / "out" / "files") == describe(folder / "source")


@pytest.mark.parametrize("mode", ["COMPLIANCE", "GOVERNANCE"])
def test_verifier_finds_all_default_locks(
    seaweedfs_server: SeaweedFs, tmp_path: Path, mode: str
) -> None:
    bucket = seaweedfs_server.bucket(mode=mode)
    site = stored_by(bucket, tmp_path)
    report = seen_by("verifier", bucket, site)
    assert report.findings == ()
    assert report.locks is not None
    stored = len(list(open_s3(options(bucket, bucket.key("verifier"))).list("")))
    assert (report.locks.objects, report.locks.looked_at) == (stored, stored)
    assert report.locks.is_right
    comes_back(bucket, site, tmp_path)


@pytest.mark.parametrize("role", ["reader", "drill-runner"])
def test_missing_right_is_named_without_any_finding(
    s3_bucket: Bucket, tmp_path: Path, role: Role
) -> None:
    site = stored_by(s3_bucket, tmp_path)
    report = seen_by(role, s3_bucket, site)
    assert report.locks is not None
    assert (report.locks.looked_at, report.locks.wrong) == (0, 0)
    assert report.locks.unknown == report.locks.objects > 0
    ((_, problem),) = named(report).items()
    assert "its lock is not known, nor those of" in problem
    assert "(s3:GetObjectRetention) was refused (AccessDenied)" in problem
    comes_back(s3_bucket, site, tmp_path)


def test_only_verifier_and_keeper_see_locks(s3_bucket: Bucket, tmp_path: Path) -> None:
    stored_by(s3_bucket, tmp_path)
    roles: tuple[Role, ...] = (
        "owner", "writer", "reader", "drill-runner", "copier", "keeper", "verifier",
    )  # fmt: skip
    for role in roles:
        store = open_s3(options(s3_bucket, s3_bucket.key(role)))
        if role in ("keeper", "verifier"):
            assert store.lock_of(root_name(0)) is not None
        else:
            with pytest.raises(UsageError, match=r"s3:GetObjectRetention.* was refused"):
                store.lock_of(root_name(0))


def test_compromised_host_with_shipped_policy_chooses_no_lock(
    s3_bucket: Bucket, tmp_path: Path
) -> None:
    site = stored_by(s3_bucket, tmp_path)
    host = s3_bucket.client(s3_bucket.key("writer"))
    for mode in ("COMPLIANCE", "GOVERNANCE"):
        with pytest.raises(host.exceptions.ClientError, match="AccessDenied"):
            host.put_object(
                Bucket=s3_bucket.name,
                Key=pack_name(WRITER, "ab" * 32),
                Body=b"rubbish",
                ObjectLockMode=mode,
                ObjectLockRetainUntilDate=datetime.now(UTC) + DAY,
            )
    assert named(seen_by("verifier", s3_bucket, site)) == {}
    comes_back(s3_bucket, site, tmp_path)


@pytest.fixture
def each(seaweedfs_server: SeaweedFs, tmp_path: Path) -> tuple[Bucket, Site]:
    """Return a bucket without a default lock; the host locks its objects.

    The host has the right to set these locks.
    """
    bucket = seaweedfs_server.bucket(mode=None)
    vault = open_s3(options(bucket, bucket.admin, lock_each=EACH))
    site = new_site(tmp_path / "site", vault)
    site.back_up(plain_tree(tmp_path / "source"))
    return bucket, site


def test_shorter_locks_of_compromised_host_are_named(
    each: tuple[Bucket, Site], tmp_path: Path
) -> None:
    bucket, site = each
    assert named(seen_by("verifier", bucket, site, lock_each=EACH)) == {}
    host, now = bucket.client(bucket.admin), datetime.now(UTC)

    def put(number: int, mode: str | None, days: float = 0) -> str:
        name = pack_name(WRITER, f"{number:064x}")
        lock: dict[str, Any] = {}
        if mode is not None:
            until = now + timedelta(days=days)
            lock = {"ObjectLockMode": mode, "ObjectLockRetainUntilDate": until}
        host.put_object(Bucket=bucket.name, Key=name, Body=b"%d" % number, **lock)
        return name

    none = put(1, None)
    short = put(2, "COMPLIANCE", 1 / 24)
    almost = put(3, "COMPLIANCE", LOCK_DAYS - 1)
    weak = put(4, "GOVERNANCE", LOCK_DAYS)
    endless = put(5, "GOVERNANCE", 36_500)
    put(6, "COMPLIANCE", LOCK_DAYS)
    # The next point uses none of these objects, but an intruder can put its snapshot in the same
    # way.
    site.back_up(tmp_path / "source")
    newest = snapshot_name(WRITER, 2)
    host.put_object_retention(
        Bucket=bucket.name, Key=root_name(0), Retention=_until(now + 2 * LOCK_DAYS * DAY)
    )
    report = seen_by("verifier", bucket, site, lock_each=EACH)
    found = named(report)
    assert found.keys() == {none, short, almost, weak, endless, root_name(0)}
    assert newest not in found
    assert "has no lock" in found[none]
    assert "only, although the bucket locks for 30 days in COMPLIANCE mode" in found[short]
    assert "only, although" in found[almost]
    assert "in GOVERNANCE mode" in found[weak]
    assert "longer than any lock of this vault" in found[root_name(0)]
    assert report.locks is not None
    assert report.locks.wrong == 5
    comes_back(bucket, site, tmp_path, lock_each=EACH)


def _until(moment: datetime) -> dict[str, object]:
    return {"Mode": "COMPLIANCE", "RetainUntilDate": moment}


@pytest.mark.parametrize("lowered", ["shorter", "weaker"])
def test_objects_put_under_another_default_are_named(
    s3_bucket: Bucket, tmp_path: Path, lowered: str
) -> None:
    site = stored_by(s3_bucket, tmp_path)
    admin = s3_bucket.client(s3_bucket.admin)
    before = {stat.name for stat in site.vault.list(f"w/{WRITER}/")}

    def default(mode: str, days: int) -> None:
        rule = {"DefaultRetention": {"Mode": mode, "Days": days}}
        admin.put_object_lock_configuration(
            Bucket=s3_bucket.name,
            ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule},
        )

    if lowered == "shorter":
        default("COMPLIANCE", 1)
    else:
        default("GOVERNANCE", LOCK_DAYS)
    (tmp_path / "source" / "note.txt").write_text("put while nobody looked\n")
    site.back_up(tmp_path / "source")
    default("COMPLIANCE", LOCK_DAYS)
    after = {stat.name for stat in site.vault.list(f"w/{WRITER}/")}
    assert named(seen_by("verifier", s3_bucket, site)).keys() == after - before
    comes_back(s3_bucket, site, tmp_path)


@pytest.mark.parametrize("mode", [None, "COMPLIANCE", "GOVERNANCE"])
def test_lock_corrected_by_hand_is_not_named_again(
    each: tuple[Bucket, Site], tmp_path: Path, mode: str | None
) -> None:
    bucket, site = each
    host = bucket.client(bucket.admin)
    name = pack_name(WRITER, "ab" * 32)
    lock: dict[str, Any] = {}
    if mode is not None:
        lock = {"ObjectLockMode": mode, "ObjectLockRetainUntilDate": datetime.now(UTC) + DAY}
    host.put_object(Bucket=bucket.name, Key=name, Body=b"of a run", **lock)
    assert named(seen_by("verifier", bucket, site, lock_each=EACH)).keys() == {name}
    # The removal follows deploy/s3/README.md: the keeper's identity and the id of the version.
    (row,) = host.list_object_versions(Bucket=bucket.name, Prefix=name)["Versions"]
    request: dict[str, Any] = {
        "Bucket": bucket.name,
        "Key": name,
        "VersionId": row["VersionId"],
        "Retention": _until(datetime.now(UTC) + LOCK_DAYS * DAY),
    }
    keeper = bucket.client(bucket.key("keeper"))
    if mode == "GOVERNANCE":  # for an identity that may bypass it
        with pytest.raises(keeper.exceptions.ClientError, match="AccessDenied"):
            keeper.put_object_retention(**request)
        host.put_object_retention(**request, BypassGovernanceRetention=True)
    else:
        keeper.put_object_retention(**request)
    assert named(seen_by("verifier", bucket, site, lock_each=EACH)) == {}
    comes_back(bucket, site, tmp_path, lock_each=EACH)
