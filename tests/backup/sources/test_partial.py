"""Unreadable, vanishing and changing files: named, counted, the rest kept."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from backup.archiver.upload_cache.cache import open_upload_cache
from backup.checker.verification import verify
from backup.errors import Busy, NothingToBackUp, UsageError
from backup.records import BackupResult
from backup.sources import Content, Found, OpenSource, Whole
from backup.sources.files.files_source import FilesSource
from backup.sources.sqlite import SqliteSource
from tests.backup.site import Site
from tests.backup.trees import KIB, describe, noise, plain_tree


class MeddledSource(FilesSource):
    """Files that change at the moment when they are listed or read."""

    supports_worker_reader = False  # the change happens in this process

    def __init__(self, path: Path, name: bytes, *, when: str, meddle: Any) -> None:
        super().__init__("files", path)
        self._what = name
        self._when = when
        self._meddle = meddle

    @contextmanager
    def _open(self, scratch: Path, now: Any) -> Iterator[OpenSource]:
        with super()._open(scratch, now) as opened:
            original = opened.read

            def read(found: Found) -> AbstractContextManager[Content]:
                if found.path != self._what:
                    return original(found)
                if self._when == "before":
                    self._meddle()
                    return original(found)
                return self._midway(original(found))

            read_small = opened.read_small

            def read_small_too(found: Found) -> Whole | None:
                if found.path != self._what:
                    return read_small(found)
                if self._when != "before":
                    return None  # `read` handles it, so that the change can happen in the middle
                self._meddle()
                self._what = b""
                return read_small(found)

            # Both wrappers change the file at the chosen moment.
            opened.read = read
            opened.read_small = read_small_too
            yield opened

    @contextmanager
    def _midway(self, reading: AbstractContextManager[Content]) -> Iterator[Content]:
        with reading as content:
            readinto = content.readinto

            def meddle_first(buffer: memoryview) -> int:
                count = readinto(buffer[: 16 * KIB])
                if self._meddle is not None:
                    self._meddle()
                    self._meddle = None
                return count

            content.readinto = meddle_first  # changes the file after its first bytes
            yield content


def reasons(result: BackupResult) -> dict[str, str]:
    assert result.unread_total == len(result.unread)
    return {item.path: item.reason for item in result.unread}


def check_rest(
    site: Site, source: Path, out: Path, *without: bytes, is_complete: bool = False
) -> None:
    assert site.restore("latest", out).problems == ()
    wanted = describe(source)
    found = describe(out / "files")
    for name in without:
        wanted.pop(name, None)
        found.pop(name, None)
    assert found == wanted
    assert verify(site.vault, keys=site.keys, identity=site.identity, read=True).findings == ()
    (point,) = site.repository().points()
    assert point.complete == is_complete
    assert not point.is_interim


def replace_by_fifo(source: Path) -> None:
    (source / "note.txt").unlink()
    os.mkfifo(source / "note.txt")


def test_file_gone_when_read_is_counted_without_error(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    gone = source / "calls" / "one.wav"
    result = site.back_up(
        MeddledSource(source, b"calls/one.wav", when="before", meddle=gone.unlink)
    )
    assert result.complete
    assert (result.vanished, reasons(result)) == (1, {})
    check_rest(site, source, tmp_path / "out", b"calls", is_complete=True)


def test_file_gone_before_listing_is_counted_without_error(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    folder = source / "calls-old"
    result = site.back_up(
        MeddledSource(source, b"calls/two.wav", when="before", meddle=lambda: shutil.rmtree(folder))
    )
    assert result.complete
    assert (result.vanished, reasons(result)) == (1, {})
    check_rest(site, source, tmp_path / "out", is_complete=True)


def test_replaced_file_is_kept_as_new_and_named(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    path = source / "note.txt"

    def replace() -> None:
        draft = source.parent / "draft"
        draft.write_text("written anew, as editors do\n")
        draft.rename(path)

    result = site.back_up(MeddledSource(source, b"note.txt", when="before", meddle=replace))
    assert reasons(result) == {"files/note.txt": "was replaced by another file before it was read"}
    check_rest(site, source, tmp_path / "out", b"note.txt")
    assert (tmp_path / "out/files/note.txt").read_bytes() == path.read_bytes()
    again = site.back_up(source)
    assert (again.complete, again.files_unchanged, again.bytes_read) == (
        True,
        again.files,
        path.stat().st_size,
    )


def test_file_changed_while_read_is_named(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    path = source / "calls" / "one.wav"

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    size = path.stat().st_size
    result = site.back_up(MeddledSource(source, b"calls/one.wav", when="midway", meddle=grow))
    assert reasons(result) == {"files/calls/one.wav": "changed while it was read"}
    check_rest(site, source, tmp_path / "out", b"calls/one.wav")
    assert (tmp_path / "out/files/calls/one.wav").stat().st_size == size


def test_change_with_restored_time_is_named(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    path = source / "calls" / "one.wav"
    before = path.stat()

    def change() -> None:
        with path.open("r+b") as file:
            file.seek(-4, os.SEEK_END)
            file.write(b"four")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    result = site.back_up(MeddledSource(source, b"calls/one.wav", when="midway", meddle=change))
    assert path.stat().st_size == before.st_size
    assert reasons(result) == {"files/calls/one.wav": "changed while it was read"}
    check_rest(site, source, tmp_path / "out", b"calls/one.wav")


@pytest.mark.parametrize("name", ["calls/one.wav", "sparse", "note.txt"])
def test_file_truncated_while_read_is_named(site: Site, tmp_path: Path, name: str) -> None:
    source = plain_tree(tmp_path / "source")
    (source / "note.txt").write_text("a line\n" * 8000)
    with (source / "sparse").open("wb") as file:
        file.write(noise(100 * KIB))
        file.seek(2000 * KIB)
        file.write(noise(100 * KIB, 1))
    path = source / name
    result = site.back_up(
        MeddledSource(
            source, name.encode(), when="midway", meddle=lambda: os.truncate(path, 20 * KIB)
        )
    )
    assert reasons(result) == {f"files/{name}": "became shorter while it was read"}
    check_rest(site, source, tmp_path / "out", name.encode())
    kept = (tmp_path / "out/files" / name).read_bytes()
    assert kept == path.read_bytes()


def test_file_truncated_in_a_hole_keeps_its_beginning(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    path = source / "sparse"
    with path.open("wb") as file:
        file.write(noise(100 * KIB))
        file.seek(2000 * KIB)
        file.write(noise(100 * KIB, 1))
    before = path.read_bytes()
    result = site.back_up(
        MeddledSource(
            source, b"sparse", when="midway", meddle=lambda: os.truncate(path, 1000 * KIB)
        )
    )
    assert reasons(result) == {"files/sparse": "became shorter while it was read"}
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert (tmp_path / "out/files/sparse").read_bytes() == before[: 2000 * KIB]


def test_file_replaced_by_fifo_blocks_nothing(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    result = site.back_up(
        MeddledSource(source, b"note.txt", when="before", meddle=lambda: replace_by_fifo(source))
    )
    why = "cannot be read: was replaced by something else"
    assert reasons(result) == {"files/note.txt": why}


class ReadHere(FilesSource):
    supports_worker_reader = False


def test_constantly_changing_small_file_is_named(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = plain_tree(tmp_path / "source")
    real = os.read

    def read(descriptor: int, count: int) -> bytes:
        data = real(descriptor, count)
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "note.txt":
            (source / "note.txt").write_bytes(data + b"more")
        return data

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", read)
        result = site.back_up(ReadHere("files", source))
    assert reasons(result) == {"files/note.txt": "changed while it was read"}
    check_rest(site, source, tmp_path / "out", b"note.txt")


def test_unreadable_file_is_named(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root can read every file, so the test raises the error that the kernel would raise.
    source = plain_tree(tmp_path / "source")
    original = os.open

    def refusing(path: Any, *rest: Any, **more: Any) -> int:
        if path in (b"one.wav", b"calls-old"):
            raise PermissionError(13, "Permission denied")
        return original(path, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refusing)
        result = site.back_up(source)
    assert reasons(result) == {
        "files/calls/one.wav": "cannot be read: Permission denied",
        "files/calls-old": "cannot be read: Permission denied",
    }
    check_rest(site, source, tmp_path / "out", b"calls/one.wav", b"calls", b"calls-old/dump.sql")


def test_unread_files_are_listed_for_key_holders(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    result = site.back_up(
        MeddledSource(source, b"note.txt", when="before", meddle=lambda: replace_by_fifo(source))
    )
    (point,) = site.repository().points()
    assert point.details is not None
    assert point.details.unread == result.unread
    assert point.details.unread_total == 1


def test_unreadable_file_is_in_the_next_point(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")

    def touch() -> None:
        (source / "note.txt").write_text("in the middle of it")

    site.back_up(MeddledSource(source, b"note.txt", when="midway", meddle=touch))
    result = site.back_up(source)
    assert (result.complete, result.files_changed) == (True, 1)
    site.restore("latest", tmp_path / "out")
    assert describe(tmp_path / "out/files") == describe(source)


def test_failed_source_is_named_and_others_continue(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    no_database = tmp_path / "broken.db"
    no_database.write_bytes(b"this is no database, and long enough to be looked at" * 100)
    result = site.back_up(
        FilesSource("files", source),
        FilesSource("absent", tmp_path / "nowhere"),
        SqliteSource("broken", no_database),
        SqliteSource("missing", tmp_path / "missing.db"),
    )
    assert not result.complete
    assert set(reasons(result)) == {"absent", "broken", "missing"}
    assert not (tmp_path / "missing.db").exists()
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)
    (point,) = site.repository().points()
    assert point.details is not None
    outcomes = {outcome.name: outcome for outcome in point.details.sources}
    assert outcomes["files"].problem is None
    assert outcomes["files"].files == 5
    assert "nowhere" not in (outcomes["broken"].problem or "nowhere")


def test_failed_source_is_not_sent_again(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "big").write_bytes(noise(3000 * KIB))
    other = plain_tree(tmp_path / "other")
    sources = (FilesSource("a", source), FilesSource("b", other))
    site.back_up(*sources)
    source.rename(tmp_path / "away")
    assert not site.back_up(*sources).complete
    (tmp_path / "away").rename(source)
    result = site.back_up(*sources)
    assert result.complete
    assert result.bytes_new < 32 * KIB
    assert result.bytes_read < 3000 * KIB


def test_empty_point_is_not_created(site: Site, tmp_path: Path) -> None:
    with pytest.raises(NothingToBackUp, match="no source could be read"):
        site.back_up(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="Name at least one"):
        site.back_up()
    assert site.repository().points() == []


def test_empty_source_among_others_is_named(site: Site, tmp_path: Path) -> None:
    """The folder may be the mount point of a disk that was not mounted."""
    source = plain_tree(tmp_path / "source")
    (tmp_path / "unmounted").mkdir()
    result = site.back_up(source, tmp_path / "unmounted")
    (warning,) = result.warnings
    assert "files1: no files found" in warning
    (tmp_path / "unmounted/call").write_text("mounted again")
    assert site.back_up(source, tmp_path / "unmounted").warnings == ()


def test_invalid_request_is_refused(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    with pytest.raises(UsageError, match="same name"):
        site.back_up(FilesSource("a", source), FilesSource("a", source))
    with pytest.raises(UsageError, match="not a valid name"):
        site.back_up(source, set_name="Every Night")
    for name in ("", ".", "..", "a/b", "ä", "-x"):
        with pytest.raises(UsageError, match="not a valid name"):
            FilesSource(name, source)


def test_two_runs_at_once_are_refused(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    with (
        open_upload_cache(site.send_log, site.binding),
        pytest.raises(Busy, match="another backup"),
    ):
        site.back_up(source)
    assert site.back_up(source).complete


@pytest.mark.usefixtures("reread_cycle_of_thirty_days")
def test_change_behind_the_file_system_is_reported(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = plain_tree(tmp_path / "source")
    site.back_up(source)
    real_stat, real_fstat = os.stat, os.fstat
    before = (source / "calls" / "one.wav").stat()
    with (source / "calls" / "one.wav").open("r+b") as file:
        file.write(b"another beginning")

    def as_before(status: os.stat_result) -> os.stat_result:
        return before if status.st_ino == before.st_ino else status

    monkeypatch.setattr(os, "stat", lambda *a, **k: as_before(real_stat(*a, **k)))
    monkeypatch.setattr(os, "fstat", lambda *a, **k: as_before(real_fstat(*a, **k)))
    for _ in range(30):
        # One file in thirty is read again each day, so this one is read within thirty days. One
        # hour of each day is left for the backup, so that no day is omitted.
        site.clock.forward(hours=23)
        result = site.back_up(source)
        if result.warnings:
            break
    assert any("content changed although" in warning for warning in result.warnings)
    monkeypatch.undo()
    site.restore("latest", tmp_path / "out")
    assert (tmp_path / "out/files/calls/one.wav").read_bytes().startswith(b"another beginning")


def test_progress_is_reported(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    told: list[Any] = []

    def slow_clock() -> datetime:
        site.clock.forward(seconds=1)
        return site.clock()

    site.back_up(source, now=slow_clock, progress=told.append)
    assert [item.phase for item in told] == ["reading"] * len(told)
    assert {item.path for item in told} >= {"files/note.txt", "files/calls/one.wav"}
    assert [item.files for item in told] == sorted(item.files for item in told)
    restoring: list[Any] = []
    site.restore("latest", tmp_path / "out", progress=restoring.append)
    assert restoring[-1].files == 5


def test_database_in_use_is_copied_in_one_transaction(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "crm.db"
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE t (n INTEGER)")
        writer.execute("INSERT INTO t VALUES (1)")
        writer.commit()
        writer.execute("INSERT INTO t VALUES (2)")
        result = site.back_up(SqliteSource("crm", path))
        writer.rollback()
    assert result.complete
    site.restore("latest", tmp_path / "out")
    with closing(sqlite3.connect(tmp_path / "out/crm/crm.db")) as restored:
        assert restored.execute("SELECT n FROM t").fetchall() == [(1,)]
    assert list(site.send_log.parent.glob("*.scratch")) == []


def test_an_unchanged_database_is_hardly_stored_again(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "crm.db"
    with closing(sqlite3.connect(path)) as writer, writer:
        writer.execute("CREATE TABLE t (n INTEGER, b BLOB)")
        writer.executemany("INSERT INTO t VALUES (?, ?)", ((n, noise(900, n)) for n in range(2000)))
    first = site.back_up(SqliteSource("crm", path))
    second = site.back_up(SqliteSource("crm", path))
    assert second.bytes_new < first.bytes_new / 4
    site.restore("latest", tmp_path / "out")
    with closing(sqlite3.connect(tmp_path / "out/crm/crm.db")) as restored:
        assert restored.execute("SELECT count(*) FROM t").fetchone() == (2000,)
