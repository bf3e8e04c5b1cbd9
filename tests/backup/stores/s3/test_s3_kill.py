"""Backup, retention and restore on a real S3, killed at any request.

Each run goes through a relay (`s3_death`), which first names its requests to the store. Then each
run is repeated in a new repository for every name: killed before the store receives the request, at
half of it, and after the answer. Several requests are in progress at once, so names are compared,
not their order. No point is lost, and the next run completes.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from backup.format.object_names import pack_name
from backup.restorer.safe_paths import JOURNAL
from backup.retention.keeper_key import Keeper
from backup.retention.retention_run import RetentionResult, run_retention
from backup.stores import ObjectLock
from backup.stores.directory import DirectoryStore
from backup.stores.s3 import S3Options
from backup.stores.s3.store import open_s3
from tests.backup.keep_site import WEEKS, KeptSite, KeptVault, Tree, new_keeper
from tests.backup.retention.test_s3 import Later, later
from tests.backup.s3_death import relayed
from tests.backup.s3_options import options
from tests.backup.site import Clock, Site
from tests.backup.trees import describe, noise
from tests.kill.tracing import Death, Phase
from tests.sampling import sample
from tests.servers.seaweedfs import Bucket, SeaweedFs

KILLED = -9
LOCK = ObjectLock(mode="GOVERNANCE", days=1)  # only the keeper sets locks here
MARKED_AT, KEPT_AT = timedelta(days=41), timedelta(days=49)
# Objects for people; no run here reads or writes them.
FOR_PEOPLE = ("pub/format/", "pub/reader/")


def site_at(where: S3Options, folder: Path, now: datetime) -> Site:
    clock = Clock()
    clock.forward(seconds=(now - clock()).total_seconds())
    return Site(
        folder=folder, vault=open_s3(where), keys=DirectoryStore(folder / "keys"), clock=clock
    )


def back_up(url: str, where: S3Options, folder: Path, source: Path, now: datetime) -> None:
    result = site_at(replace(where, endpoint_url=url), folder, now).back_up(source)
    assert (result.complete, result.warnings) == (True, ())


def restore(url: str, where: S3Options, folder: Path, _: Path, now: datetime) -> None:
    site = site_at(replace(where, endpoint_url=url), folder, now)
    assert site.restore("latest", folder / "restored").problems == ()


def keepers(where: S3Options, ahead: timedelta) -> Later:
    """Return the keeper's store at a later time."""
    vault = later(replace(where, lock_each=LOCK))
    vault.ahead = ahead
    return vault


def keep_at(vault: Later, folder: Path) -> RetentionResult:
    keeper = Keeper.load(folder / "keeper.json")
    return run_retention(
        vault, keeper, WEEKS, now=lambda: datetime.now(UTC) + vault.ahead, max_percent=100
    )


def keep_again(url: str, where: S3Options, folder: Path, _: Path, __: datetime) -> None:
    assert keep_at(keepers(replace(where, endpoint_url=url), KEPT_AT), folder).problems == ()


@dataclass(kw_only=True)
class Evening:
    """A repository with an expired point, removable packs, an expirable point.

    The source has changed since the last point.
    """

    bucket: Bucket
    where: S3Options
    folder: Path
    objects: dict[str, bytes]
    unlock: set[str]  # objects without a lock; the other locks last longer than the test
    trees: dict[str, Tree]
    now: datetime
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @cached_property
    def client(self) -> Any:
        return self.bucket.client(self.bucket.admin)

    def copy(self, below: Path) -> "Case":
        number = next(self._numbers)
        folder = below / f"{number}"
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("source"))
        until = datetime.now(UTC) + 2 * KEPT_AT
        lock = {"ObjectLockMode": LOCK.mode, "ObjectLockRetainUntilDate": until}
        for name, data in self.objects.items():
            self.client.put_object(
                Bucket=self.bucket.name,
                Key=f"{number}/{name}",
                Body=data,
                **({} if name in self.unlock else lock),
            )
        return Case(evening=self, where=replace(self.where, prefix=f"{number}/"), folder=folder)


