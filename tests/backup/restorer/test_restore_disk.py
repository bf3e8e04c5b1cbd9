"""Restore, killed at every system call that changes the disk.

The trace has every call, so no change of the disk is missed. The restore sets owners where that is
permitted. `test_restore_workers.py` does the same with several workers.
"""

import os
import shutil
from pathlib import Path

import pytest

from backup.stores.directory import DirectoryStore
from tests.backup.disk_trace import (
    DiskTrace,
    Phase,
    in_tracing_process,
    kill_everywhere,
)
from tests.backup.ptrace import WHERE_TRACED, forked
from tests.backup.site import Site
from tests.backup.trees import KIB, describe, noise

pytestmark = WHERE_TRACED
JOURNAL = ".standfast-restore"


class Restoring:
    """A small tree of every kind, stored; restored into `out`."""

    def __init__(self, folder: Path) -> None:
        self._out = folder / "place/out"
        self._source = folder / "source"
        self.fill()
        self._site = Site(
            folder=folder / "site",
            vault=DirectoryStore(folder / "site/vault"),
            keys=DirectoryStore(folder / "site/keys"),
        )
        assert forked(self._store) == 0

    def fill(self) -> None:
        self._owner = os.geteuid() == 0
        (self._source / "calls").mkdir(parents=True)
        (self._source / "note.txt").write_text("who called, and why")
        (self._source / "calls/one.wav").write_bytes(noise(600 * KIB, 1))
        os.link(self._source / "note.txt", self._source / "calls/same-note")
        (self._source / "link").symlink_to("note.txt")
        os.mkfifo(self._source / "fifo")
        with (self._source / "sparse").open("wb") as file:
            file.truncate(300 * KIB)
            file.seek(100 * KIB)
            file.write(b"in the middle")
        os.setxattr(self._source / "calls/one.wav", "user.case", b"42")
        if self._owner:
            os.chown(self._source / "note.txt", 1234, 1234)
        (self._source / "note.txt").chmod(0o400)
        (self._source / "calls").chmod(0o555)

    def _store(self) -> None:
        self._site.create()
        assert self._site.back_up(self._source).complete

    def again(self) -> list[Path]:
        for path in self._out.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(self._out.parent, ignore_errors=True)
        self._out.parent.mkdir()
        return [self._out.parent]

    def act(self) -> None:
        result = self._site.restore("latest", self._out, workers=1, owner=self._owner)
        assert result.problems == ()

    def check(self) -> None:
        is_there = self._out.exists() and any(self._out.iterdir())
        if not is_there or (self._out / JOURNAL).exists():
            self.act()
        assert describe(self._out / "files") == describe(self._source)
        if self._owner:
            assert (self._out / "files/note.txt").stat().st_uid == 1234
        assert not (self._out / JOURNAL).exists()


def _trace(folder: Path) -> None:
    restoring = Restoring(folder)
    done = {one.call for one in DiskTrace(restoring.again(), restoring.act).operations}
    assert {"openat", "write", "fsync", "syncfs", "linkat", "unlinkat", "mkdirat"} <= done, done
    assert {"symlinkat", "mknodat", "fsetxattr", "utimensat", "fchmod"} <= done, done


def _kill(folder: Path, phase: Phase, names_survive: bool | None) -> None:
    restoring = Restoring(folder)
    kill_everywhere(
        roots=restoring.again,
        act=restoring.act,
        check=restoring.check,
        phase=phase,
        names_survive=names_survive,
    )


def test_the_trace_has_every_kind_of_operation(folder: Path) -> None:
    in_tracing_process(_trace, folder)


@pytest.mark.parametrize("phase", Phase)
def test_restore_killed_at_any_operation_resumes(phase: Phase, folder: Path) -> None:
    in_tracing_process(_kill, folder, phase, None)


@pytest.mark.parametrize("names_survive", [True, False])
def test_restore_resumes_after_a_power_cut(names_survive: bool, folder: Path) -> None:
    in_tracing_process(_kill, folder, Phase.AFTER, names_survive)
