"""Small files, opened before they are read and fetched in parallel."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backup.sources import ReadFile
from backup.sources.files.files_source import FilesSource
from backup.sources.files.open_prefetch import FILES_AHEAD
from tests.backup.site import Site
from tests.backup.trees import KIB, describe, noise

COUNT = 3 * FILES_AHEAD


class ReadHere(FilesSource):
    supports_worker_reader = False


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a folder of small files, a large file, and a folder with more."""
    top = tmp_path / "tree"
    inner = top / f"{COUNT // 2:04}-inner"
    inner.mkdir(parents=True)
    for folder in (top, inner):
        for number in range(COUNT):
            (folder / f"{number:04}").write_bytes(noise(KIB, number))
    (top / "0010").write_bytes(noise(300 * KIB, 1))
    return top


@contextmanager
def reading(tree: Path, scratch: Path, site: Site) -> Iterator[Iterator[Any]]:
    """Yield the items of a walk that reads small files."""
    with FilesSource("files", tree).opened(scratch, site.clock) as source:
        yield source.scan_with_content()


def come_to(items: Iterator[Any], name: str) -> None:
    for item in items:
        if isinstance(item, ReadFile) and item.path == name.encode():
            return
    raise AssertionError(f"{name} was not read")


def open_files() -> list[int]:
    return [int(path.name) for path in Path("/proc/self/fd").iterdir()]


def open_below(tree: Path) -> int:
    """Count the open files of a tree, without those of other threads."""
    count = 0
    for descriptor in open_files():
        with suppress(FileNotFoundError):
            count += Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(tree)
    return count


def told(monkeypatch: pytest.MonkeyPatch, *, is_disk_read_from: bool) -> list[int]:
    """Return the inodes announced to the system, by kind of disk."""
    blocks = iter(range(1_000_000))
    monkeypatch.setattr(
        resource,
        "getrusage",
        lambda who: SimpleNamespace(ru_inblock=next(blocks) if is_disk_read_from else 8),
    )
    inodes: list[int] = []
    original = os.posix_fadvise

    def fadvise(descriptor: int, start: int, count: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        inodes.append(os.fstat(descriptor).st_ino)
        original(descriptor, start, count, advice)

    monkeypatch.setattr(os, "posix_fadvise", fadvise)
    return inodes


def test_disk_reads_advise_each_file_once(
    site: Site, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inodes = told(monkeypatch, is_disk_read_from=True)
    with reading(tree, tmp_path, site) as items:
        read = [item.path for item in items if isinstance(item, ReadFile)]
    assert len(read) == 2 * COUNT - 1, "all but the large one"
    files = {path.stat().st_ino for path in tree.rglob("*") if path.is_file()}
    assert len(inodes) == len(set(inodes))
    # The first files are opened before the archiver knows that the thread waits for a disk.
    assert len(files - set(inodes)) <= FILES_AHEAD


def test_cached_files_are_not_advised(
    site: Site, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inodes = told(monkeypatch, is_disk_read_from=False)
    with reading(tree, tmp_path, site) as items:
        read = {item.path.decode(): item.data for item in items if isinstance(item, ReadFile)}
    assert len(inodes) <= FILES_AHEAD, "the thread had read from a disk before"
    for path, data in read.items():
        assert data == (tree / path).read_bytes()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.parametrize("source", [ReadHere, FilesSource])
def test_unknown_file_system_is_backed_up(
    site: Site,
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    forks: list[int],
    source: type[FilesSource],
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    with monkeypatch.context() as patch:
        told(patch, is_disk_read_from=True)
        patch.setattr(os, "posix_fadvise", refuse)
        result = site.back_up(source("files", tree))
    assert len(forks) == (source is FilesSource)
    assert (result.complete, result.files) == (True, 2 * COUNT)
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(tree)


def test_files_replaced_while_open_keep_their_content(
    site: Site, tree: Path, tmp_path: Path
) -> None:
    before = {name: (tree / name).read_bytes() for name in ("0001", "0002")}
    with reading(tree, tmp_path, site) as items:
        come_to(items, "0000")
        (tree / "0001").unlink()
        (tree / "new").write_bytes(b"another content")
        (tree / "new").replace(tree / "0002")
        read = {item.path.decode(): item.data for item in items if isinstance(item, ReadFile)}
    assert {name: read[name] for name in before} == before


def test_abandoned_walk_leaves_nothing_open(site: Site, tree: Path, tmp_path: Path) -> None:
    with reading(tree, tmp_path, site) as items:
        come_to(items, "0003")
        assert open_below(tree) > FILES_AHEAD // 2
    assert open_below(tree) == 0


def test_file_that_became_a_folder_is_walked(site: Site, tree: Path, tmp_path: Path) -> None:
    became = f"{FILES_AHEAD + 20:04}"  # a file that is not open yet
    with reading(tree, tmp_path, site) as items:
        come_to(items, "0000")
        (tree / became).unlink()
        (tree / became).mkdir()
        (tree / became / "in it").write_bytes(b"a file")
        read = {item.path.decode(): item.data for item in items if isinstance(item, ReadFile)}
    assert read[f"{became}/in it"] == b"a file"
    for path, data in read.items():
        assert data == (tree / path).read_bytes()
    assert len(read) == 2 * COUNT - 2, "all but the first, which was read before, and the large one"


def test_low_file_limit_loses_no_file(site: Site, tree: Path, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = max(open_files()) + FILES_AHEAD // 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        result = site.back_up(tree)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert (result.complete, result.files) == (True, 2 * COUNT)
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(tree)
