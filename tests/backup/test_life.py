"""The life of a repository: backups, deaths, losses, retention, any order.

Behaviours that other tests check one by one happen here in sequence, as they do over years.
"""

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from backup.checker.verification import verify
from backup.errors import Damaged
from backup.format.object_names import pack_prefix
from backup.ownership.operations.domains import new_generation
from backup.ownership.owner_session import OwnerSession, open_owner
from backup.records import BackupResult
from backup.retention.rules import RetentionRules
from backup.stores.keeper import KeeperStore
from tests.backup.keep_site import KeptSite, KeptVault, Tree, kept_site
from tests.backup.site import DOMAIN, WRITER, Clock, Died
from tests.backup.trees import describe, noise

NAMES = st.sampled_from(["a.txt", "b.wav", "calls/c.wav", "calls/d.wav", "calls/old/e", "f.sql"])
SIZES = st.sampled_from([0, 40, 3_000, 70_000, 400_000])
WHICH = st.integers(0, 99)  # the index of a choice among the existing objects
SETS = st.sampled_from(["nightly", "weekly"])
RULES = RetentionRules(
    everything=timedelta(days=10),
    daily=timedelta(days=14),
    weekly=timedelta(days=30),
    monthly=timedelta(days=60),
    floor=timedelta(days=3),
)


