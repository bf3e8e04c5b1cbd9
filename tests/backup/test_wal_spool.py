"""The folder of archived log: what is not in the point whole stays in it."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from backup.records import Unread
from backup.sources import Content, Found, OpenSource, Source
from backup.sources.wal_spool import WalSpool
from tests.backup.site import Site

FIRST, SECOND, LATER = ("0" * 23 + digit for digit in "129")


class _Spooled(Source):
    """Nothing but the folder."""

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
        yield from self._spool.scan(b"")

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


def test_what_is_in_the_point_is_pruned_whether_it_was_read_or_known(
    site: Site, folder: Path
) -> None:
    source = _Spooled(folder)
    site.back_up(source)
    assert site.back_up(source).files_unchanged == 2
    source.spool.prune(SECOND)
    assert names(folder) == [SECOND]


def test_a_segment_that_cannot_be_opened_is_not_pruned(
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


def test_a_segment_that_was_added_to_after_it_was_read_is_not_pruned(
    site: Site, folder: Path
) -> None:
    source = _Spooled(folder)
    site.back_up(source)
    with (folder / FIRST).open("ab") as file:
        file.write(b"a copy that had stopped for a while")
    source.spool.prune(LATER)
    assert names(folder) == [FIRST]


def test_what_is_still_received_is_not_pruned(site: Site, folder: Path) -> None:
    (folder / FIRST).rename(folder / f"{FIRST}.partial")
    source = _Spooled(folder)
    assert site.back_up(source).files == 2
    source.spool.prune(LATER)
    assert names(folder) == [f"{FIRST}.partial"]
