"""Packs that a writer does not reuse: freed, distrusted, lost, sparse."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backup.archiver import unusable_packs
from backup.checker.verification import verify
from backup.errors import Damaged, StoreUnavailable, UsageError
from backup.format.keep_record import KeepRecord, PackId, keep_to_bytes
from backup.format.object_names import (
    keep_name,
    pack_name,
    pack_prefix,
    snapshot_name,
    snapshot_prefix,
)
from backup.format.snapshot import Snapshot, snapshot_from_bytes
from backup.records import BackupResult, Progress
from backup.retention.rules import RetentionRules
from backup.stores import ObjectLock
from backup.trust.retention_log import load_retention_log
from backup.trust.root_chain import load_root_chain
from tests.backup.keep_site import KeptSite, KeptVault, kept_site, sign_root
from tests.backup.site import WRITER, Clock
from tests.backup.trees import KIB, describe, noise


class HookedVault(KeptVault):
    """A vault that runs a hook before the put of a given name."""

    def __init__(self, clock: Clock, lock: ObjectLock | None = None) -> None:
        super().__init__(clock, lock)
        self.hooks: list[tuple[str, Callable[[], None]]] = []

    def before(self, prefix: str, act: Callable[[], None]) -> None:
        self.hooks.append((prefix, act))

    def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        for hook in list(self.hooks):
            if name.startswith(hook[0]):
                self.hooks.remove(hook)
                hook[1]()
        super()._put(name, data)


@pytest.fixture
def kept(tmp_path: Path) -> KeptSite:
    clock = Clock()
    return kept_site(tmp_path / "site", HookedVault(clock), clock)


def vault_of(kept: KeptSite) -> HookedVault:
    assert isinstance(kept.vault, HookedVault)
    return kept.vault


def say(kept: KeptSite, **what: Any) -> None:
    """Put the keeper's next record, which may break the keeper's rules."""
    trust = load_root_chain(kept.vault)
    keeps = load_retention_log(kept.vault, trust)
    record = KeepRecord(
        repository=trust.root.repository,
        number=keeps.next_number,
        previous=keeps.head,
        root_record=trust.links[-1],
        created=kept.clock(),
    )
    data = keep_to_bytes(replace(record, **what), kept.keeper.key)
    kept.vault.put(keep_name(record.number), data)


def drop(kept: KeptSite, packs: set[PackId]) -> None:
    """Mark and drop packs in one step."""
    for writer, sha256 in packs:
        vault_of(kept).lose(pack_name(writer, sha256))


def named_by(kept: KeptSite, sequence: int) -> Snapshot:
    name = snapshot_name(WRITER, sequence)
    return snapshot_from_bytes(kept.vault.get(name), name)[0]


def needed_by(kept: KeptSite, sequence: int) -> set[PackId]:
    snapshot = named_by(kept, sequence)
    needed = {sha256 for sha256, _ in snapshot.packs}
    for number in snapshot.uses:
        needed.update(snapshot.used_packs(named_by(kept, number)))
    return {(WRITER, sha256) for sha256 in needed}


def check_latest(kept: KeptSite, result: BackupResult, out: Path) -> None:
    assert result.complete
    assert kept.site.restore(result.point, out).problems == ()
    assert describe(out / "files") == describe(kept.source)


@pytest.mark.parametrize("what", ["marked", "dropped", "distrusted"])
def test_distrusted_content_is_sent_again_next_run(
    kept: KeptSite, tmp_path: Path, what: str
) -> None:
    kept.next_backup()
    avoided = kept.packs()
    say(kept, **{what: tuple(avoided)})
    result = kept.next_backup()
    assert not needed_by(kept, 2) & avoided
    assert any("freed or distrusted" in warning for warning in result.warnings)
    drop(kept, avoided)
    check_latest(kept, result, tmp_path / "out")
    following = kept.next_backup()
    assert (following.warnings, following.is_store_damaged) == ((), False)


def test_pack_freed_while_host_slept_is_not_lost(kept: KeptSite, tmp_path: Path) -> None:
    kept.next_backup()
    gone = kept.packs()
    say(kept, dropped=tuple(gone))
    drop(kept, gone)
    result = kept.next_backup()
    assert not result.is_store_damaged
    (told,) = result.warnings
    assert "freed or distrusted by the keeper" in told
    check_latest(kept, result, tmp_path / "out")


def test_pack_lost_silently_is_sent_again(kept: KeptSite, tmp_path: Path) -> None:
    kept.next_backup()
    lost = kept.packs()
    drop(kept, lost)
    result = kept.next_backup()
    assert any("missing from the store" in warning for warning in result.warnings)
    assert result.is_store_damaged
    assert not needed_by(kept, 2) & lost
    check_latest(kept, result, tmp_path / "out")


def test_pack_distrusted_during_large_file_is_sent_again(
    kept: KeptSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup.archiver.walk.PROGRESS_INTERVAL", timedelta(0))
    known = noise(20_000_000, 1)
    kept.source.mkdir()
    (kept.source / "before.bin").write_bytes(known)
    kept.site.back_up(kept.source)
    packs = kept.packs()
    (kept.source / "before.bin").unlink()
    (kept.source / "large.bin").write_bytes(known + noise(110_000_000, 2))
    told: list[int] = []

    def progress(seen: Progress) -> None:
        # The stored content has been read, and so far no other file uses its blob locations.
        if seen.bytes_done > len(known) and not told:
            told.append(seen.bytes_done)
            say(kept, distrusted=tuple(packs))

    result = kept.site.back_up(kept.source, progress=progress, interim_packs=1)
    assert told
    assert len(kept.points()) > 2, "the large file was committed in between"
    assert not needed_by(kept, result.sequence) & packs
    check_latest(kept, result, tmp_path / "out")


def test_pack_marked_during_the_run_is_sent_again(kept: KeptSite, tmp_path: Path) -> None:
    kept.next_backup()
    marked = kept.packs()
    # The keeper puts its record while the first pack of the second backup is uploaded.
    vault_of(kept).before(pack_prefix(WRITER), lambda: say(kept, marked=tuple(marked)))
    result = kept.next_backup()
    assert vault_of(kept).hooks == []
    assert (result.sequence, result.has_foreign_point) == (2, False)
    assert not needed_by(kept, 2) & marked
    assert (
        named_by(kept, 2).keep_record
        == load_retention_log(kept.vault, load_root_chain(kept.vault)).head
    )
    drop(kept, marked)
    check_latest(kept, result, tmp_path / "out")
    # The next run uses the packs that the second walk of this run stored.
    stored = kept.packs()
    again = kept.site.back_up(kept.source)
    assert again.warnings == ()
    assert again.files_unchanged == result.files
    assert len(kept.packs() - stored) <= 2  # at most the page of the folder and the page above it


def test_pack_of_this_run_can_be_marked(kept: KeptSite, tmp_path: Path) -> None:
    marked: set[PackId] = set()

    def mark_all() -> None:
        marked.update(kept.packs())
        say(kept, marked=tuple(marked))

    kept.next_backup()
    vault_of(kept).before(pack_prefix(WRITER), lambda: None)
    vault_of(kept).before(pack_prefix(WRITER), mark_all)
    (kept.source / "large.wav").parent.mkdir(exist_ok=True)
    result = kept.next_backup()
    assert marked
    assert not needed_by(kept, 2) & marked
    drop(kept, marked)
    check_latest(kept, result, tmp_path / "out")


def test_endless_marking_stops_the_run(kept: KeptSite, tmp_path: Path) -> None:
    kept.next_backup()

    def mark_everything() -> None:
        say(kept, marked=tuple(kept.packs()))
        vault_of(kept).before(pack_prefix(WRITER), mark_everything)

    vault_of(kept).before(pack_prefix(WRITER), mark_everything)
    with pytest.raises(StoreUnavailable, match="in each of 3"):
        kept.next_backup()
    assert [stat.name for stat in kept.vault.list(snapshot_prefix(WRITER))] == [
        snapshot_name(WRITER, 1)
    ]
    vault_of(kept).hooks.clear()
    check_latest(kept, kept.next_backup(), tmp_path / "out")


def test_interim_points_do_not_use_marked_packs(kept: KeptSite, tmp_path: Path) -> None:
    kept.next_backup()
    marked = kept.packs()
    for number in range(6):
        (kept.source / f"{number}.wav").write_bytes(noise(4000 * KIB, number + 50))
    vault_of(kept).before(pack_prefix(WRITER), lambda: say(kept, marked=tuple(marked)))
    kept.days(1)
    result = kept.site.back_up(kept.source, interim_packs=1)
    for sequence in range(2, result.sequence + 1):
        assert not needed_by(kept, sequence) & marked
    check_latest(kept, result, tmp_path / "out")


def test_hidden_record_does_not_restore_a_marked_pack(kept: KeptSite, tmp_path: Path) -> None:
    kept.next_backup()
    marked = kept.packs()
    say(kept, marked=tuple(marked))
    kept.next_backup()
    hidden = load_retention_log(kept.vault, load_root_chain(kept.vault)).head
    assert hidden is not None
    vault_of(kept).lose(keep_name(hidden.number))
    result = kept.next_backup()
    assert any("rolled back" in warning for warning in result.warnings)
    assert result.is_store_damaged
    assert not needed_by(kept, 3) & marked
    assert named_by(kept, 3).keep_record == hidden, "the gap stays visible"
    assert any(
        finding.object == keep_name(hidden.number) and finding.severity == "error"
        for finding in verify(kept.vault).findings
    )
    drop(kept, marked)
    check_latest(kept, result, tmp_path / "out")


def test_replacement_keeper_is_heeded_from_its_first_record(kept: KeptSite, tmp_path: Path) -> None:
    kept.next_backup()
    say(kept, marked=tuple(kept.packs()))
    kept.next_backup()
    last = load_retention_log(kept.vault, load_root_chain(kept.vault)).head
    # The owner trusts the keeper up to that record and not beyond it.
    trust = load_root_chain(kept.vault)
    (grant,) = trust.root.keepers
    say(kept, marked=())
    assert last is not None
    cut = replace(grant, trusted_through=last.number, trusted_sha256=last.sha256)
    sign_root(kept.site, keepers=(cut,))
    result = kept.next_backup()
    assert result.warnings == ()
    assert named_by(kept, 3).keep_record == last
    check_latest(kept, result, tmp_path / "out")


def test_marked_packs_of_other_writers_are_ignored(kept: KeptSite) -> None:
    kept.next_backup()
    say(kept, marked=tuple(("desk-2", sha256) for _, sha256 in kept.packs()))
    assert kept.next_backup().warnings == ()


def test_writer_removed_during_its_run_commits_nothing(kept: KeptSite) -> None:
    kept.next_backup()
    trust = load_root_chain(kept.vault)
    (grant,) = trust.root.writers
    cut = replace(grant, trusted_through=1)
    vault_of(kept).before(pack_prefix(WRITER), lambda: sign_root(kept.site, writers=(cut,)))
    with pytest.raises(UsageError, match="no longer trusts these keys"):
        kept.next_backup()
    assert kept.points() == list(kept.trees) == [f"{WRITER}/0000000001"]
    kept.check()


def test_root_records_vanishing_during_the_run_stop_it(kept: KeptSite) -> None:
    kept.next_backup()
    newest = load_root_chain(kept.vault).root.number
    vault_of(kept).before(
        pack_prefix(WRITER), lambda: vault_of(kept).lose(f"pub/root/{newest:010d}")
    )
    with pytest.raises(Damaged, match="it is missing"):
        kept.next_backup()


def test_snapshot_names_the_newest_root_record(kept: KeptSite, tmp_path: Path) -> None:
    vault_of(kept).before(pack_prefix(WRITER), lambda: sign_root(kept.site))
    result = kept.next_backup()
    assert named_by(kept, 1).root_record == load_root_chain(kept.vault).links[-1]
    check_latest(kept, result, tmp_path / "out")


# Sparse packs


def fill(source: Path, files: int) -> None:
    source.mkdir()
    for number in range(files):
        (source / f"{number:03}.wav").write_bytes(noise(400 * KIB, number))


def test_used_content_of_sparse_pack_moves_after_lock(kept: KeptSite, tmp_path: Path) -> None:
    fill(kept.source, 80)
    kept.site.back_up(kept.source)
    old = {pack for pack in kept.packs() if len(kept.vault.get(pack_name(*pack))) > 10_000_000}
    assert len(old) == 2
    for number in range(80):
        if number % 8:
            (kept.source / f"{number:03}.wav").unlink()
    for point in (2, 3):  # a run finds sparse packs only from the point before
        kept.days(5)
        young = kept.site.back_up(kept.source)
        assert needed_by(kept, point) >= old, "locked for 30 days: moving it would free nothing"
        assert young.bytes_new < 100 * KIB
    kept.days(30)
    result = kept.site.back_up(kept.source)
    assert not needed_by(kept, 4) & old
    assert result.warnings == ()
    assert 3_900 * KIB < result.bytes_new < 4_400 * KIB, "what is in use, and nothing else"
    check_latest(kept, result, tmp_path / "out")

    # The keeper removes the old packs when the points that still need them have expired.
    kept.rules = RetentionRules(monthly=timedelta(0), weekly=timedelta(0), daily=timedelta(0))
    for _ in range(6):
        kept.days(20)
        kept.site.back_up(kept.source)
        kept.keep(max_percent=100)
    assert not kept.packs() & old
    check_latest(kept, kept.site.back_up(kept.source), tmp_path / "again")
    assert verify(kept.vault, keys=kept.site.keys, identity=kept.site.identity, read=True).is_sound


def test_store_lock_decides_age_of_sparse_pack(tmp_path: Path) -> None:
    clock = Clock()
    lock = ObjectLock(mode="COMPLIANCE", days=90)
    kept = kept_site(tmp_path / "site", HookedVault(clock, lock), clock)
    fill(kept.source, 45)
    kept.site.back_up(kept.source)
    old = {pack for pack in kept.packs() if len(kept.vault.get(pack_name(*pack))) > 10_000_000}
    for number in range(5, 45):
        (kept.source / f"{number:03}.wav").unlink()
    for days, moves in ((50, False), (10, False), (31, True)):
        kept.days(days)
        result = kept.site.back_up(kept.source)
        assert bool(needed_by(kept, result.sequence) & old) is not moves
    check_latest(kept, result, tmp_path / "out")


def test_small_files_and_dumps_move_as_well(kept: KeptSite, tmp_path: Path) -> None:
    kept.source.mkdir()
    for number in range(300):
        (kept.source / f"note-{number:03}").write_bytes(noise(20 * KIB, number))
    dump = kept.source / "dump.sql"
    dump.write_bytes(noise(9_000 * KIB, 999))
    kept.site.back_up(kept.source)
    old = {pack for pack in kept.packs() if len(kept.vault.get(pack_name(*pack))) > 5_000_000}
    assert len(old) == 1
    dump.write_bytes(dump.read_bytes()[: 900 * KIB])
    for number in range(300):
        if number % 10:
            (kept.source / f"note-{number:03}").unlink()
    kept.days(31)
    kept.site.back_up(kept.source)
    assert needed_by(kept, 2) >= old, "what is in use is known from the run before"
    kept.days(1)
    result = kept.site.back_up(kept.source)
    assert not needed_by(kept, 3) & old
    check_latest(kept, result, tmp_path / "out")


def test_pack_that_is_a_quarter_used_stays(kept: KeptSite) -> None:
    fill(kept.source, 40)
    kept.site.back_up(kept.source)
    for number in range(12, 40):
        (kept.source / f"{number:03}.wav").unlink()
    for _ in range(3):
        kept.days(31)
        result = kept.site.back_up(kept.source)
    assert result.bytes_new < 100 * KIB


def test_content_used_by_another_set_counts(kept: KeptSite, tmp_path: Path) -> None:
    fill(kept.source, 40)
    kept.site.back_up(kept.source)
    kept.site.back_up(kept.source, set_name="weekly")
    for number in range(2, 40):
        (kept.source / f"{number:03}.wav").unlink()
    kept.days(31)
    kept.site.back_up(kept.source)
    kept.days(1)
    result = kept.site.back_up(kept.source)
    assert result.bytes_new < 100 * KIB
    kept.days(1)
    assert kept.site.back_up(kept.source, set_name="weekly").bytes_new < 100 * KIB
    kept.days(1)
    result = kept.site.back_up(kept.source)
    assert 800 * KIB < result.bytes_new < 1100 * KIB
    check_latest(kept, result, tmp_path / "out")


def test_only_so_much_moves_in_one_run(
    kept: KeptSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unusable_packs, "SPARSE_BYTES_PER_RUN", 1_800 * KIB)
    fill(kept.source, 120)
    kept.site.back_up(kept.source)
    for number in range(120):
        if number % 20:
            (kept.source / f"{number:03}.wav").unlink()
    kept.site.back_up(kept.source)
    kept.days(31)
    moved: list[int] = []
    while not moved or moved[-1] > 100 * KIB:
        kept.days(1)
        moved.append(kept.site.back_up(kept.source).bytes_new)
    assert len(moved) >= 3
    assert 2_300 * KIB < sum(moved) < 3_000 * KIB
    # The sparsest pack, and further packs that fit the limit.
    assert 1_500 * KIB < moved[0] < 1_800 * KIB
    check_latest(kept, kept.site.back_up(kept.source), tmp_path / "out")