class MortalVault(KeptVault):
    """A vault with a process that dies at a put or removal, or after it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.left: int | None = None
        self.is_done_first = False

    def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        self._perhaps_die(lambda: super(MortalVault, self)._put(name, data))
        super()._put(name, data)

    def _remove(self, name: str) -> None:
        self._perhaps_die(lambda: super(MortalVault, self)._remove(name))
        super()._remove(name)

    def _perhaps_die(self, act: Any) -> None:
        if self.left is None:
            return
        if self.left == 0:
            if self.is_done_first:
                self.is_done_first = False  # other threads do nothing more after the death
                act()
            raise Died
        self.left -= 1


class Life(RuleBasedStateMachine):
    """One host with two sets, its keeper and its owner."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="standfast-life-"))
        clock = Clock()
        self.vault = MortalVault(clock)
        self.kept: KeptSite = kept_site(self.folder, self.vault, clock)
        self.kept.rules = RULES
        self.kept.source.mkdir()
        self.old_logs: list[Path] = []
        self.lost: set[str] = set()  # names of packs that are gone although a point needs them
        self.shaken: dict[str, Tree] = {}  # points that were made before a loss

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            try:
                self.every_point_is_as_it_was()
            finally:
                shutil.rmtree(self.folder)

    # Events at a contact centre.

    @rule(name=NAMES, size=SIZES, seed=st.integers(0, 6))
    def write(self, name: str, size: int, seed: int) -> None:
        path = self.kept.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise(size, seed) if seed % 2 else b"who called, and why\n" * (size // 20))

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        (self.kept.source / name).unlink(missing_ok=True)

    @rule(old=NAMES, new=NAMES)
    def rename(self, old: str, new: str) -> None:
        if (self.kept.source / old).exists():
            (self.kept.source / new).parent.mkdir(parents=True, exist_ok=True)
            (self.kept.source / old).rename(self.kept.source / new)

    @rule(days=st.sampled_from([1, 3, 9, 25]))
    def time_passes(self, days: int) -> None:
        self.kept.days(days)

    # Acts of the host, and accidents that may happen to it.

    @rule(set_name=SETS)
    def back_up(self, set_name: str) -> None:
        result = self._back_up(set_name)
        assert result.complete
        assert self.lost or not result.is_store_damaged
        self._made(set_name)

    @rule(set_name=SETS, at=st.integers(0, 4), is_done_first=st.booleans())
    def die_while_backing_up(self, set_name: str, at: int, is_done_first: bool) -> None:
        self.vault.left, self.vault.is_done_first = at, is_done_first
        try:
            self._back_up(set_name)
        except Died:
            pass
        finally:
            self.vault.left = None
        self._made(set_name)  # the snapshot may have been the last put before the death

    @rule()
    def lose_the_send_log(self) -> None:
        shutil.rmtree(self.kept.site.send_log.parent, ignore_errors=True)

    @rule()
    def take_a_snapshot_of_the_machine(self) -> None:
        if self.kept.site.send_log.exists():
            copy = self.folder / f"machine-{len(self.old_logs)}"
            shutil.copytree(self.kept.site.send_log.parent, copy)
            self.old_logs.append(copy)

    @rule(which=WHICH)
    def roll_the_machine_back(self, which: int) -> None:
        if self.old_logs:
            self.lose_the_send_log()
            copy = self.old_logs[which % len(self.old_logs)]
            shutil.copytree(copy, self.kept.site.send_log.parent)

    # Accidents of the vault.

    @rule()
    def keep(self) -> None:
        before = set(self.kept.points())
        self.kept.keep(max_percent=100)
        self._no_young_one_expired(before)

    @rule(at=st.integers(0, 4), is_done_first=st.booleans())
    def die_while_keeping(self, at: int, is_done_first: bool) -> None:
        before = set(self.kept.points())
        self.vault.left, self.vault.is_done_first = at, is_done_first
        try:
            self.kept.keep(max_percent=100)
        except Died:
            pass
        finally:
            self.vault.left = None
        self._no_young_one_expired(before)

    @rule(which=WHICH)
    def a_disk_loses_a_pack(self, which: int) -> None:
        packs = sorted(self.vault.list(pack_prefix(WRITER)), key=lambda stat: stat.modified)
        if packs:
            name = packs[which % len(packs)].name
            self.vault.lose(name)
            self.lost.add(name)
            self.shaken |= self.kept.trees

    @rule()
    def begin_a_generation(self) -> None:
        keys = self.kept.site.keys
        assert isinstance(keys, KeeperStore)
        owner = self.folder / "owner.json"
        office = OwnerSession(
            owner=open_owner(owner),
            owner_file=owner,
            vault=self.vault,
            keys=keys,
            now=self.kept.clock,
        )
        new_generation(office, domain=DOMAIN)

    # Invariants.

    @rule(which=WHICH)
    def some_point_is_as_it_was(self, which: int) -> None:
        points = self.kept.points()
        if points:
            self._restores(points[which % len(points)])

    def every_point_is_as_it_was(self) -> None:
        points = self.kept.points()
        keeps = self.kept.keeps()
        expired = {f"{writer}/{sequence:010d}" for writer, sequence in keeps.expired}
        assert set(points) == set(self.kept.trees) - expired
        for name in points:
            self._restores(name)
        site = self.kept.site
        report = verify(self.vault, keys=site.keys, identity=site.identity, read=True)
        errors = [one for one in report.findings if one.severity == "error"]
        assert not errors or self.lost, errors

    def _restores(self, name: str) -> None:
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        try:
            result = self.kept.site.restore(name, out)
        except Damaged:
            assert name in self.shaken, name  # the lost pack contained the list of the point
            return
        found = describe(out / "files") if (out / "files").exists() else {}
        whole = self.kept.trees[name]
        if name not in self.shaken:
            assert result.problems == (), name
        if not result.problems:
            assert found == whole, name
        # The content of a lost pack is missing and reported; nothing replaces it.
        contents = {path: facts[-1] for path, facts in found.items()}
        assert contents.items() <= {path: facts[-1] for path, facts in whole.items()}.items()

    def _back_up(self, set_name: str) -> BackupResult:
        return self.kept.site.back_up(self.kept.source, set_name=set_name)

    def _made(self, set_name: str) -> None:
        """Record the content of new points; a point exists whole or not at all."""
        now = describe(self.kept.source)
        for point in self.kept.site.repository().points():
            if point.name not in self.kept.trees:
                assert point.set_name == set_name
                self.kept.trees[point.name] = now

    def _no_young_one_expired(self, before: set[str]) -> None:
        now = self.kept.clock()
        gone = before - set(self.kept.points())
        for point in self.kept.site.repository().points():
            if point.name in gone:
                assert now - point.time > RULES.floor


Life.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, report_multiple_bugs=False
)
TestLife = Life.TestCase
