"""Reused manifest pages: work that they save, and changes within them."""

import os
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backup.archiver.archiver_records import ReusedPage, Row
from backup.archiver.upload_cache.stored_runs import StoredRuns
from backup.checker.verification import verify
from backup.errors import SourceFailed
from backup.records import BackupResult, Unread
from backup.sources import Content, Found, OpenSource, Source
from backup.sources.files.files_source import FilesSource
from backup.sources.synthetic_paths import synthetic_path
from tests.backup.site import Site
from tests.backup.trees import describe

# With these names a page ends after each of these numbers, and the last page is still open.
FILES = 1500
NAME = "aat-{:04}"
ENDS = (539, 765, 1285)


def _show_as_before(monkeypatch: pytest.MonkeyPatch, before: os.stat_result) -> None:
    """Report a file's earlier attributes after its change."""
    real_stat, real_fstat = os.stat, os.fstat

    def as_before(status: os.stat_result) -> os.stat_result:
        return before if status.st_ino == before.st_ino else status

    monkeypatch.setattr(os, "stat", lambda *a, **k: as_before(real_stat(*a, **k)))
    monkeypatch.setattr(os, "fstat", lambda *a, **k: as_before(real_fstat(*a, **k)))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(FILES):
        (folder / NAME.format(number)).write_text(f"who called as number {number}, and why\n")
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the ordinals of the pages with decoded rows."""
    ordinals: list[int] = []
    real: Callable[[StoredRuns, ReusedPage], Iterator[Row]] = StoredRuns.rows_of

    def rows_of(log: StoredRuns, page: ReusedPage) -> Iterator[Row]:
        ordinals.append(page.ordinal)
        return real(log, page)

    monkeypatch.setattr(StoredRuns, "rows_of", rows_of)
    return ordinals


def check(site: Site, result: BackupResult, source: Path, to: Path) -> None:
    """Assert that the point equals the source and verifies with all keys."""
    assert result.complete
    assert (result.files, result.directories) == (len(list(source.iterdir())), 1)
    assert result.bytes_total == sum(path.stat().st_size for path in source.iterdir())
    assert site.restore(result.point, to).problems == ()
    assert describe(to / "files") == describe(source)
    report = verify(site.vault, keys=site.keys, identity=site.identity, read=True)
    assert report.is_sound, report.findings


def test_unchanged_tree_decodes_only_the_last_page(
    site: Site, source: Path, tmp_path: Path, decoded: list[int]
) -> None:
    site.back_up(source)
    for number in range(2):
        again = site.back_up(source)
        assert (again.files_unchanged, again.files_new, again.files_changed) == (FILES, 0, 0)
        check(site, again, source, tmp_path / f"out-{number}")
    assert decoded == [len(ENDS)] * 2


def test_changes_within_reused_pages_are_in_the_point(
    site: Site, source: Path, tmp_path: Path, decoded: list[int]
) -> None:
    site.back_up(source)
    (source / NAME.format(0)).write_text("another caller\n")
    (source / NAME.format(1000)).unlink()
    (source / (NAME.format(1000) + "-b")).write_text("a new one\n")
    (source / NAME.format(FILES - 1)).chmod(0o600)
    changed = site.back_up(source)
    assert (changed.files_new, changed.files_changed) == (1, 1)
    check(site, changed, source, tmp_path / "changed")
    assert decoded
    decoded.clear()
    again = site.back_up(source)
    assert again.files_unchanged == FILES
    check(site, again, source, tmp_path / "again")
    assert len(decoded) == 1


def test_page_of_only_deleted_files_is_dropped(
    site: Site, source: Path, tmp_path: Path, decoded: list[int]
) -> None:
    site.back_up(source)
    for number in range(ENDS[0] + 1, ENDS[1] + 1):
        (source / NAME.format(number)).unlink()
    check(site, site.back_up(source), source, tmp_path / "out")
    assert decoded == [0, len(ENDS)]  # the first page contains the folder itself, which changed


def test_pages_without_outline_are_compared_by_row(
    site: Site, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pages with a row that must always be read have no outline.
    with monkeypatch.context() as patch:
        patch.setattr(
            "backup.archiver.manifest_builder.outline_to_bytes", lambda _rows, _packs: None
        )
        site.back_up(source)
    again = site.back_up(source)
    assert again.files_unchanged == FILES
    assert again.warnings == ()
    check(site, again, source, tmp_path / "out")


def test_pages_that_the_store_lost_are_sent_again(site: Site, source: Path, tmp_path: Path) -> None:
    site.back_up(source)
    with closing(sqlite3.connect(site.send_log)) as log, log:
        lost = log.execute("DELETE FROM places WHERE first > (SELECT MIN(first) FROM places)")
        assert lost.rowcount
    again = site.back_up(source)
    assert again.files_unchanged == FILES
    check(site, again, source, tmp_path / "out")


@pytest.mark.usefixtures("reread_cycle_of_thirty_days")
def test_change_behind_the_file_system_is_seen_once(
    site: Site, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.back_up(source)
    today = (site.clock() + timedelta(hours=1)).toordinal() % 30
    changed = next(
        path
        for path in sorted(source.iterdir())
        if (zlib.crc32(b"files/" + os.fsencode(path.name)) >> 20) % 30 == today
    )
    before = changed.stat()
    changed.write_text(changed.read_text().upper())
    _show_as_before(monkeypatch, before)
    result = site.back_up(source)
    monkeypatch.undo()
    assert result.files_changed == 1
    assert any("content changed although" in warning for warning in result.warnings)
    site.restore("latest", tmp_path / "out")
    assert (tmp_path / "out/files" / changed.name).read_text() == changed.read_text()


def test_change_just_before_a_run_is_read_again(
    site: Site, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second change in the same clock tick changes no file attribute."""
    changed = source / NAME.format(ENDS[0] + 100)
    changed.write_text("a caller\n")
    before = changed.stat()
    moment = datetime.fromtimestamp(before.st_ctime + 1, UTC)
    site.back_up(source, now=lambda: moment)
    changed.write_text("a CALLER\n")
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    _show_as_before(monkeypatch, before)
    result = site.back_up(source)
    monkeypatch.undo()
    assert result.files_changed == 1
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)


