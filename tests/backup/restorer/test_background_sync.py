"""Background sync after a restore, and its mark in the folder."""

import ctypes
import fcntl
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from backup.errors import Busy, NotWritable
from backup.restorer import restore_run
from backup.stores.directory import DirectoryStore
from tests.backup.restorer.test_restore_kill import drop_unsynced
from tests.backup.site import Site, new_site
from tests.backup.trees import describe, strange_tree

JOURNAL = ".standfast-restore"
_DEADLINE_SECONDS = 60


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return strange_tree(tmp_path / "source")


@pytest.fixture
def stored(tmp_path: Path, source: Path) -> Site:
    site = new_site(tmp_path / "site", DirectoryStore(tmp_path / "vault"))
    site.back_up(source)
    return site


def until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, what
        os.sched_yield()


@dataclass(frozen=True, kw_only=True)
class SlowDisk:
    """A disk that accepts no write until the test permits it."""

    gate: Path
    waiting: Path  # names the file with the id of the process that waits for the disk

    def sync(self, _: int) -> None:
        draft = self.waiting.with_suffix(".draft")
        draft.write_text(str(os.getpid()))
        draft.rename(self.waiting)
        if "no" in self.gate.read_text():
            raise NotWritable("the disk did not take everything")

    def answer(self, text: str) -> None:
        self.gate.write_text(text)

    def process(self) -> int:
        until(self.waiting.exists, "nobody waits for the disk")
        return int(self.waiting.read_text())


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    disk = SlowDisk(gate=tmp_path / "gate", waiting=tmp_path / "waiting.pid")
    os.mkfifo(disk.gate)
    monkeypatch.setattr(restore_run, "sync_file_system", disk.sync)
    yield disk
    if disk.waiting.exists():
        with suppress(ProcessLookupError):
            os.kill(disk.process(), signal.SIGKILL)


def restored_and_gone(site: Site, out: Path) -> None:
    """Restore in a process that ends; read its output to the end."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            result = site.restore("latest", out, workers=2, syncs=False)
            os.write(theirs, f"{result.problems == ()} {result.is_on_disk}".encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours, "rb") as said:
        assert said.read() == b"True False"
    os.waitpid(pid, 0)


def is_gone(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def test_the_journal_stays_until_the_disk_has_everything(
    stored: Site, source: Path, tmp_path: Path, disk: SlowDisk
) -> None:
    out = tmp_path / "out"
    restored_and_gone(stored, out)
    assert describe(out / "files") == describe(source)
    disk.process()
    assert (out / JOURNAL).exists()
    with pytest.raises(Busy):
        stored.restore("latest", out)
    disk.answer("yes")
    until(lambda: not (out / JOURNAL).exists(), "the journal is never removed")
    assert describe(out / "files") == describe(source)


def test_background_sync_blocks_neither_terminal_nor_unmount(
    stored: Site, tmp_path: Path, disk: SlowDisk
) -> None:
    restored_and_gone(stored, tmp_path / "out")
    process = disk.process()
    assert os.getsid(process) != os.getsid(0)
    assert Path(f"/proc/{process}/cwd").readlink() == Path("/")


def test_restore_resumes_after_power_cut_before_sync(
    stored: Site, source: Path, tmp_path: Path, disk: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    restored_and_gone(stored, out)
    process = disk.process()
    os.kill(process, signal.SIGKILL)
    until(lambda: is_gone(process), "it outlives SIGKILL")
    drop_unsynced(out)
    monkeypatch.undo()
    result = stored.restore("latest", out)
    assert (result.problems, result.is_resumed, result.is_on_disk) == ((), True, True)
    assert describe(out / "files") == describe(source)
    assert not (out / JOURNAL).exists()


def test_repeated_restore_in_emptied_folder_keeps_its_journal(
    stored: Site, source: Path, tmp_path: Path, disk: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    restored_and_gone(stored, out)
    process = disk.process()
    shutil.rmtree(out / "files")
    (out / JOURNAL).unlink()

    def fail(_: int) -> None:
        raise NotWritable("the disk did not take everything")

    monkeypatch.setattr(restore_run, "sync_file_system", fail)
    with pytest.raises(NotWritable):
        stored.restore("latest", out)
    disk.answer("yes")
    until(lambda: is_gone(process), "it never ends")
    assert (out / JOURNAL).exists(), "the folder may not be whole"
    monkeypatch.undo()
    assert stored.restore("latest", out).is_resumed
    assert describe(out / "files") == describe(source)


def test_journal_removed_before_its_lock_is_created_again(
    stored: Site, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    original = fcntl.flock
    removed = False

    def flock(descriptor: int, operation: int) -> None:
        nonlocal removed
        if not removed:  # act as the process of an earlier restore would
            (out / JOURNAL).unlink()
            removed = True
        original(descriptor, operation)

    def sync(_: int) -> None:
        assert (out / JOURNAL).exists(), "the folder says that it may not be whole"

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(restore_run, "sync_file_system", sync)
    assert stored.restore("latest", out).problems == ()
    assert removed
    assert not (out / JOURNAL).exists()
    assert describe(out / "files") == describe(source)


def test_a_disk_that_fails_leaves_the_journal(stored: Site, tmp_path: Path, disk: SlowDisk) -> None:
    out = tmp_path / "out"
    restored_and_gone(stored, out)
    process = disk.process()
    disk.answer("no")
    until(lambda: is_gone(process), "it never ends")
    assert (out / JOURNAL).exists()


def test_failed_sync_is_reported_and_keeps_the_journal(
    stored: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = SimpleNamespace(syncfs=lambda _: -1)
    with monkeypatch.context() as patch:
        patch.setattr(ctypes, "CDLL", lambda *_, **__: failing)
        with pytest.raises(NotWritable):
            stored.restore("latest", tmp_path / "out", syncs=True)
    assert (tmp_path / "out" / JOURNAL).exists()
    assert stored.restore("latest", tmp_path / "out", syncs=True).is_resumed


def test_process_with_threads_waits_for_the_disk(
    stored: Site, source: Path, tmp_path: Path
) -> None:
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    try:
        result = stored.restore("latest", tmp_path / "out", syncs=False)
    finally:
        end.set()
        other.join()
    assert (result.problems, result.is_on_disk) == ((), True)
    assert not (tmp_path / "out" / JOURNAL).exists()
    assert describe(tmp_path / "out/files") == describe(source)
