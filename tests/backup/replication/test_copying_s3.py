"""Replication between buckets, each role with the policy of `deploy/s3/`."""

from pathlib import Path

import pytest

from backup.checker.verification import verify
from backup.errors import UsageError
from backup.ownership.operations.writers import new_epoch
from backup.ownership.owner_session import OwnerSession, open_owner
from backup.replication.vault_copy import replicate_vault
from backup.repository import Repository
from backup.stores import Store
from backup.stores.s3.store import open_s3
from tests.backup.owner_site import KeyDrawer
from tests.backup.s3_options import options
from tests.backup.site import WRITER, Site
from tests.backup.trees import describe, plain_tree
from tests.servers.seaweedfs import Bucket, Role, SeaweedFs, policy


def store_of(bucket: Bucket, role: Role) -> Store:
    return open_s3(options(bucket, bucket.key(role)))


def test_vault_is_copied_without_any_key(
    s3_bucket: Bucket, seaweedfs_server: SeaweedFs, tmp_path: Path
) -> None:
    keys = KeyDrawer()
    site = Site(folder=tmp_path / "site", vault=store_of(s3_bucket, "owner"), keys=keys).create()
    source = plain_tree(tmp_path / "source")
    site.vault = store_of(s3_bucket, "writer")
    site.back_up(source)
    second = seaweedfs_server.bucket()
    vault, copier = store_of(s3_bucket, "reader"), store_of(second, "copier")
    first = replicate_vault(vault, copier)
    assert first.findings == ()

    # The next copy contains the changes that the owner and the new host make now.
    office = OwnerSession(
        owner=open_owner(site.folder / "owner.json"),
        owner_file=site.folder / "owner.json",
        vault=store_of(s3_bucket, "owner"),
        keys=keys,
        now=site.clock,
    )
    new_epoch(office, writer=WRITER, trusted_through=1, host_dir=site.folder / "host-2")
    (site.folder / "host").rename(site.folder / "old")
    (site.folder / "host-2").rename(site.folder / "host")
    site.vault = store_of(s3_bucket, "writer")
    site.back_up(source)
    again = replicate_vault(vault, copier)
    assert again.findings == ()
    assert again.counts["snapshots"].copied == 1
    assert again.counts["root records"].copied == 1

    theirs = store_of(second, "verifier")
    assert [stat.name for stat in theirs.list("")] == [stat.name for stat in vault.list("")]
    assert verify(theirs, read=True, owner=site.host.owner).findings == ()
    repository = Repository.open(store_of(second, "reader"), keys, site.identity)
    for point in ("1", "2"):
        out = tmp_path / f"out-{point}"
        assert repository.restore(repository.resolve(point), out).problems == ()
        assert describe(out / "files") == describe(source)
    pack = next(stat.name for stat in theirs.list(f"w/{WRITER}/p/"))
    with pytest.raises(UsageError, match="refused"):
        copier.get(pack)


def test_copier_removes_nothing() -> None:
    denied = {
        action
        for statement in policy("copier")["Statement"]
        if statement["Effect"] == "Deny"
        for action in statement["Action"]
    }
    assert {
        "s3:DeleteObject",
        "s3:DeleteObjectVersion",
        "s3:PutObjectRetention",
        "s3:BypassGovernanceRetention",
    } <= denied