def test_changed_folders_links_and_exclusions_are_seen(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for number in range(6):
        folder = source / f"team-{number}" / "calls"
        folder.mkdir(parents=True)
        for call in range(40):
            (folder / f"call-{call:02}").write_text(f"call {call} of team {number}\n")
    (source / "team-5/empty").mkdir()
    os.link(source / "team-1/calls/call-07", source / "team-1/calls/call-20-again")
    files = 6 * 40 + 1
    assert site.back_up(source).files_new == files
    assert site.back_up(source).files_unchanged == files
    (source / "team-2/calls/call-10").unlink()
    (source / "team-2/calls/call-10").mkdir()  # a folder with content replaces a file
    (source / "team-2/calls/call-10/note").write_text("there was a call here\n")
    (source / "team-3/calls/call-00").unlink()
    (source / "team-3/calls/call-39").unlink()
    (source / "team-4/calls/call-12x").write_text("between two others\n")
    changed = site.back_up(source)
    assert (changed.files_new, changed.files_changed) == (2, 0)
    assert changed.files_unchanged == files - 3
    site.restore("latest", tmp_path / "out")
    assert describe(tmp_path / "out/files") == describe(source)
    without = site.back_up(FilesSource("files", source, exclude=["call-1?"]))
    # One of the excluded names is a folder now; the added name is longer and is not excluded.
    assert without.files == changed.files - 6 * 10
    renumbered = site.back_up(FilesSource("files", source, ignore_inode=True))
    assert renumbered.files == changed.files


def test_page_across_sources_covers_only_its_own_paths(
    site: Site, source: Path, tmp_path: Path
) -> None:
    """A path that one source excludes is included in the next source."""
    left_out = [NAME.format(number) for number in range(300, FILES)]
    other = FilesSource("b", source)
    site.back_up(FilesSource("a", source, exclude=left_out), other)
    made = site.back_up(FilesSource("a", source, exclude=left_out), other)
    assert (made.files, made.files_unchanged) == (300 + FILES, 300 + FILES)
    made = site.back_up(FilesSource("a", source), other)
    assert (made.files, made.files_new) == (2 * FILES, FILES - 300)
    assert site.restore(made.point, tmp_path / "out").problems == ()
    for name in ("a", "b"):
        assert describe(tmp_path / "out" / name) == describe(source)


class BreakingSource(FilesSource):
    """A files source with an incomplete listing."""

    def __init__(self, path: Path, after: int) -> None:
        super().__init__("files", path)
        self._after = after

    @contextmanager
    def _open(self, scratch: Path, now: Any) -> Iterator[OpenSource]:
        with super()._open(scratch, now) as opened:
            original = opened._scan

            def scan() -> Iterator[Any]:
                left = self._after + 1
                for item in original():
                    assert not isinstance(item, Unread)
                    yield item
                    left -= 1
                    if not left:
                        raise SourceFailed("source files broke off")

            opened._scan = scan  # only the listing of this source breaks
            yield opened


def test_interim_point_within_a_page_is_complete(site: Site, source: Path, tmp_path: Path) -> None:
    site.back_up(source)
    part = site.back_up(BreakingSource(source, after=40))
    assert (part.complete, part.files) == (False, 40)
    assert site.restore(part.point, tmp_path / "part").problems == ()
    everything = describe(source)
    kept = dict(sorted(everything.items())[:40])
    assert describe(tmp_path / "part/files") == kept
    report = verify(site.vault, keys=site.keys, identity=site.identity, read=True)
    assert report.is_sound, report.findings
    check(site, site.back_up(source), source, tmp_path / "whole")


class Objects(Source):
    """Bucket objects with the paths of the files and listed change vectors."""

    kind = "objects"

    @contextmanager
    def _open(self, scratch: Path, now: Callable[[], datetime]) -> Iterator[OpenSource]:
        yield _OpenObjects(self.name, now())


class _OpenObjects(OpenSource):
    def _scan(self) -> Iterator[Found]:
        yield synthetic_path(b"", kind="directory", modified_ns=0, vector=(0,))
        for number in range(FILES):
            path = NAME.format(number).encode()
            yield synthetic_path(path, kind="file", modified_ns=1, size=0, vector=(0, 1, number))

    @contextmanager
    def read(self, found: Found) -> Iterator[Content]:
        yield _Nothing()

    def xattrs(self, found: Found) -> tuple[tuple[bytes, bytes], ...]:
        return ()

    def chunk_bytes(self, found: Found) -> int:
        return 64 * 1024


class _Nothing:
    size = 0
    holes: tuple[tuple[int, int], ...] = ()

    def readinto(self, buffer: memoryview) -> int:
        return 0

    def changed(self) -> None:
        return None


def test_bucket_objects_are_recognized_like_files(site: Site, source: Path, tmp_path: Path) -> None:
    both: list[Source] = [FilesSource("files", source), Objects("objects")]
    site.back_up(*both)
    again = site.back_up(*both)
    assert (again.files_unchanged, again.files) == (2 * FILES, 2 * FILES)
    # The two sources exchange names, so the pages describe rows of the other kind of source.
    site.back_up(Objects("files"), FilesSource("objects", source))
    result = site.back_up(FilesSource("files", source))
    check(site, result, source, tmp_path / "out")
