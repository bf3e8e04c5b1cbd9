"""Kills and power cuts at each disk operation of a small backup.

After each death the earlier point restores, the next run completes without a warning, and every
byte of the repository is sound.  The set of killed points equals the trace.
"""

import shutil
from pathlib import Path

import pytest

from backup.checker.verification import verify
from backup.errors import AlreadyThere
from backup.stores.directory import DirectoryStore
from tests.backup.disk_trace import (
    Death,
    DiskTrace,
    Phase,
    in_tracing_process,
    kill_everywhere,
)
from tests.backup.ptrace import WHERE_TRACED, forked
from tests.backup.site import Site
from tests.backup.trees import KIB, describe, noise

pytestmark = WHERE_TRACED


class _Backup:
    """A repository with one recovery point and a source that changed since."""

    def __init__(self, folder: Path) -> None:
        self.here = folder / "here"
        self._kept = folder / "kept"
        self.first_source = folder / "first-source"
        self.source = folder / "source"
        self.source.mkdir()
        (self.source / "note.txt").write_text("the first backup")
        (self.source / "call.wav").write_bytes(noise(70 * KIB, 1))
        self.here.mkdir()
        self.site = _site(self.here)
        assert forked(self._first_backup) == 0
        shutil.copytree(self.source, self.first_source, copy_function=shutil.copy2)
        (self.source / "note.txt").write_text("the second backup")
        (self.source / "new.wav").write_bytes(noise(80 * KIB, 2))
        (self.source / "call.wav").unlink()
        self.here.rename(self._kept)
        self.site.clock.forward(days=1)

    def _first_backup(self) -> None:
        self.site.create()
        self.site.back_up(self.source)

    def again(self) -> list[Path]:
        shutil.rmtree(self.here, ignore_errors=True)
        shutil.copytree(self._kept, self.here, copy_function=shutil.copy2)
        return [self.here / "vault", self.here / "state"]

    def second_backup(self) -> None:
        result = self.site.back_up(self.source)
        assert (result.complete, result.warnings) == (True, ())

    def check(self) -> None:
        site = self.site
        site.clock.forward(days=1)
        self._restores("1", self.first_source)
        result = site.back_up(self.source)
        assert (result.complete, result.has_foreign_point, result.warnings) == (True, False, ())
        self._restores("latest", self.source)
        self._restores("1", self.first_source)
        report = verify(site.vault, keys=site.keys, identity=site.identity, read=True)
        assert report.is_sound, report.findings

    def _restores(self, point: str, source: Path) -> None:
        out = self.here / "out"
        assert self.site.restore(point, out).problems == ()
        assert describe(out / "files") == describe(source)
        shutil.rmtree(out)


def _site(folder: Path) -> Site:
    return Site(
        folder=folder,
        vault=DirectoryStore(folder / "vault"),
        keys=DirectoryStore(folder / "keys"),
    )


def _trace_backup(folder: Path) -> None:
    evening = _Backup(folder)
    trace = DiskTrace(evening.again(), evening.second_backup)
    done = {(one.call, "vault" if "/vault/" in one.path else "state") for one in trace.operations}
    assert {("openat", "vault"), ("write", "vault"), ("fsync", "vault"), ("link", "vault")} <= done
    assert {("unlink", "vault"), ("mkdir", "vault"), ("openat", "state")} <= done
    assert {("pwrite64", "state"), ("fdatasync", "state"), ("unlink", "state")} <= done


def _kill_backups(folder: Path, phase: Phase, names_survive: bool | None) -> None:
    evening = _Backup(folder)
    kill_everywhere(
        roots=evening.again,
        act=evening.second_backup,
        check=evening.check,
        phase=phase,
        names_survive=names_survive,
    )


def _kill_creations(folder: Path, phase: Phase, names_survive: bool | None) -> None:
    source = folder / "source"
    source.mkdir()
    (source / "note.txt").write_text("the first backup")
    here = folder / "here"

    def again() -> list[Path]:
        shutil.rmtree(here, ignore_errors=True)
        here.mkdir()
        return [here]

    def create() -> None:
        _site(here).create()

    def check() -> None:
        site = _site(here)
        try:
            site.create()
        except AlreadyThere:
            # The creation was complete; only its report to the user was missing.
            assert (here / "owner.json").is_file()
            assert not (here / "owner.json.unfinished").exists()
        site.back_up(source)
        assert site.restore("latest", here / "out").problems == ()
        assert describe(here / "out/files") == describe(source)

    kill_everywhere(
        roots=again,
        act=create,
        check=check,
        phase=phase,
        names_survive=names_survive,
    )


def _die_during_each(folder: Path) -> None:
    def act() -> None:
        (folder / "made").mkdir()
        with (folder / "file").open("wb", buffering=0) as file:
            file.write(b"whole")

    assert [one.call for one in DiskTrace([folder], act).operations] == ["mkdir", "openat", "write"]
    for number, dies in ((1, False), (2, False), (3, True)):
        (folder / "made").rmdir()
        (folder / "file").unlink()
        assert DiskTrace([folder], act, Death(number, Phase.DURING)).died == dies
    assert (folder / "file").read_bytes() == b"wh"


def test_simulated_death_leaves_half_a_write(
    folder: Path,
) -> None:
    in_tracing_process(_die_during_each, folder)


def test_the_trace_has_every_kind_of_operation(folder: Path) -> None:
    in_tracing_process(_trace_backup, folder)


@pytest.mark.parametrize("phase", Phase)
def test_kill_at_any_operation_loses_no_point(phase: Phase, folder: Path) -> None:
    in_tracing_process(_kill_backups, folder, phase, None)


@pytest.mark.parametrize("names_survive", [False, True], ids=["nothing else", "names survive"])
def test_power_cut_at_any_operation_loses_no_point(names_survive: bool, folder: Path) -> None:
    in_tracing_process(_kill_backups, folder, Phase.AFTER, names_survive)


@pytest.mark.parametrize("phase", Phase)
def test_a_creation_that_was_killed_anywhere_is_completed(phase: Phase, folder: Path) -> None:
    in_tracing_process(_kill_creations, folder, phase, None)


@pytest.mark.parametrize("names_survive", [False, True], ids=["nothing else", "names survive"])
def test_creation_after_power_cut_is_completed(names_survive: bool, folder: Path) -> None:
    in_tracing_process(_kill_creations, folder, Phase.AFTER, names_survive)
