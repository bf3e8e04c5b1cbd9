"""The keeper with its own identity on a real S3; only its clock moves."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup.checker.verification import verify
from backup.errors import UsageError
from backup.format.object_names import pack_name
from backup.retention.keeper_key import Keeper
from backup.stores.directory import DirectoryStore
from backup.stores.s3 import S3Options
from backup.stores.s3.bucket import open_bucket
from backup.stores.s3.keeper import S3KeeperStore
from backup.stores.s3.store import open_s3
from tests.backup.keep_site import WEEKS, KeptSite, new_keeper
from tests.backup.s3_options import options
from tests.backup.site import Clock, Site
from tests.backup.trees import describe
from tests.servers.seaweedfs import Bucket, Role, SeaweedFs

LOCK = timedelta(days=30)
NOT_KEEPERS: tuple[Role, ...] = ("owner", "writer", "reader", "drill-runner", "verifier")


class Later(S3KeeperStore):
    """A bucket that reports a later time; its real clock dates the locks."""

    ahead = timedelta(0)

    def clock(self) -> datetime:
        return super().clock() + self.ahead


def later(given: S3Options) -> Later:
    calls, traits = open_bucket(given, pause=lambda _: None, jitter=lambda: 0.1)
    return Later(given, calls, traits, lambda: datetime.now(UTC))


class OnS3(KeptSite):
    """Calls of each role through its own identity."""

    bucket: Bucket
    more: dict[str, Any]

    def act_as(self, role: Role) -> None:
        self.site.vault = open_s3(options(self.bucket, self.bucket.key(role), **self.more))

    def keep_at(self, days: float, **more: Any) -> Any:
        vault = self.vault
        assert isinstance(vault, Later)
        vault.ahead = timedelta(days=days)
        return self.keep(now=lambda: datetime.now(UTC) + vault.ahead, max_percent=100, **more)

    def check_as_reader(self) -> None:
        """Check that every kept point restores and the verifier finds no fault."""
        self.act_as("reader")
        for name in self.points():
            out = self.site.folder / "out"
            shutil.rmtree(out, ignore_errors=True)
            assert self.site.restore(name, out).problems == ()
            assert describe(out / "files") == self.trees[name]
        self.act_as("verifier")
        report = verify(self.site.vault, read=True, owner=self.keeper.owner)
        assert [one for one in report.findings if one.severity == "error"] == []


def on_s3(folder: Path, bucket: Bucket, **more: Any) -> OnS3:
    owner = open_s3(options(bucket, bucket.key("owner"), **more))
    clock = Clock()
    site = Site(
        folder=folder, vault=owner, keys=DirectoryStore(folder / "keys"), clock=clock
    ).create()
    keeper: Keeper = new_keeper(site)
    kept = OnS3(
        site=site, vault=later(options(bucket, bucket.key("keeper"), **more)), keeper=keeper
    )
    kept.bucket, kept.more, kept.rules = bucket, more, WEEKS
    kept.act_as("writer")
    for _ in range(3):
        kept.next_backup()
    return kept


def test_locked_packs_stay_and_live_ones_are_extended(tmp_path: Path, s3_bucket: Bucket) -> None:
    kept = on_s3(tmp_path, s3_bucket)
    real = kept.vault.clock()
    first = kept.keep_at(41)
    assert len(first.expired) == 2
    assert first.marked
    assert first.problems == ()
    live = kept.packs() - {one.pack for one in first.marked}
    assert {pack_name(*pack) for pack in live} <= set(first.extended)
    for name in first.extended:
        until = kept.vault.lock_until(name)
        assert until is not None
        assert until >= real + timedelta(days=41) + LOCK
    for one in first.marked:
        until = kept.vault.lock_until(pack_name(*one.pack))
        assert until is not None
        assert until < real + LOCK + timedelta(days=1), "what may go is not locked for longer"

    # One pack has a longer lock than the others: its removal waits, and the run reports it.
    held = first.marked[0].pack
    kept.vault.extend_lock(pack_name(*held), real + timedelta(days=80))
    second = kept.keep_at(49)
    assert [one.pack for one in second.locked if one.until > real + timedelta(days=79)] == [held]
    assert held not in kept.keeps().dropped
    # By the moved clock, the locks of the other packs have ended. By the store's clock they have
    # not, so the store refuses.
    others = {one.pack for one in first.marked} - {held}
    assert others
    assert {one.pack for one in second.dropped} == others
    assert {one.pack for one in second.locked} == others | {held}
    assert second.removed == ()
    assert others | {held} <= kept.packs()
    kept.check_as_reader()

    third = kept.keep_at(56)
    assert third.dropped == ()
    assert {one.pack for one in third.locked} == others | {held}, "it is tried again each time"
    kept.check_as_reader()


def test_unlocked_packs_are_removed_with_keeper_rights(
    tmp_path: Path, seaweedfs_server: SeaweedFs
) -> None:
    kept = on_s3(tmp_path, seaweedfs_server.bucket(mode=None), requires_lock=False)
    marked = {one.pack for one in kept.keep_at(41).marked}
    result = kept.keep_at(49)
    assert {one.pack for one in result.removed} == marked
    assert not marked & kept.packs()
    kept.check_as_reader()
    listed = kept.bucket.client(kept.bucket.admin).list_object_versions(Bucket=kept.bucket.name)
    assert "DeleteMarkers" not in listed, "what is removed leaves no marker"


def test_only_the_keeper_can_run_retention(tmp_path: Path, seaweedfs_server: SeaweedFs) -> None:
    kept = on_s3(tmp_path, seaweedfs_server.bucket(mode=None), requires_lock=False)
    right = kept.vault
    before = kept.packs()
    for role in NOT_KEEPERS:
        key = kept.bucket.key(role)
        kept.vault = later(options(kept.bucket, key, **kept.more))
        with pytest.raises(UsageError, match="refused"):
            kept.keep_at(41)
    kept.vault = right
    kept.keep_at(41)
    assert kept.packs() == before
    kept.check_as_reader()


def test_the_clock_is_the_stores(s3_bucket: Bucket) -> None:
    keeper = later(options(s3_bucket, s3_bucket.key("keeper")))
    keeper.put("pub/keep/0000000000", b"x")
    assert abs(keeper.clock() - keeper.stat("pub/keep/0000000000").modified) < timedelta(seconds=5)
