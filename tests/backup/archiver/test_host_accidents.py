"""Accidents of a backup host: cloned, rolled back, cache lost, run twice.

After each accident, the points before and after it restore equal to their sources.
"""

import hashlib
import shutil
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pyrage
import pytest

from backup.checker.verification import verify
from backup.errors import Busy
from backup.format.object_names import pack_prefix, snapshot_name
from backup.format.pack import HEADER_BYTES, OpenPack, _derive_keys, parse_header
from backup.format.root_record import key_from_bytes
from backup.records import BackupResult
from backup.trust.key_files import Identity
from tests.backup.memory_stores import MemoryStore
from tests.backup.site import DOMAIN, WRITER, Died, Site, TamperedStore
from tests.backup.trees import KIB, describe, noise, plain_tree

Tree = dict[bytes, tuple[object, ...]]


@dataclass
class SameChance:
    """Random numbers of a machine that resumes twice from one moment."""

    drawn: list[bytes] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, size: int) -> bytes:
        with self._lock:
            number = len(self.drawn).to_bytes(8, "big")
            self.drawn.append(hashlib.sha256(b"the same each time" + number).digest()[:size])
            return self.drawn[-1]


class HookedStore(TamperedStore):
    """A store that runs a hook before the first put of a matching name."""

    def __init__(self) -> None:
        super().__init__()
        self.hook: tuple[str, Callable[[], None]] | None = None

    def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        if self.hook is not None and name.startswith(self.hook[0]):
            act, self.hook = self.hook[1], None
            act()
        super()._put(name, data)


@pytest.fixture
def vault() -> HookedStore:
    return HookedStore()


@pytest.fixture
def site(tmp_path: Path, vault: HookedStore) -> Site:
    return Site(folder=tmp_path / "site", vault=vault, keys=MemoryStore()).create()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plain_tree(tmp_path / "source")


def clone_of(site: Site, folder: Path) -> Site:
    shutil.copytree(site.folder, folder)
    return Site(folder=folder, vault=site.vault, keys=site.keys, clock=site.clock)


def changed(source: Path, version: str) -> Tree:
    """Return a tree that differs between runs, with unchanged file sizes."""
    (source / "note.txt").write_text(f"backup {version}")
    (source / "new.wav").write_bytes(
        noise(300 * KIB, int(hashlib.sha1(version.encode()).hexdigest(), 16))
    )
    return describe(source)


def check(site: Site, trees: dict[int, Tree], out: Path) -> None:
    """Check that each point restores as its source was and all bytes verify."""
    for sequence, tree in trees.items():
        to = out / str(sequence)
        assert site.restore(f"{WRITER}/{sequence}", to).problems == ()
        assert describe(to / "files") == tree, sequence
    report = verify(site.vault, keys=site.keys, identity=site.identity, read=True)
    assert report.is_sound, report.findings


def keys_of_packs(site: Site) -> list[tuple[bytes, bytes]]:
    """Return the keys wrapped in each pack, and the keys of its segments."""
    record = key_from_bytes(
        site.keys.get(f"k/{DOMAIN}/0000000000/0000000000"), site.host.owner, "the key record"
    )
    custodian = _identity(site.identity)
    domain = pyrage.x25519.Identity.from_str(pyrage.decrypt(record.wrapped, [custodian]).decode())
    found = []
    for stat in site.vault.list(pack_prefix(WRITER)):
        header = parse_header(site.vault.get(stat.name)[:HEADER_BYTES], stat.name)
        pack = OpenPack(header, [domain], stat.name)
        blank = header.data[:128] + bytes(32) + header.data[160:]
        found.append((pack.file_key, _derive_keys(pack.file_key, header.salt, blank)[0]))
    return found


def _identity(identity: Identity) -> pyrage.x25519.Identity:
    found = identity.keys[0]
    assert isinstance(found, pyrage.x25519.Identity)
    return found


@pytest.mark.parametrize("is_other_content", [True, False], ids=["other content", "the same"])
def test_repeated_random_numbers_repeat_no_key(
    site: Site, source: Path, tmp_path: Path, is_other_content: bool
) -> None:
    trees = {1: describe(source)}
    site.back_up(source)
    shutil.copytree(site.folder, tmp_path / "image of the machine")
    trees[2] = changed(source, "two")
    first = SameChance()
    site.back_up(source, random=first)

    shutil.rmtree(site.folder)
    shutil.copytree(tmp_path / "image of the machine", site.folder)
    if is_other_content:
        changed(source, "three")
    trees[3] = describe(source)
    second = SameChance()
    result = site.back_up(source, random=second)
    assert (result.sequence, result.has_foreign_point) == (3, True)
    assert any("cloned or rolled back" in warning for warning in result.warnings)

    pairs = keys_of_packs(site)
    repeated = [file_key for file_key, _ in pairs if file_key in first.drawn]
    assert len(repeated) == len(first.drawn) + len(second.drawn), "both drew the same numbers"
    assert len(set(repeated)) == max(len(first.drawn), len(second.drawn))
    segment_keys = [segment_key for _, segment_key in pairs]
    assert len(set(segment_keys)) == len(segment_keys), "so no nonce meets a key twice"
    check(site, trees, tmp_path / "out")
    # The fork is over: later backups run as usual.
    trees[4] = changed(source, "four")
    following = site.back_up(source)
    assert (following.sequence, following.has_foreign_point, following.warnings) == (4, False, ())
    check(site, trees, tmp_path / "later")


