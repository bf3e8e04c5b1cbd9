"""Folders without a size, or with a name that is listed twice."""

import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISDIR
from typing import Any

import pytest

from backup.sources.files import folder_listing
from tests.backup.site import Site
from tests.backup.trees import describe


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Make a source in which a page ends, as the next run expects."""
    folder = tmp_path / "source"
    (folder / "aat-0200 calls").mkdir(parents=True)
    for number in range(600):
        (folder / f"aat-{number:04}").write_text(f"who called as number {number}, and why\n")
    for number in range(5):
        (folder / "aat-0200 calls" / f"call {number}").write_text(f"inside {number}")
    return folder


def test_folder_of_unknown_size_is_read_again(
    site: Site, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FUSE mounts and small NTFS folders have no size."""
    real = os.stat
    hidden = ("st_atime", "st_mtime", "st_ctime", "st_atime_ns", "st_mtime_ns", "st_ctime_ns")

    def stat(path: Any, **how: Any) -> os.stat_result:
        found = real(path, **how)
        if "dir_fd" not in how or not S_ISDIR(found.st_mode):
            return found
        shown = list(found)
        shown[3], shown[6] = 1, 0  # the number of names, and the size
        return os.stat_result([*shown, *(getattr(found, name) for name in hidden)])

    monkeypatch.setattr(os, "stat", stat)
    first, second = site.back_up(source), site.back_up(source)
    assert (second.files, second.files_unchanged) == (first.files, first.files)
    site.restore("latest", tmp_path / "out")
    assert describe(tmp_path / "out/files") == describe(source)


class Twice:
    """A listing that repeats some names, as if they were created again."""

    def __init__(self, folder: int) -> None:
        self._listing = _REAL_SCAN(folder)

    def __enter__(self) -> Iterator[os.DirEntry[str]]:
        found = list(self._listing)
        return iter([*found[:20], *found[10:30], *found[20:], *found[:3]])

    def __exit__(self, *_error: object) -> None:
        self._listing.close()


_REAL_SCAN, _REAL_LIST = os.scandir, os.listdir


@pytest.mark.parametrize("many", [50, 10_000], ids=["sorted on the disk", "in memory"])
def test_name_listed_twice_is_returned_once(
    site: Site, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(folder_listing, "MANY_NAMES", many)
    monkeypatch.setattr(folder_listing, "INSERTED_NAMES", 40)
    monkeypatch.setattr(os, "scandir", Twice)
    monkeypatch.setattr(os, "listdir", lambda folder: [*_REAL_LIST(folder), *_REAL_LIST(folder)])
    for round_number in range(2):
        assert site.back_up(source).files == 605
        assert site.restore("latest", tmp_path / f"out-{round_number}").problems == ()
    monkeypatch.undo()
    for round_number in range(2):
        assert describe(tmp_path / f"out-{round_number}/files") == describe(source)
