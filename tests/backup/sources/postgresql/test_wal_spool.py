"""The folder of archived log: files stay until a point has them whole."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from backup.records import Unread
from backup.sources import Content, Found, OpenSource, Source
from backup.sources.postgresql.wal_spool import WalSpool
from tests.backup.site import Site
from tests.backup.trees import KIB

FIRST, SECOND, LATER = ("0" * 23 + digit for digit in "129")


class _Spooled(Source):
    """A source with only the folder of the archived log."""

    kind = "spooled"

    def __init__(self, folder: Path) -> None:
        super().__init__("log")
        self.spool = WalSpool(folder)

    @contextmanager
    def _open(self, scratch: Path, now: Callable[[], datetime]) -> Iterator[OpenSource]:
        yield _OpenSpooled(self.name, now(), self.spool)


class _OpenSpooled(OpenSource):
    def __init__(self, name: str, consistent_at: datetime, spool: WalSpool) -> None:
        super().__init__(name, consistent_at)
        self._spool = spool

    def _scan(self) -> Iterator[Found | Unread]:
        yield from self._spool.scan(self.name, b"")

    def read(self, found: Found) -> AbstractContextManager[Content]:
        return self._spool.read(found)

    def xattrs(self, found: Found) -> tuple[tuple[bytes, bytes], ...]:
        return ()

    def chunk_bytes(self, found: Found) -> int:
        return 64 * 1024


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "wal"
    made.mkdir()
    for name in (FIRST, SECOND):
        (made / name).write_bytes(name.encode() * 1000)
    return made


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_committed_segments_are_pruned_read_or_known(site: Site, folder: Path) -> None:
    source = _Spooled(folder)
    site.back_up(source)
    assert site.back_up(source).files_unchanged == 2
    source.spool.prune(SECOND)
    assert names(folder) == [SECOND]


def test_unreadable_segment_is_not_pruned(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _Spooled(folder)
    opened = os.open

    def refusing(path: Path | str, *how: int, **more: int) -> int:
        if str(path).endswith(FIRST):
            raise PermissionError(13, "Permission denied")
        return opened(path, *how, **more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refusing)
        result = site.back_up(source)
    assert [item.path for item in result.unread] == [f"log/{FIRST}"]
    source.spool.prune(LATER)
    assert names(folder) == [FIRST]


def test_segment_extended_after_reading_is_not_pruned(site: Site, folder: Path) -> None:
    source = _Spooled(folder)
    site.back_up(source)
    with (folder / FIRST).open("ab") as file:
        file.write(b"a copy that had stopped for a while")
    source.spool.prune(LATER)
    assert names(folder) == [FIRST]


def test_segment_in_progress_is_not_pruned(site: Site, folder: Path) -> None:
    (folder / FIRST).rename(folder / f"{FIRST}.partial")
    source = _Spooled(folder)
    assert site.back_up(source).files == 2
    source.spool.prune(LATER)
    assert names(folder) == [f"{FIRST}.partial"]


def made_of(folder: Path, *names: str, size: int = 16 * 1024 * KIB) -> Path:
    """Make a folder of segments that consist of holes."""
    folder.mkdir()
    for name in names:
        with (folder / name).open("wb") as file:
            file.truncate(size)
    return folder


LOG_2 = "0000000200000001"


@pytest.mark.parametrize(
    ("there", "size", "lacking"),
    [
        ([f"{LOG_2}000000FE", f"{LOG_2}000000FF", "000000020000000200000000"], 16384, []),
        ([f"{LOG_2}000000FE", "000000020000000200000000"], 16384, [f"{LOG_2}000000FF"]),
        ([f"{LOG_2}000000FF", "000000020000000200000001"], 16384, ["000000020000000200000000"]),
        ([f"{LOG_2}00000003", "000000020000000200000000"], 1024 * 1024, []),
        ([f"{LOG_2}00000001", f"{LOG_2}00000003", f"{LOG_2}00000009"], 16384,
         [f"{LOG_2}00000002", f"{LOG_2}00000004"]),
        # A new time line continues at the end of the old one.
        ([f"{LOG_2}00000001", "000000030000000100000001", "00000003.history"], 16384, []),
        # A standby took over from a server that had not archived all of its log, which ends
        # there.
        ([f"{LOG_2}00000001", "000000030000000100000005", "00000003.history"], 16384,
         [f"{LOG_2}00000002"]),
        # A server was restored to a moment within segment 3, and its log continued to segment 5.
        ([*(f"{LOG_2}0000000{n}" for n in range(1, 6)), "000000030000000100000003",
          "000000030000000100000004"], 16384, []),
        # Of the old time line, only the segments that the next base prunes are removed.
        ([f"{LOG_2}00000005", "000000030000000100000004", "000000030000000100000005"], 16384, []),
        ([f"{LOG_2}000000FF", "000000030000000200000000", "000000040000000200000002"], 16384,
         ["000000030000000200000001"]),
        # A partial segment and the label of a base are not segments.
        ([f"{LOG_2}00000001", f"{LOG_2}00000001.00000028.backup", f"{LOG_2}00000009.partial"],
         16384, []),
    ],
)  # fmt: skip
def test_missing_segment_makes_the_point_partial(
    site: Site, tmp_path: Path, there: list[str], size: int, lacking: list[str]
) -> None:
    folder = made_of(tmp_path / "spool", *there, size=size * KIB)
    result = site.back_up(_Spooled(folder))
    assert [item.path for item in result.unread] == [f"log/{name}" for name in lacking]
    assert result.complete is not bool(lacking)
    assert all("cannot be replayed" in item.reason for item in result.unread)
    assert site.restore(result.point, tmp_path / "out").problems == ()
    assert names(tmp_path / "out" / "log") == sorted(there)


def test_incomplete_newest_segment_is_no_gap(site: Site, tmp_path: Path) -> None:
    first = [f"{LOG_2}000000FE", f"{LOG_2}000000FF", "000000020000000200000000"]
    folder = made_of(tmp_path / "spool", *first, size=16384 * KIB)
    (folder / "000000020000000200000001").write_bytes(bytes(5 * 1024 * KIB))
    assert site.back_up(_Spooled(folder)).unread == ()


def test_segment_pruned_during_reading_is_no_gap(site: Site, tmp_path: Path) -> None:
    segments = [f"{LOG_2}0000000{number}" for number in range(1, 7)]
    folder = made_of(tmp_path / "spool", *segments)
    found = WalSpool(folder).scan("log", b"")
    given = [next(found) for _ in range(3)]  # the folder, and two segments
    for name in segments[:4]:
        (folder / name).unlink()
    given += found
    assert [item.path for item in given] == [
        b"", *(name.encode() for name in (*segments[:2], *segments[4:]))
    ]  # fmt: skip
