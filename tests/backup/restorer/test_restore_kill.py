"""Restore, killed at any change of the disk, continues and completes.

Every call that changes the disk is recorded once. Then the restore is repeated in a new process for
each call, and killed before it, after it, and in the middle of a write. A second pass also drops
all data that were not synced, which is everything except the journal.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from backup.restorer import large_files, restore_run
from backup.restorer.restore_journal import Target
from backup.restorer.safe_paths import JOURNAL
from backup.stores.directory import DirectoryStore
from backup.system.process_fork import may_fork
from tests.backup.site import Site, new_site
from tests.backup.trees import KIB, describe, noise
from tests.sampling import sample

CALLS = (
    "mkdir", "write", "pwrite", "ftruncate", "fchmod", "chmod", "utime", "setxattr",
    "symlink", "mkfifo", "link", "unlink", "fsync",
)  # fmt: skip
ENDED, KILLED = 0, -signal.SIGKILL
LARGE = large_files.SPLIT_BYTES


@dataclass
class Tracer:
    """A tracer of the calls that change the disk; it dies at one of them."""

    dies_at: int
    phase: str
    log: Path
    labels: list[str] = field(default_factory=list)

    def install(self) -> None:
        for name in CALLS:
            self._wrap(os, name, name)
        self._wrap(os, "open", "create", lambda args: bool(args[1] & os.O_CREAT))
        self._wrap(restore_run, "sync_file_system", "syncfs")

    def _wrap(
        self, owner: Any, name: str, label: str, counts: Callable[[Any], bool] = lambda _: True
    ) -> None:
        real = getattr(owner, name)

        def traced(*args: Any, **more: Any) -> Any:
            if not counts(args):
                return real(*args, **more)
            self.labels.append(label)
            is_here = len(self.labels) == self.dies_at
            if is_here and self.phase == "during" and label in ("write", "pwrite"):
                # The file is opened again, because direct I/O may refuse to write half of the
                # bytes.
                again = os.open(f"/proc/self/fd/{args[0]}", os.O_WRONLY)
                whole = bytes(args[1])
                half = whole[: len(whole) // 2]
                real(again, half, *args[2:])
                self._die()
            if is_here and self.phase == "before":
                self._die()
            result = real(*args, **more)
            if is_here:
                self._die()
            return result

        setattr(owner, name, traced)

    def _die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def killed_restore(
    site: Site, out: Path, dies_at: int, phase: str, *, syncs: bool = True
) -> tuple[int, list[str]]:
    """Restore in a process; return how it ended, or its trace."""
    log = out.with_name("trace")
    log.unlink(missing_ok=True)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            tracer = Tracer(dies_at=dies_at, phase=phase, log=log)
            repository = site.repository()
            point = repository.resolve("latest")
            tracer.install()
            result = repository.restore(point, out, workers=1, syncs=syncs)
            labels = list(tracer.labels)
            status = 0 if result.problems == () else 2
            log.write_text("\n".join(labels))
        finally:
            os._exit(status)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return ended, log.read_text().split("\n") if log.exists() else []


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("kill") / "source"
    (top / "calls").mkdir(parents=True)
    (top / "note.txt").write_text("who called, and why")
    (top / "empty").write_bytes(b"")
    (top / "calls/one.wav").write_bytes(noise(3000 * KIB, 1))
    (top / "calls/parts.bin").write_bytes(noise(3000 * KIB, 2))  # a file of several chunks
    os.link(top / "note.txt", top / "calls/same-note")
    (top / "link").symlink_to("note.txt")
    os.mkfifo(top / "fifo")
    with (top / "sparse").open("wb") as file:
        file.truncate(2048 * KIB)
        file.seek(1024 * KIB)
        file.write(b"in the middle")
    os.setxattr(top / "note.txt", "user.case", b"42")
    (top / "note.txt").chmod(0o400)
    (top / "calls").chmod(0o555)
    return top


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Site:
    site = new_site(tmp_path_factory.mktemp("kill-site"))
    assert site.back_up(source).complete
    return site


def drop_unsynced(out: Path) -> None:
    """Simulate the worst power cut: names exist, their contents do not."""
    for path in sorted(out.rglob("*"), reverse=True):
        if path.is_file() and not path.is_symlink() and os.fsencode(path.name) != JOURNAL:
            path.chmod(0o600)
            os.truncate(path, 0)


def complete_here(target: Target, sync: Callable[[int], None]) -> None:
    """Run the work of the background process here, to trace it."""
    sync(target.root)
    target.complete()


def clear(out: Path) -> None:
    for path in out.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(out, ignore_errors=True)


@pytest.mark.parametrize(
    ("is_power_cut", "syncs"),
    [(False, True), (True, True), (True, False)],
    ids=["killed", "power cut", "power cut while the disk still writes"],
)
@pytest.mark.parametrize("phase", ["before", "during", "after"])
@pytest.mark.parametrize("split_bytes", [LARGE, 1000 * KIB], ids=["", "in pieces"])
def test_restore_killed_at_any_disk_change_resumes(
    stored: Site, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    phase: str, is_power_cut: bool, syncs: bool, split_bytes: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(large_files, "SPLIT_BYTES", split_bytes)
    monkeypatch.setattr(restore_run, "complete_in_background", complete_here)
    expected = describe(source)
    out = tmp_path / "out"
    ended, trace = killed_restore(stored, out, 0, phase, syncs=syncs)
    assert ended == ENDED
    assert describe(out / "files") == expected
    assert {"create", "write", "pwrite", "mkdir", "link", "fsync", "syncfs"} <= set(trace)
    killed: set[int] = set()
    points = sample(
        range(1, len(trace) + 1), f"restore {phase} {is_power_cut} {syncs} {split_bytes}"
    )
    for at in points:
        clear(out)
        ended, _ = killed_restore(stored, out, at, phase, syncs=syncs)
        if ended == KILLED:
            killed.add(at)
        is_synced = "syncfs" in trace[: at - (phase == "before")]
        if is_power_cut and not is_synced and out.exists():
            drop_unsynced(out)
        if (out / os.fsdecode(JOURNAL)).exists() or not out.exists() or not any(out.iterdir()):
            assert stored.restore("latest", out, workers=1).problems == ()
        else:
            assert is_synced, "the journal goes last"
        assert describe(out / "files") == expected, (at, trace[at - 1])
    assert killed == set(points), "the set of killed points equals the trace"
    clear(out)


def wait_for_group(group: int) -> None:
    """Wait for the last worker, which holds the journal's lock."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
    raise AssertionError("a worker outlived its restore")