def test_alternating_clones_lose_no_point(site: Site, source: Path, tmp_path: Path) -> None:
    trees = {1: describe(source)}
    site.back_up(source)
    twin = clone_of(site, tmp_path / "twin")
    machines = [twin, site, twin, twin, site, site]
    forks = []
    for sequence, machine in enumerate(machines, 2):
        trees[sequence] = changed(source, f"turn {sequence}")
        result = machine.back_up(source)
        assert (result.sequence, result.complete) == (sequence, True)
        forks.append(result.has_foreign_point)
    # When the second machine is at the head of the sequence, it is notified each time.
    assert forks == [False, True, True, False, True, False]
    check(site, trees, tmp_path / "out")


def test_simultaneous_clones_make_two_points(
    site: Site, source: Path, tmp_path: Path, vault: HookedStore
) -> None:
    trees = {1: describe(source)}
    site.back_up(source)
    twin = clone_of(site, tmp_path / "twin")
    other = plain_tree(tmp_path / "other")
    ours, theirs = changed(source, "ours"), changed(other, "theirs")
    results: dict[str, BackupResult] = {}
    both_ready = threading.Barrier(2, timeout=60)

    class Gate(TamperedStore):
        def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
            if name == snapshot_name(WRITER, 2):
                both_ready.wait()
            super()._put(name, data)

    gate = Gate()
    gate._objects, gate._lock = vault._objects, vault._lock
    site.vault = twin.vault = gate
    run = threading.Thread(target=lambda: results.update(theirs=twin.back_up(other)))
    run.start()
    results["ours"] = site.back_up(source)
    run.join(timeout=60)
    assert {result.sequence for result in results.values()} == {2, 3}
    assert {result.has_foreign_point for result in results.values()} == {True, False}
    for result, tree in ((results["ours"], ours), (results["theirs"], theirs)):
        trees[result.sequence] = tree
        assert result.has_foreign_point is (result.sequence == 3)
    check(site, trees, tmp_path / "out")


def test_second_run_with_same_cache_is_busy(
    site: Site, source: Path, tmp_path: Path, vault: HookedStore
) -> None:
    trees = {1: describe(source)}
    site.back_up(source)
    refused: list[BaseException] = []

    def run_again() -> None:
        with pytest.raises(Busy) as caught:
            site.back_up(source)
        refused.append(caught.value)

    trees[2] = changed(source, "two")
    vault.hook = (pack_prefix(WRITER), run_again)
    result = site.back_up(source)
    assert len(refused) == 1
    assert (result.sequence, result.has_foreign_point, result.warnings) == (2, False, ())
    check(site, trees, tmp_path / "out")


def test_lost_cache_does_not_fork_the_history(site: Site, source: Path, tmp_path: Path) -> None:
    trees = {}
    for sequence in range(1, 5):
        trees[sequence] = changed(source, str(sequence))
        result = site.back_up(source)
        assert (result.sequence, result.has_foreign_point, result.warnings) == (sequence, False, ())
        if sequence % 2:
            shutil.rmtree(site.send_log.parent)
    check(site, trees, tmp_path / "out")


def test_cache_of_last_week_is_recognized(site: Site, source: Path, tmp_path: Path) -> None:
    trees = {1: changed(source, "1")}
    site.back_up(source)
    shutil.copy(site.send_log, tmp_path / "old.log")
    for sequence in (2, 3):
        trees[sequence] = changed(source, str(sequence))
        site.back_up(source)
    shutil.copy(tmp_path / "old.log", site.send_log)
    trees[4] = changed(source, "4")
    result = site.back_up(source)
    assert (result.sequence, result.has_foreign_point) == (4, True)
    check(site, trees, tmp_path / "out")


def test_removed_newest_snapshot_leaves_a_visible_gap(
    site: Site, source: Path, tmp_path: Path, vault: HookedStore
) -> None:
    trees = {}
    for sequence in (1, 2, 3):
        trees[sequence] = changed(source, str(sequence))
        site.back_up(source)
    vault.remove(snapshot_name(WRITER, 3))
    del trees[3]
    trees[4] = changed(source, "4")
    result = site.back_up(source)
    assert (result.sequence, result.has_foreign_point) == (4, False)
    assert any("lacks snapshot 3" in warning for warning in result.warnings)
    missing = {found.object for found in verify(vault).findings if found.severity == "error"}
    assert missing == {snapshot_name(WRITER, 3)}
    for sequence, tree in trees.items():
        assert site.restore(str(sequence), tmp_path / str(sequence)).problems == ()
        assert describe(tmp_path / str(sequence) / "files") == tree


