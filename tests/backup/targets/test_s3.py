"""A bucket target adds versions, and removes exactly these."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.errors import StoreUnavailable, UnsafePath, UsageError
from backup.targets.s3 import BucketTarget
from tests.backup.s3_options import options
from tests.backup.s3_proxy import Fault, Proxy, running_proxy
from tests.servers.seaweedfs import Bucket, SeaweedFs

PART_BYTES = 5 * 1024 * 1024  # the least that S3 accepts


@pytest.fixture
def bucket(seaweedfs_server: SeaweedFs) -> Bucket:
    """A bucket with versions and no locks."""
    return seaweedfs_server.bucket(can_lock=False)


@pytest.fixture
def proxy(bucket: Bucket) -> Iterator[Proxy]:
    with running_proxy(bucket.server.url) as proxy:
        yield proxy


@pytest.fixture
def target(bucket: Bucket, proxy: Proxy) -> BucketTarget:
    given = options(bucket, bucket.admin, requires_lock=False, endpoint_url=proxy.url, attempts=3)
    return BucketTarget(given, part_bytes=PART_BYTES, pause=lambda _: None)


def content(bucket: Bucket, key: str) -> bytes:
    body: bytes = bucket.client(bucket.admin).get_object(Bucket=bucket.name, Key=key)["Body"].read()
    return body


@pytest.mark.parametrize("size", [0, 7, PART_BYTES + 1])
def test_removed_version_uncovers_the_one_below(
    bucket: Bucket, target: BucketTarget, tmp_path: Path, size: int
) -> None:
    client = bucket.client(bucket.admin)
    old = client.put_object(Bucket=bucket.name, Key="a", Body=b"old", Metadata={"agent": "7"})
    (tmp_path / "file").write_bytes(os.urandom(size))
    headers = {"ContentType": "audio/wav", "Metadata": {"agent": "8"}}
    added = target.put("a", tmp_path / "file", headers, newest_version=old["VersionId"])
    assert content(bucket, "a") == (tmp_path / "file").read_bytes()
    head = client.head_object(Bucket=bucket.name, Key="a")
    assert (head["ContentType"], head["Metadata"]) == ("audio/wav", {"agent": "8"})
    for version in added * 2:  # a repeated removal changes nothing
        target.remove("a", version)
    head = client.head_object(Bucket=bucket.name, Key="a")
    assert (head["VersionId"], head["Metadata"]) == (old["VersionId"], {"agent": "7"})


@pytest.mark.parametrize("size", [7, PART_BYTES + 1])
def test_repeated_put_returns_all_added_versions(
    bucket: Bucket, target: BucketTarget, proxy: Proxy, tmp_path: Path, size: int
) -> None:
    client = bucket.client(bucket.admin)
    (tmp_path / "file").write_bytes(os.urandom(size))
    # An earlier version with the same bytes is not one of the added versions.
    client.put_object(Bucket=bucket.name, Key="a", Body=(tmp_path / "file").read_bytes())
    old = client.put_object(Bucket=bucket.name, Key="a", Body=b"old")
    proxy.will(Fault.LOST_ANSWER, "POST" if size > PART_BYTES else "PUT", after=size > PART_BYTES)
    added = target.put("a", tmp_path / "file", {}, newest_version=old["VersionId"])
    assert proxy.happened
    for version in added:
        target.remove("a", version)
    assert content(bucket, "a") == b"old"
    rows = [row.version_id for row in target.rows("a")]
    assert len(rows) == 2


def test_bucket_with_mfa_delete_is_refused(
    target: BucketTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SeaweedFS has no MFA Delete, so the answer is changed."""
    target.refuse_unsafe("")
    answer = {"Status": "Enabled", "MFADelete": "Enabled"}
    monkeypatch.setattr(target._client, "get_bucket_versioning", lambda **_: answer)
    with pytest.raises(UnsafePath, match="MFA"):
        target.refuse_unsafe("")


def test_identity_that_removes_nothing_is_refused(bucket: Bucket, target: BucketTarget) -> None:
    target.refuse_unsafe("calls/")
    assert list(target.rows("")) == []
    given = options(bucket, bucket.key("verifier"), requires_lock=False)
    with pytest.raises(UsageError, match="may not do that"):
        BucketTarget(given).refuse_unsafe("calls/")
    bucket.remove_identities()


def test_damaged_body_adds_no_version(
    bucket: Bucket, target: BucketTarget, proxy: Proxy, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"content")
    proxy.will(Fault.DAMAGED_REQUEST, "PUT", times=9)
    with pytest.raises(StoreUnavailable):
        target.put("a", tmp_path / "file", {}, newest_version="")
    assert list(target.rows("")) == []


def test_link_is_not_followed(bucket: Bucket, target: BucketTarget, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "file").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic links"):
        target.put("a", tmp_path / "file", {}, newest_version="")
    assert list(target.rows("")) == []
