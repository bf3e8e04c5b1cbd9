"""Faults during a backup: the run fails clearly, the next one is whole."""

import errno
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from backup.archiver import pack_writer
from backup.archiver.upload_cache import cache
from backup.archiver.upload_cache import database as send_log_file
from backup.checker.verification import verify
from backup.errors import AlreadyThere, BackupError, NotWritable, StoreUnavailable
from backup.format.object_names import snapshot_name
from backup.format.snapshot import snapshot_from_bytes
from backup.stores import Stat
from backup.stores.directory import DirectoryStore
from backup.system.buffer_pool import large_memory
from tests.backup.memory_stores import MemoryStore
from tests.backup.site import Clock, Died, DyingStore, Site, TamperedStore, new_site
from tests.backup.trees import KIB, describe, noise, plain_tree
from tests.sampling import sample
from tests.servers import refused_to_root


class FaultyStore(MemoryStore):
    """A store that fails at given operations, before or after the act."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.fault: Callable[[], None] | None = None
        self.fails_at: frozenset[int] = frozenset()
        self.is_done_first = False

    def _reach(self, act: Callable[[], object]) -> None:
        self.operations += 1
        if self.operations in self.fails_at and self.fault is not None:
            if self.is_done_first:
                act()
            self.fault()

    def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        self._reach(lambda: super(FaultyStore, self)._put(name, data))
        super()._put(name, data)

    def _get_range(self, name: str, start: int, length: int | None) -> bytes:
        self._reach(lambda: None)
        return super()._get_range(name, start, length)

    def _list(self, prefix: str) -> Iterator[Stat]:
        self._reach(lambda: None)
        return super()._list(prefix)


class ContradictingStore(MemoryStore):
    """A store that reports packs as present and does not store them."""

    is_contradicting = True

    def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        if self.is_contradicting and "/p/" in name:
            raise AlreadyThere(f"{name} is already there; nothing was changed")
        super()._put(name, data)


def no_room() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def reset() -> None:
    raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


def answers_503() -> None:
    raise StoreUnavailable("the store answered 503 SlowDown five times; try again later")


def check(site: Site, source: Path, out: Path) -> None:
    result = site.back_up(source)
    assert (result.complete, result.has_foreign_point, result.warnings) == (True, False, ())
    assert site.restore("latest", out).problems == ()
    assert describe(out / "files") == describe(source)
    report = verify(site.vault, keys=site.keys, identity=site.identity, read=True)
    assert report.is_sound, report.findings


@pytest.mark.parametrize("is_done_first", [False, True], ids=["not done", "done, answer lost"])
@pytest.mark.parametrize("fault", [no_room, reset, answers_503])
def test_store_failure_fails_only_this_run(
    tmp_path: Path, fault: Callable[[], None], is_done_first: bool
) -> None:
    source = plain_tree(tmp_path / "source")
    vault = FaultyStore()
    site = new_site(tmp_path / "dry", vault)
    before = vault.operations
    site.back_up(source)
    count = vault.operations - before
    assert count >= 9
    faults = f"{fault.__name__}, done first: {is_done_first}"
    for number in sample(range(1, count + 1), faults):
        vault = FaultyStore()
        site = new_site(tmp_path / f"site-{number}", vault)
        vault.fault, vault.is_done_first = fault, is_done_first
        vault.fails_at = frozenset({vault.operations + number})
        with pytest.raises(StoreUnavailable):
            site.back_up(source)
        vault.fails_at = frozenset()
        check(site, source, tmp_path / f"out-{number}")


def test_next_backup_checks_a_pack_falsely_reported_present(
    tmp_path: Path,
) -> None:
    vault = ContradictingStore()
    site = new_site(tmp_path / "site", vault)
    source = plain_tree(tmp_path / "source")
    with pytest.raises(StoreUnavailable, match=r"storing w/desk-1/p/.*Run again") as failed:
        site.back_up(source)
    assert failed.value.exit_code == 1
    vault.is_contradicting = False
    check(site, source, tmp_path / "out")


def test_full_disk_during_a_pack_keeps_store_intact(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode:
        refused_to_root("only root may mount a small disk here")
    try:
        source = tmp_path / "source"
        source.mkdir()
        (source / "first").write_bytes(noise(200 * KIB, 0))
        site = new_site(tmp_path / "site", DirectoryStore(disk / "vault"))
        site.back_up(source)
        first = describe(source)
        for number in range(10):
            (source / f"{number}.wav").write_bytes(noise(4000 * KIB, number + 1))
        with pytest.raises(StoreUnavailable, match="has space"):
            site.back_up(source)
        assert list((disk / "vault/.incoming").iterdir()) == [], "no half of a pack is left"
        assert site.restore("latest", tmp_path / "first").problems == ()
        assert describe(tmp_path / "first/files") == first
        subprocess.run(["mount", "-o", "remount,size=96m", str(disk)], check=True)
        check(site, source, tmp_path / "out")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.sampled
@pytest.mark.parametrize("pages", range(16, 26, 2))
def test_full_disk_of_upload_cache_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    source = plain_tree(tmp_path / "source")
    for number in range(1600):
        (source / f"note-{number:03}").write_bytes(noise(300, number))
    site = new_site(tmp_path / "site", TamperedStore())
    connect = send_log_file.connect

    def on_a_small_disk(path: Path, binding: str) -> tuple[sqlite3.Connection, list[str]]:
        database, warnings = connect(path, binding)
        database.execute(f"PRAGMA max_page_count={pages}")
        return database, warnings

    with monkeypatch.context() as patched:
        patched.setattr(cache, "connect", on_a_small_disk)
        with pytest.raises(NotWritable, match=r"is full"):
            site.back_up(source)
    check(site, source, tmp_path / "out")


def test_slow_store_only_takes_longer(tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    clock = Clock()
    vault = FaultyStore()
    site = Site(folder=tmp_path / "site", vault=vault, keys=MemoryStore(), clock=clock).create()
    vault.fault, vault.fails_at = lambda: clock.forward(minutes=50), frozenset(range(1000))
    check(site, source, tmp_path / "out")


@pytest.mark.parametrize("number", [1, 2], ids=["to fill", "to seal"])
def test_lack_of_memory_blames_no_file(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in range(24):  # more packs than can be in progress at once
        (source / f"{name:02}.wav").write_bytes(noise(4000 * KIB, name))
    left = count(1)

    def none_left(size: int) -> memoryview:
        if next(left) == number:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return large_memory(size)

    with monkeypatch.context() as patched:
        patched.setattr(pack_writer, "large_memory", none_left)
        with pytest.raises(BackupError, match=r"memory for a pack"):
            site.back_up(source)
    assert not site.repository().points()
    check(site, source, tmp_path / "out")


# The clock


class Wall:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.moment = datetime(2026, 11, 1, 2, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.moment += timedelta(milliseconds=1)
        return self.moment


@pytest.mark.parametrize("hours", [1, 400])
def test_clock_set_back_keeps_order_of_points(site: Site, tmp_path: Path, hours: int) -> None:
    source = plain_tree(tmp_path / "source")
    wall = Wall()
    site.back_up(source, now=wall)
    wall.moment -= timedelta(hours=hours)
    (source / "note.txt").write_text("after the clock was set back")
    result = site.back_up(source, now=wall)
    assert any("clock" in warning for warning in result.warnings)
    assert site.repository().resolve("latest").sequence == 2
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)
    assert site.back_up(source, now=wall).warnings == ()


def test_clock_far_ahead_is_reported_and_not_inherited(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    wall = Wall()
    wall.moment += timedelta(days=4000)
    site.back_up(source, now=wall)
    wall.moment -= timedelta(days=4000)
    (source / "note.txt").write_text("the right year again")
    result = site.back_up(source, now=wall)
    (warning,) = result.warnings
    assert "was ahead" in warning
    times = [point.time for point in site.repository().points()]
    assert times[1].year == 2026
    assert site.restore("2", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)
    assert site.back_up(source, now=wall).warnings == ()


class TurningBack:
    """A clock that is set back by ten hours in the middle of a run."""

    def __init__(self, clock: Clock, after: int) -> None:
        self._clock = clock
        self._left = after

    def __call__(self) -> datetime:
        self._left -= 1
        back = timedelta(hours=10) if self._left < 0 else timedelta(0)
        return self._clock() - back


@pytest.mark.parametrize("after", [1, 3, 6, 12])
def test_clock_set_back_hides_no_later_change(site: Site, tmp_path: Path, after: int) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(8):
        (source / f"{number}.wav").write_bytes(noise(4000 * KIB, number))
    result = site.back_up(source, now=TurningBack(site.clock, after), progress=lambda step: None)
    assert result.complete
    # The recorded start is earlier than the run, as on a machine whose clock was set back.
    with closing(sqlite3.connect(site.send_log)) as log, log:
        ((started_ns,),) = log.execute("SELECT started_ns FROM run").fetchall()
    log.close()
    assert started_ns < int((site.clock() - timedelta(hours=9)).timestamp() * 1e9)
    (source / "0.wav").write_bytes(noise(4000 * KIB, 99))
    check(site, source, tmp_path / "out")


def test_interim_points_continue_after_clock_was_set_back(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(28):  # more packs than can be in progress at once
        (source / f"{number:02}.wav").write_bytes(noise(4000 * KIB, number))
    now = TurningBack(site.clock, 2)
    site.back_up(source, now=now, interim_after=timedelta(milliseconds=3))
    points = site.repository().points()
    assert any(point.is_interim for point in points)
    assert site.repository().resolve("latest").complete


# One file whose backup takes days


def test_large_interrupted_file_is_sent_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_writer, "PACKS_UNDER_WAY", 0)
    source = tmp_path / "source"
    source.mkdir()
    (source / "a-small-one").write_text("is in the interim points")
    large = b"".join(noise(4000 * KIB, number) for number in range(16))
    (source / "large.img").write_bytes(large)
    dry = DyingStore()
    new_site(tmp_path / "dry", dry).back_up(source, interim_packs=1)
    vault = DyingStore()
    site = new_site(tmp_path / "site", vault)
    vault.puts_left = dry.puts - vault.puts - 6
    with pytest.raises(Died):
        site.back_up(source, interim_packs=1)
    vault.puts_left = None

    points = site.repository().points()
    assert len(points) >= 2
    assert all(point.is_interim for point in points)
    named = {name for point in points for name in _packs_named(site, point.sequence)}
    sent = {stat.name.rpartition("/")[2] for stat in vault.list("w/desk-1/p/")}
    assert len(sent - named) <= 2, "what was sent of the file is named, so no keeper frees it"
    assert site.restore(points[-1].name, tmp_path / "interim").problems == ()
    assert set(describe(tmp_path / "interim/files")) == {b"a-small-one"}
    report = verify(vault, keys=site.keys, identity=site.identity, read=True)
    assert report.is_sound, report.findings

    result = site.back_up(source, interim_packs=1)
    assert result.bytes_read >= len(large)
    assert result.bytes_new < 0.6 * len(large), "read again, and not sent again"
    check(site, source, tmp_path / "out")


@pytest.mark.usefixtures("reread_cycle_of_thirty_days")
def test_large_file_between_unchanged_pages_is_committed(
    tmp_path: Path,
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(6):
        (source / f"{number}.img").write_bytes(noise(9000 * KIB, number))
    os.utime(source, ns=(1, 1))
    site = new_site(tmp_path / "site")
    site.back_up(source)
    for _ in range(31):  # the run reads each file again once in thirty days
        site.clock.forward(days=1)
        result = site.back_up(source, interim_packs=1, interim_after=timedelta(0))
        assert (result.complete, result.files, result.files_unchanged) == (True, 6, 6)
    check(site, source, tmp_path / "out")


def _packs_named(site: Site, sequence: int) -> set[str]:
    name = snapshot_name("desk-1", sequence)
    return {sha256 for sha256, _ in snapshot_from_bytes(site.vault.get(name), name)[0].packs}