def test_rolled_back_store_gets_everything_again(
    site: Site, source: Path, tmp_path: Path, vault: HookedStore
) -> None:
    trees = {1: changed(source, "1")}
    site.back_up(source)
    early = dict(vault._objects)
    for sequence in (2, 3):
        changed(source, str(sequence))
        site.back_up(source)
    vault._objects.clear()
    vault._objects.update(early)
    trees[4] = describe(source)
    result = site.back_up(source)
    assert result.sequence == 4
    assert any("rolled back" in warning for warning in result.warnings)
    for sequence, tree in trees.items():
        assert site.restore(str(sequence), tmp_path / str(sequence)).problems == ()
        assert describe(tmp_path / str(sequence) / "files") == tree


@pytest.mark.parametrize("has_foreign_point", [True, False], ids=["cloned", "store rolled back"])
def test_interrupted_run_after_rollback_reports_it_again(
    site: Site, source: Path, tmp_path: Path, vault: HookedStore, has_foreign_point: bool
) -> None:
    trees = {1: changed(source, "1")}
    site.back_up(source)
    early = dict(vault._objects)
    twin = clone_of(site, tmp_path / "twin")
    for sequence in (2, 3):
        trees[sequence] = changed(source, str(sequence))
        site.back_up(source)
    if has_foreign_point:
        site = twin
    else:
        vault._objects.clear()
        vault._objects.update(early)
        del trees[2], trees[3]
    (source / "large.wav").write_bytes(noise(900 * KIB, 7))
    trees[4] = describe(source)

    def die() -> None:
        raise Died

    vault.hook = (snapshot_name(WRITER, 4), die)
    with pytest.raises(Died):
        site.back_up(source)
    result = site.back_up(source)
    assert (result.sequence, result.has_foreign_point) == (4, has_foreign_point)
    assert len(result.warnings) == 1
    assert result.bytes_new < 100 * KIB, "what had been sent is not sent again"
    for sequence, tree in trees.items():
        assert site.restore(str(sequence), tmp_path / str(sequence)).problems == ()
        assert describe(tmp_path / str(sequence) / "files") == tree
    assert site.back_up(source).warnings == ()


def test_unmounted_disk_does_not_repeat_all_uploads(
    site: Site, source: Path, tmp_path: Path
) -> None:
    (source / "large.wav").write_bytes(noise(900 * KIB, 7))
    tree = describe(source)
    site.back_up(source)
    for _ in range(2):
        source.rename(tmp_path / "away")
        source.mkdir()
        assert site.back_up(source).files == 0
        source.rmdir()
        (tmp_path / "away").rename(source)
    result = site.back_up(source)
    assert result.bytes_new < 100 * KIB
    assert (result.files_new, result.files_changed, result.bytes_read) == (0, 0, 0)
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == tree


def test_one_unmounted_disk_repeats_no_upload(site: Site, source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "large.wav").write_bytes(noise(900 * KIB, 7))
    site.back_up(source, other)
    for round_number in range(5):
        other.rename(tmp_path / "away")
        other.mkdir()
        (source / f"of-backup-{round_number}").write_bytes(noise(90 * KIB, round_number))
        assert site.back_up(source, other).files_new == 1
        assert len(runs(site)) <= 4, "the log does not grow with each such run"
        other.rmdir()
        (tmp_path / "away").rename(other)
    result = site.back_up(source, other)
    assert (result.files_new, result.files_changed, result.bytes_read) == (0, 0, 0)
    assert len(runs(site)) == 1
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)
    assert describe(tmp_path / "out/files1") == describe(other)


def test_source_empty_for_a_month_is_accepted(site: Site, source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "note.txt").write_text("a note")
    site.back_up(source, other)
    (other / "note.txt").unlink()
    site.back_up(source, other)
    assert len(runs(site)) == 2
    site.clock.forward(days=31)
    site.back_up(source, other)
    assert len(runs(site)) == 1


def test_repeatedly_failing_source_does_not_grow_the_cache(
    site: Site, source: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "large.wav").write_bytes(noise(900 * KIB, 7))
    site.back_up(source, other)
    other.rename(tmp_path / "away")
    for _ in range(6):
        assert not site.back_up(source, other).complete
        assert len(runs(site)) <= 4
    (tmp_path / "away").rename(other)
    assert site.back_up(source, other).bytes_read == 0
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files1") == describe(other)


def runs(site: Site) -> list[object]:
    """Return the runs that the upload cache contains."""
    with closing(sqlite3.connect(site.send_log)) as log:
        return log.execute("SELECT number FROM run").fetchall()


def test_junk_in_next_slots_costs_only_slots(
    site: Site, source: Path, tmp_path: Path, vault: HookedStore
) -> None:
    trees = {1: describe(source)}
    site.back_up(source)
    vault.put(snapshot_name(WRITER, 2), b"before the run")
    vault.hook = (
        snapshot_name(WRITER, 3),
        lambda: vault.put(snapshot_name(WRITER, 3), b"a moment before the commit"),
    )
    trees[4] = changed(source, "4")
    result = site.back_up(source)
    assert (result.sequence, result.has_foreign_point) == (4, False)
    check(site, trees, tmp_path / "out")