def test_restore_resumes_after_kill_of_all_processes(tmp_path: Path, source: Path) -> None:
    many = tmp_path / "many"
    for number in range(40):
        (many / f"{number:02}").mkdir(parents=True)
        for name in range(30):
            (many / f"{number:02}/{name}").write_bytes(noise(3 * KIB, 100 * number + name))
    site = new_site(tmp_path / "site", DirectoryStore(tmp_path / "vault"))
    site.back_up(many)
    expected = describe(many)
    out = tmp_path / "out"
    for quota in (1, 300, 900):
        pid = os.fork()
        if not pid:
            os.setpgid(0, 0)
            written = out / "files"

            def report(_: object, written: Path = written, quota: int = quota) -> None:
                if sum(path.is_file() for path in written.rglob("*")) >= quota:
                    os.killpg(0, signal.SIGKILL)

            assert may_fork(), "so the workers are processes"
            repository = site.repository()
            repository.restore(repository.resolve("latest"), out, progress=report, workers=2)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) in (KILLED, ENDED)
        wait_for_group(pid)
        if not (out / os.fsdecode(JOURNAL)).exists():
            break
    if (out / os.fsdecode(JOURNAL)).exists():
        result = site.restore("latest", out, workers=2)
        assert (result.problems, result.is_resumed) == ((), True)
    assert describe(out / "files") == expected