@dataclass(kw_only=True)
class Case:
    """The evening, made again for one death."""

    evening: Evening
    where: S3Options
    folder: Path
    _read: dict[str, bytes] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        return self.folder / "restored"

    @cached_property
    def vault(self) -> Later:
        return keepers(self.where, KEPT_AT)

    def kept(self) -> KeptSite:
        """Return the bucket's content; each object is read once.

        If the killed backup committed its point, the content has one point more than the evening.
        """
        clock = Clock()
        vault = KeptVault(clock)
        for stat in self.vault.list(""):
            if stat.name not in self._read:
                self._read[stat.name] = self.vault.get(stat.name)
            vault.put(stat.name, self._read[stat.name])
        keys = DirectoryStore(self.folder / "keys")
        site = Site(folder=self.folder, vault=vault, keys=keys, clock=clock)
        keeper = Keeper.load(self.folder / "keeper.json")
        kept = KeptSite(site=site, vault=vault, keeper=keeper, rules=WEEKS)
        kept.trees = dict(self.evening.trees)
        for point in kept.points():
            kept.trees.setdefault(point, describe(self.evening.source))
        return kept

    def back_up_again(self) -> None:
        self.kept().check()
        site = site_at(self.where, self.folder, self.evening.now + timedelta(days=1))
        result = site.back_up(self.evening.source)
        assert (result.complete, result.has_foreign_point, result.warnings) == (True, False, ())
        kept = self.kept()
        assert result.point in kept.points()
        kept.check()

    def keep_again(self) -> None:
        before = self.kept()
        before.restore_all()
        assert keep_at(self.vault, self.folder).problems == ()
        kept = self.kept()
        kept.check()
        keeps = kept.keeps()
        assert (len(keeps.expired), len(kept.points()), keeps.problems) == (2, 1, ())
        assert before.packs() - kept.packs() <= keeps.dropped != frozenset()
        for name in ("pub/root/0000000000", "pub/root/0000000001"):
            until = self.vault.lock_until(name)
            assert until is not None
            assert until >= datetime.now(UTC) + KEPT_AT

    def restore_again(self) -> None:
        is_begun = self.out.exists()
        if not is_begun or (self.out / os.fsdecode(JOURNAL)).exists():
            result = site_at(self.where, self.folder, self.evening.now).restore("latest", self.out)
            assert (result.problems, result.is_resumed) == ((), is_begun)
        assert describe(self.out / "files") == [*self.evening.trees.values()][-1]


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory, seaweedfs_server: SeaweedFs) -> Evening:
    folder = tmp_path_factory.mktemp("evening")
    bucket = seaweedfs_server.bucket(mode=None)
    where = options(bucket, bucket.admin, prefix="evening/", requires_lock=False)
    site = site_at(where, folder, datetime.now(UTC)).create()
    vault = keepers(where, MARKED_AT)
    kept = KeptSite(site=site, vault=vault, keeper=new_keeper(site), rules=WEEKS)
    kept.next_backup()
    kept.next_backup()
    marked = {pack_name(*one.pack) for one in keep_at(vault, folder).marked}
    assert marked
    kept.next_backup(days=MARKED_AT.days)
    (kept.source / "new.wav").write_bytes(noise(50_000, 77))
    (kept.source / "today.wav").unlink()
    names = [one.name for one in vault.list("") if not one.name.startswith(FOR_PEOPLE)]
    return Evening(
        bucket=bucket,
        where=where,
        folder=folder,
        objects={name: vault.get(name) for name in names},
        unlock={name for name in names if name in marked or name.startswith("pub/")},
        trees=kept.trees,
        now=kept.clock() + timedelta(days=1),
    )


@pytest.mark.parametrize(
    ("run", "check"),
    [
        (back_up, Case.back_up_again),
        (keep_again, Case.keep_again),
        (restore, Case.restore_again),
    ],
    ids=["a backup", "a keeping run", "a restore"],
)
def test_kill_at_any_request_loses_no_point(
    evening: Evening,
    tmp_path: Path,
    run: Callable[[str, S3Options, Path, Path, datetime], None],
    check: Callable[[Case], None],
) -> None:
    def relay(case: Case, death: Death | None) -> tuple[int, list[str]]:
        return relayed(
            run, case.where, case.folder, evening.source, evening.now,
            behind=evening.bucket.server.url,
            below=f"{evening.bucket.name}/{case.where.prefix}",
            death=death,
        )  # fmt: skip

    case = evening.copy(tmp_path)
    ended, trace = relay(case, None)
    assert ended == 0, "the run ends well when nothing disturbs it"
    check(case)
    complete = [Death(point, phase) for point in sorted(set(trace)) for phase in Phase]
    deaths = sample(complete, run.__name__)
    died = set()
    for death in deaths:
        case = evening.copy(tmp_path)
        ended, _ = relay(case, death)
        if ended == KILLED:
            died.add(death)
        check(case)
        shutil.rmtree(case.folder)
    assert died == set(deaths), "the set of killed points equals the trace"
