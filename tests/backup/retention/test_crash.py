"""Retention, killed at any store act, loses no point and then completes."""

import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup.retention.keeper_key import Keeper
from backup.stores.directory import DirectoryStore
from tests.backup.keep_run import ACTS, LOCK, RULES, LockingDirectory, run_keeping
from tests.backup.keep_site import KeptSite, Tree, new_keeper
from tests.backup.site import WRITER, Clock, Died, Site
from tests.backup.trees import describe
from tests.kill.tracing import Death, Phase, in_own_process, traced_points
from tests.sampling import sample

KILLED = -9


@dataclass
class Evening:
    """A vault before a retention run that has every kind of work to do."""

    folder: Path
    now: datetime
    trees: dict[str, Tree]
    drops: int = 0

    def kept(self, folder: Path) -> KeptSite:
        clock = Clock()
        clock.forward(seconds=(self.now - clock()).total_seconds())
        vault = LockingDirectory(folder / "vault", clock)
        site = Site(folder=folder, vault=vault, keys=DirectoryStore(folder / "keys"), clock=clock)
        kept = KeptSite(
            site=site, vault=vault, keeper=Keeper.load(folder / "keeper.json"), rules=RULES
        )
        kept.trees = self.trees
        return kept


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Evening:
    """A vault with packs to remove, points to expire and old locks."""
    folder = tmp_path_factory.mktemp("evening")
    clock = Clock()
    vault = LockingDirectory(folder / "vault", clock)
    site = Site(folder=folder, vault=vault, keys=DirectoryStore(folder / "keys"), clock=clock)
    site.create()
    kept = KeptSite(site=site, vault=vault, keeper=new_keeper(site), rules=RULES)
    for _ in range(5):
        kept.next_backup(days=5)
    kept.days(17)
    kept.keep(max_percent=50)
    kept.days(7.5)
    remove, left = vault.remove, []

    def dies(name: str) -> None:
        left.append(name)
        raise Died

    vault.remove = dies
    with pytest.raises(Died):
        kept.keep(max_percent=50)
    vault.remove = remove
    assert left
    assert any(pack for pack in kept.keeps().dropped if pack in kept.packs())
    kept.days(13)
    evening = Evening(folder=folder, now=clock(), trees=kept.trees)
    evening.drops = len({*kept.keeps().dropped, *kept.keeps().marked})
    return evening


def copy(evening: Evening, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(evening.folder, folder)
    return folder


def check_after(evening: Evening, folder: Path) -> None:
    """Assert that live points restore and the next run completes this one."""
    kept = evening.kept(folder)
    for name in kept.points():
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        assert kept.site.restore(name, out).problems == ()
        assert describe(out / "files") == evening.trees[name]
    result = kept.keep(max_percent=50)
    assert result.problems == ()
    kept.check()
    assert kept.points() == [f"{WRITER}/0000000005"]
    assert kept.keeps().problems == ()
    assert len(kept.keeps().dropped) == evening.drops
    for stat in kept.vault.list("pub/root/"):
        until = kept.vault.lock_until(stat.name)
        assert until is not None
        assert until >= evening.now + timedelta(days=LOCK.days)


def test_uninterrupted_run_makes_every_kind_of_change(evening: Evening, tmp_path: Path) -> None:
    folder = copy(evening, tmp_path)
    kept = evening.kept(folder)
    points, packs, dropped = kept.points(), kept.packs(), kept.keeps().dropped
    assert len(points) == 2
    assert dropped & packs
    log = tmp_path / "trace"
    assert in_own_process(run_keeping, folder, evening.now, log, None) == 0
    acts = {point.split(" ")[0] for point in traced_points(log)}
    assert acts == set(ACTS) - {"_stat"}
    assert len(kept.points()) == 1
    gone = packs - kept.packs()
    assert gone > dropped & packs, "what was left over, and what was marked"
    assert kept.keeps().marked, "what only the point needed that expired now"
    check_after(evening, folder)


@pytest.mark.parametrize("phase", Phase)
def test_keeper_killed_at_any_act_completes_next_run(
    phase: Phase, evening: Evening, tmp_path: Path
) -> None:
    log = tmp_path / "trace"
    assert in_own_process(run_keeping, copy(evening, tmp_path), evening.now, log, None) == 0
    points = sample(traced_points(log), f"keep {phase}")
    killed: set[str] = set()
    for point in points:
        folder = copy(evening, tmp_path)
        log.unlink()
        if in_own_process(run_keeping, folder, evening.now, log, Death(point, phase)) == KILLED:
            killed.add(point)
        check_after(evening, folder)
    assert killed == set(points), "the set of killed points equals the trace"


class PowerCut:
    """A power cut at the n-th name change or sync; unsynced changes are lost."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, shadow: Path, dies_at: int) -> None:
        self.calls = 0
        self._dies_at = dies_at
        self._shadow = shadow
        self._whole: set[Path] = set()  # files whose content was synced
        # The folder, and the act that undoes the change.
        self._pending: list[tuple[Path, Callable[[], object]]] = []
        for name in ("link", "unlink", "mkdir", "rename", "fsync"):
            monkeypatch.setattr(
                os, name, self._counted(getattr(self, f"_{name}"), getattr(os, name))
            )

    def _counted(self, act: Callable[..., None], real: Callable[..., Any]) -> Callable[..., None]:
        def call(*args: Any, **more: Any) -> None:
            self.calls += 1
            if self.calls == self._dies_at:
                raise Died
            act(real, *args, **more)

        return call

    def _link(self, real: Callable[..., Any], source: Path, target: Path) -> None:
        assert Path(source) in self._whole, "content is synced before it gets its name"
        real(source, target)
        self._pending.append((Path(target).parent, lambda: target.unlink()))

    def _unlink(self, real: Callable[..., Any], path: Path) -> None:
        path = Path(path)
        kept = self._shadow / str(self.calls)
        shutil.copy2(path, kept)
        real(path)
        self._pending.append((path.parent, lambda: shutil.copy2(kept, path)))

    def _mkdir(self, real: Callable[..., Any], path: Path, *args: Any) -> None:
        real(path, *args)
        self._pending.append((Path(path).parent, lambda: shutil.rmtree(path)))

    def _rename(self, real: Callable[..., Any], source: Path, target: Path) -> None:
        real(source, target)  # only the test's own store renames files, and only its locks

    def _fsync(self, real: Callable[..., Any], descriptor: int) -> None:
        real(descriptor)
        synced = Path(f"/proc/self/fd/{descriptor}").readlink()
        self._whole.add(synced)
        self._pending = [one for one in self._pending if one[0] != synced]

    def undo(self) -> None:
        """Undo every name change that was not synced, the latest first."""
        for _, undo in reversed(self._pending):
            undo()


def test_power_cut_at_any_name_change_costs_nothing(evening: Evening, tmp_path: Path) -> None:
    def cut_at(dies_at: int, folder: Path) -> PowerCut:
        shadow = tmp_path / "shadow"
        shutil.rmtree(shadow, ignore_errors=True)
        shadow.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            cut = PowerCut(patch, shadow, dies_at)
            with pytest.raises(Died) if dies_at else nullcontext():
                run_keeping(folder, evening.now, None, None)
        return cut

    calls = cut_at(0, copy(evening, tmp_path)).calls
    assert calls > 20
    for dies_at in sample(range(1, calls + 1), "keep, power cut"):
        folder = copy(evening, tmp_path)
        cut_at(dies_at, folder).undo()
        check_after(evening, folder)
