"""A first backup with a worker reader stores what one process stores."""

import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from backup.archiver import worker_ipc
from backup.checker.verification import verify
from backup.errors import BackupError
from backup.records import Unread
from backup.sources import Found, OpenSource, ReadFile
from backup.sources.files.files_source import FilesSource
from backup.sources.sqlite import SqliteSource
from tests.backup.site import Site
from tests.backup.trees import KIB, describe, noise, plain_tree


class ReadHere(FilesSource):
    supports_worker_reader = False


class Meddled(FilesSource):
    """Files that change during the walk, when it finds their paths."""

    def __init__(self, name: str, path: Path, meddle: Callable[[bytes], list[Unread]]) -> None:
        super().__init__(name, path)
        self._meddle = meddle

    @contextmanager
    def _open(self, scratch: Path, now: Any) -> Iterator[OpenSource]:
        with super()._open(scratch, now) as opened:
            original = opened._scan_with_content

            def scan() -> Iterator[Found | Unread | ReadFile]:
                for item in original():
                    if isinstance(item, Found | ReadFile):
                        yield from self._meddle(item.path)
                    yield item

            opened._scan_with_content = scan  # replaced where a test needs it
            yield opened


# Since version 3.12 Python warns of a fork with threads; the process that is forked here only
# reads.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded"),
    pytest.mark.usefixtures("forks"),
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make files of every kind, and more small ones than there are slots."""
    top = plain_tree(tmp_path / "tree")
    for number in range(900):
        folder = top / f"many-{number // 100}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:04}").write_bytes(noise(9 * KIB, number))
    (top / "many-3" / "large").write_bytes(noise(300 * KIB, 1))
    os.link(top / "many-3" / "0301", top / "many-3" / "second-name")
    os.setxattr(top / "many-3" / "0302", "user.who", b"agent")
    os.setxattr(top / "many-3" / "large", "user.who", b"caller")
    os.setxattr(top / "many-3", "user.what", b"calls")
    os.mkfifo(top / "many-3" / "pipe")
    (top / "many-3" / os.fsdecode(b"odd-\xff")).write_text("odd")
    return top


def check(site: Site, tree: Path, out: Path) -> None:
    assert site.restore("latest", out).problems == ()
    assert describe(out / "files") == describe(tree)
    assert verify(site.vault, keys=site.keys, identity=site.identity, read=True).is_sound


def test_first_backup_uses_one_reader_process(
    site: Site, tree: Path, tmp_path: Path, forks: list[int]
) -> None:
    result = site.back_up(tree)
    assert len(forks) == 1
    with pytest.raises(ChildProcessError):
        os.waitpid(forks[0], 0)  # the process has been reaped
    assert result.complete
    assert result.files == result.files_new
    check(site, tree, tmp_path / "out")

    again = site.back_up(tree)
    assert len(forks) == 1, "little is read on other days"
    assert again.files_unchanged == again.files == result.files
    assert (again.bytes_total, again.directories) == (result.bytes_total, result.directories)


@pytest.mark.parametrize("has_thread", [False, True])
def test_reading_in_this_process_is_equal(
    site: Site, tree: Path, tmp_path: Path, forks: list[int], has_thread: bool
) -> None:
    ends = threading.Event()
    thread = threading.Thread(target=ends.wait)
    if has_thread:
        thread.start()
    try:
        source = (FilesSource if has_thread else ReadHere)("files", tree)
        here = site.back_up(source)
    finally:
        ends.set()
    if has_thread:
        thread.join()
    assert forks == []
    check(site, tree, tmp_path / "out")
    packs = {stat.name for stat in site.vault.list("w/desk-1/p/")}
    apart = site.back_up(FilesSource("files", tree), set_name="apart")
    assert len(forks) == 1
    counted = ("files", "directories", "bytes_read", "bytes_total", "files_new", "unread")
    assert [getattr(here, name) for name in counted] == [getattr(apart, name) for name in counted]
    assert apart.bytes_changed == 0, "all of it was stored before, by either reader"
    assert {stat.name for stat in site.vault.list("w/desk-1/p/")} == packs, "its pages, too"


def test_failing_source_does_not_harm_others(site: Site, tmp_path: Path, forks: list[int]) -> None:
    tree = plain_tree(tmp_path / "tree")
    database = tmp_path / "calls.db"
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute("CREATE TABLE call (agent TEXT)")

    def break_at_a_wave(path: bytes) -> list[Unread]:
        if path.endswith(b".wav"):
            raise OSError(5, "Input/output error")
        return []

    result = site.back_up(
        FilesSource("a", tree),
        SqliteSource("b", database),
        Meddled("c", tree, break_at_a_wave),
        FilesSource("d", tree),
    )
    assert len(forks) == 1
    assert [item.path for item in result.unread] == ["c"]
    assert "Input/output error" in result.unread[0].reason
    site.restore("latest", tmp_path / "out")
    assert describe(tmp_path / "out" / "a") == describe(tmp_path / "out" / "d") == describe(tree)
    assert (tmp_path / "out" / "b").exists()
    before = describe(tmp_path / "out" / "c")
    assert b"calls" in before, "what came before it broke is in the point"
    assert before.items() <= describe(tree).items()


def test_file_unreadable_in_worker_is_named(
    site: Site, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forks: list[int]
) -> None:
    # Root can read every file, so the test raises the error that the kernel would raise.
    original = os.open

    def refusing(path: Any, *rest: Any, **more: Any) -> int:
        if path in (b"0302", b"large", b"calls"):
            raise PermissionError(13, "Permission denied")
        return original(path, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refusing)
        result = site.back_up(tree)
    assert len(forks) == 1
    why = "cannot be read: Permission denied"
    assert {item.path: item.reason for item in result.unread} == {
        "files/calls": why,
        "files/many-3/0302": why,
        "files/many-3/large": why,
    }
    check_after = site.back_up(tree)
    assert check_after.complete
    check(site, tree, tmp_path / "out")


def test_file_changed_while_read_is_read_again(
    site: Site, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.read
    changing = tree / "many-3" / "0305"
    inode = changing.stat().st_ino

    def read(descriptor: int, count: int) -> bytes:
        data = original(descriptor, count)
        if os.fstat(descriptor).st_ino == inode:
            changing.write_bytes(b"another content")
        return data

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", read)
        result = site.back_up(tree)
    assert result.complete
    check(site, tree, tmp_path / "out")


def test_large_file_replaced_when_found_is_reported(
    site: Site, tree: Path, tmp_path: Path, forks: list[int]
) -> None:
    large = tree / "many-3" / "large"

    def replace(path: bytes) -> list[Unread]:
        if path == b"many-3/large":
            (tmp_path / "new").write_bytes(noise(300 * KIB, 2))
            (tmp_path / "new").replace(large)
        return []

    result = site.back_up(Meddled("files", tree, replace))
    assert len(forks) == 1
    assert {item.path: item.reason for item in result.unread} == {
        "files/many-3/large": "was replaced by another file before it was read"
    }
    site.restore("latest", tmp_path / "out")
    assert (tmp_path / "out/files/many-3/large").read_bytes() == large.read_bytes()


def test_large_files_from_worker_are_closed(site: Site, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(30):
        (tree / f"{number:04}").write_bytes(noise(300 * KIB, number))
    assert site.back_up(tree).complete
    with os.scandir("/proc/self/fd") as opened:
        links = [Path(entry.path) for entry in opened]
    named = [str(link.readlink()) for link in links if link.is_symlink()]
    assert [name for name in named if name.startswith(str(tree))] == []


def test_killed_worker_ends_run_and_next_completes(site: Site, tree: Path, tmp_path: Path) -> None:
    here = os.getpid()

    def die(path: bytes) -> list[Unread]:
        if path == b"many-5/0555" and os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return []

    with pytest.raises(BackupError, match="was killed"):
        site.back_up(Meddled("files", tree, die))
    assert site.back_up(tree).complete
    check(site, tree, tmp_path / "out")


def test_hundred_sockets_do_not_fail_a_first_backup(
    site: Site, tree: Path, forks: list[int]
) -> None:
    # Made and removed level by level, because the kernel accepts no path of this length.
    name = "d" * 250
    folders = [os.open(tree, os.O_RDONLY)]
    here = os.open(".", os.O_RDONLY)
    try:
        for _ in range(120):
            os.mkdir(name, dir_fd=folders[-1])
            folders.append(os.open(name, os.O_RDONLY, dir_fd=folders[-1]))
        os.fchdir(folders[-1])
        for number in range(101):
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(f"s{number}")
        result = site.back_up(tree)
    finally:
        for number in range(101):
            os.unlink(f"s{number}", dir_fd=folders[-1])
        os.fchdir(here)
        os.close(here)
        for folder in reversed(folders):
            if folder != folders[-1]:
                os.rmdir(name, dir_fd=folder)
        for folder in folders:
            os.close(folder)
    assert len(forks) == 1
    assert result.complete
    assert (len(result.left_out), result.left_out_total) == (100, 101)
    assert {len(item.path) for item in result.left_out} > {len("files/") + 120 * 251 + 2}


def test_value_too_large_for_the_pipe_is_named(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "long").touch()
    os.setxattr(tree / "long", "user.long", b"x" * 3000)
    monkeypatch.setattr(worker_ipc, "SLOT_BYTES", 2 * KIB)
    monkeypatch.setattr(worker_ipc, "BATCH_BYTES", 1)
    with pytest.raises(BackupError, match=r"^files/long: it takes"):
        site.back_up(tree)


def test_worker_has_no_open_file_of_parent(site: Site, tree: Path) -> None:
    def tell(path: bytes) -> list[Unread]:
        if path:
            return []
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return [Unread(path=str(link.readlink()), reason="is open") for link in links]

    result = site.back_up(Meddled("files", tree, tell))
    assert str(tree) in {item.path for item in result.unread}
    assert not [item.path for item in result.unread if str(site.folder) in item.path]
