"""Files with several names, found again at any number of names."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from backup.archiver import manifest_builder, manifest_rows
from backup.archiver.archiver_records import BlobLocation, Frame, PendingBlob, Ref, Row
from backup.archiver.manifest_rows import LinkedFiles
from backup.records import Progress
from tests.backup.site import Site
from tests.backup.trees import KIB, describe, noise

HIGHEST = 2**64 - 1  # the highest inode number of a file system


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[LinkedFiles]:
    monkeypatch.setattr(manifest_rows, "IN_MEMORY_ROWS", 10)
    with closing(LinkedFiles()) as files:
        yield files


def row(number: int, *blobs: Ref) -> Row:
    return Row(path=b"a/%d" % number, text=f"row {number}", size=9, vector=(1, 2), blobs=[*blobs])


def place(number: int) -> BlobLocation:
    return BlobLocation(number, 0, 10, 0, 9, f"{number:064x}", -1)


def test_each_of_many_linked_files_is_found(files: LinkedFiles) -> None:
    rows = {(7, HIGHEST - number): row(number, place(number)) for number in range(1000)}
    for number, one in enumerate(rows.values()):
        one.lists = (place(1000 + number),)
    for file, one in rows.items():
        assert files.find(file) is None
        files.add(file, one)
    for file, one in rows.items():
        found = files.find(file)
        assert found is not None
        assert (found.path, found.text, found.blobs) == (one.path, one.text, one.blobs)
        assert (found.size, found.vector, found.lists) == (one.size, one.vector, one.lists)
        assert isinstance(found.blobs[0], BlobLocation)
    assert len(files._rows) <= 30
    assert files.find((8, HIGHEST)) is None


def test_row_without_location_is_returned_until_located(files: LinkedFiles) -> None:
    blobs = [PendingBlob(Frame(), 0, 9, f"{n:064x}") for n in range(100)]
    rows = [row(number, blob) for number, blob in enumerate(blobs)]
    for number, one in enumerate(rows):
        files.add((7, number), one)
        assert files.find((7, number)) is one
    for number, blob in enumerate(blobs):
        blob.location = place(number)
    for number in range(100, 120):
        files.add((7, number), row(number, place(number)))
    assert len(files._rows) < 100
    found = files.find((7, 3))
    assert found is not None
    assert found.blobs == [place(3)]


def test_next_source_needs_no_more_memory(files: LinkedFiles) -> None:
    for number in range(500):  # no blob location is known yet
        blob = PendingBlob(Frame(), 0, 9, f"{number:064x}")
        files.add((7, number), row(number, blob))
    files.close()
    assert files.find((7, 3)) is None
    for number in range(100):
        files.add((7, number), row(number, place(number)))
    assert len(files._rows) <= 30
    assert all(files.find((7, number)) for number in range(100))


@pytest.mark.parametrize("few", [10, 10_000], ids=["put by", "in memory"])
def test_tree_of_many_hard_links_is_restored(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(manifest_rows, "IN_MEMORY_ROWS", few)
    # Several pages list names of a file while its pack is still being filled.
    monkeypatch.setattr(manifest_builder, "MAX_PAGE_ENTRIES", 10)
    source = tmp_path / "source"
    for folder in ("a", "b", "c"):
        (source / folder).mkdir(parents=True)
    for number in range(120):
        first = source / f"a/{number:03}"
        first.write_bytes(noise(200 * KIB, number))  # packs fill while the walk still finds names
        os.link(first, source / f"b/{number:03}")
        if number % 2:
            os.link(first, source / f"c/{number:03}")
    expected = describe(source)
    for round_number in range(2):
        result = site.back_up(source, interim_packs=1)
        assert (result.complete, result.files) == (True, 300)
        assert result.bytes_new < 1.2 * 120 * 200 * KIB
        out = tmp_path / f"out-{round_number}"
        assert site.restore("latest", out).problems == ()
        assert describe(out / "files") == expected
        names = [path for path in (out / "files").rglob("*") if path.is_file()]
        assert len({path.stat().st_ino for path in names}) == 120


def at_the_path(path: str, act: Callable[[], object]) -> Callable[[Progress], None]:
    """Run an act when a run reaches a path."""
    done: list[object] = []

    def progress(seen: Progress) -> None:
        if seen.path == path and not done:
            done.append(act())

    return progress


@pytest.fixture
def told_of_each_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup.archiver.walk.PROGRESS_INTERVAL", timedelta(0))
    # Otherwise a second process reads ahead of the reported path.
    monkeypatch.setattr("backup.archiver.worker_ipc.may_fork", lambda: False)


@pytest.mark.usefixtures("told_of_each_path")
@pytest.mark.parametrize("few", [0, 10_000], ids=["put by", "in memory"])
@pytest.mark.parametrize("size", [20, 400 * KIB])
@pytest.mark.parametrize("is_as_old", [False, True], ids=["younger", "as old, by what is said"])
def test_reused_inode_is_not_a_hard_link(
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    few: int,
    size: int,
    is_as_old: bool,
) -> None:
    monkeypatch.setattr(manifest_rows, "IN_MEMORY_ROWS", few)
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(noise(size, 1))
    for name in ("b", "y", "z"):
        os.link(source / "a", source / name)
    (source / "m").write_text("in between")
    before = (source / "a").stat()

    def make_anew() -> None:
        """Simulate deletion and creation of "a" to "z" with equal inodes."""
        (source / "a").write_bytes(noise(size, 2))
        if is_as_old:
            os.utime(source / "a", ns=(before.st_atime_ns, before.st_mtime_ns))

    result = site.back_up(source, progress=at_the_path("files/m", make_anew))
    assert result.complete
    assert site.restore(result.point, tmp_path / "out").problems == ()
    found = {path.name: path.read_bytes() for path in (tmp_path / "out" / "files").iterdir()}
    assert found["a"] == found["b"] == noise(size, 1)
    assert found["y"] == found["z"] == noise(size, 2)
    again = site.back_up(source)
    assert site.restore(again.point, tmp_path / "again").problems == ()
    assert describe(tmp_path / "again" / "files") == describe(source)


@pytest.mark.usefixtures("told_of_each_path")
def test_name_added_during_the_run_is_restored(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(noise(400 * KIB, 1))
    for name in ("w", "x", "y", "z"):
        os.link(source / "a", source / name)
    (source / "m").write_text("in between")
    link = at_the_path("files/m", lambda: os.link(source / "a", tmp_path / "elsewhere"))
    result = site.back_up(source, progress=link)
    assert result.complete
    assert result.bytes_read < 3 * 400 * KIB, "as it was, as it looks now, and no more"
    assert site.restore(result.point, tmp_path / "out").problems == ()
    assert describe(tmp_path / "out" / "files") == describe(source)
    assert (tmp_path / "out/files/a").samefile(tmp_path / "out/files/z")
