"""The highest sequence number, which an attacker may occupy.

Names end at ten digits. If a writer, an owner or a keeper continued after the highest number in
use, one object with the last number could stop it for good.
"""

import hashlib
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from backup.archiver import skipped_sequence_numbers
from backup.checker.verification import verify
from backup.errors import AlreadyThere, Damaged, NotFound, StoreUnavailable, UsageError
from backup.format.object_names import (
    MAX_NUMBER,
    keep_name,
    key_name,
    next_number,
    root_name,
    snapshot_name,
)
from backup.format.snapshot import snapshot_from_bytes, snapshot_to_bytes
from backup.ownership.operations.custodians import add_custodian
from backup.ownership.operations.domains import new_generation
from backup.ownership.operations.writers import new_epoch
from backup.ownership.roster import read_roster
from backup.repository import Repository
from backup.stores.directory import DirectoryStore
from backup.trust.root_chain import load_root_chain
from tests.backup.keep_site import expired_and_marked, ten_weeks, vault_of
from tests.backup.owner_site import OwnedSite, new_person, owned_site
from tests.backup.site import DOMAIN, WRITER, Site
from tests.backup.trees import describe, plain_tree

LAST = snapshot_name(WRITER, MAX_NUMBER)


@pytest.fixture
def owned(tmp_path: Path) -> OwnedSite:
    return owned_site(tmp_path / "site")


@pytest.fixture
def source(tmp_path: Path, owned: OwnedSite) -> Path:
    """Return the source of two backups."""
    source = plain_tree(tmp_path / "source")
    for round_number in (1, 2):
        (source / "note.txt").write_text(f"backup {round_number}\n")
        owned.back_up(source)
    return source


def forge_the_last(owned: OwnedSite) -> None:
    """Put a snapshot with the last possible number."""
    owned.vault.put(LAST, forged(owned, MAX_NUMBER))


def forged(owned: OwnedSite, sequence: int) -> bytes:
    """Sign a snapshot after the second one, with the host's keys."""
    name = snapshot_name(WRITER, 2)
    data = owned.vault.get(name)
    snapshot, sealed = snapshot_from_bytes(data, name)
    link = replace(snapshot.root_record, number=2, sha256=hashlib.sha256(data).hexdigest())
    other = replace(snapshot, sequence=sequence, previous=link, skipped=())
    return snapshot_to_bytes(other, sealed, owned.host.signing_key)


def errors_of(owned: OwnedSite) -> list[str]:
    report = verify(owned.vault, keys=owned.keys, identity=owned.identity, read=True)
    return [one.object for one in report.findings if one.severity == "error"]


def test_next_number_is_lowest_free_after_valid_ones() -> None:
    assert next_number("w/a/s/", 7, {1, 5, 8, 9, 11, MAX_NUMBER}) == 10
    with pytest.raises(Damaged, match="w/a/s/9999999999 has a trusted signature"):
        next_number("w/a/s/", MAX_NUMBER, set())
    with pytest.raises(ValueError, match="is not a valid number"):
        snapshot_name(WRITER, MAX_NUMBER + 1)


def test_junk_is_named_until_a_point_follows(
    owned: OwnedSite, source: Path, tmp_path: Path
) -> None:
    owned.vault.put(LAST, b"junk")
    assert errors_of(owned) == [LAST]
    made = owned.back_up(source)
    assert (made.point, made.has_invalid_snapshots) == (f"{WRITER}/0000000003", True)
    assert errors_of(owned) == []
    repository = owned.repository()
    assert repository.resolve("latest").sequence == 3
    assert repository.damaged == {}
    assert owned.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)


def test_forged_last_point_ends_with_new_epoch(
    owned: OwnedSite, source: Path, tmp_path: Path
) -> None:
    forge_the_last(owned)
    with pytest.raises(Damaged, match="end the trust"):
        owned.back_up(source)
    new_epoch(owned.office, writer=WRITER, trusted_through=2, host_dir=owned.folder / "rebuilt")
    (source / "note.txt").write_text("after the forger\n")
    rebuilt = {"host": owned.host_of("rebuilt"), "send_log": owned.folder / "rebuilt/send.log"}
    for sequence in (3, 4):
        made = owned.back_up(source, **rebuilt)
        assert made.point == f"{WRITER}/{sequence:010d}"
    assert errors_of(owned) == []
    assert owned.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)


def test_root_record_precedes_junk_and_stolen_keys_fail(
    owned: OwnedSite, source: Path, tmp_path: Path
) -> None:
    owned.vault.put(root_name(MAX_NUMBER), b"junk")
    told = new_epoch(
        owned.office, writer=WRITER, trusted_through=2, host_dir=owned.folder / "rebuilt"
    )
    assert told["root"] == load_root_chain(owned.vault).root.number == 1
    with pytest.raises(UsageError, match="no longer trusts these keys"):
        owned.back_up(source)
    owned.back_up(source, host=owned.host_of("rebuilt"), send_log=owned.folder / "rebuilt/send.log")
    assert owned.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)


def test_keys_are_encrypted_again_despite_junk(
    owned: OwnedSite, source: Path, tmp_path: Path
) -> None:
    owned.keys.put(key_name(DOMAIN, 0, MAX_NUMBER), b"junk")
    owned.keys.put(key_name(DOMAIN, MAX_NUMBER, 0), b"junk")
    lee, lees = new_person("Lee")
    add_custodian(owned.office, custodian=lee, identity=owned.identity)
    new_generation(owned.office, domain=DOMAIN)
    assert load_root_chain(owned.vault).root.domains[-1].generation == 1
    owned.back_up(source)
    for identity in (owned.identity, lees):
        repository = Repository.open(owned.vault, owned.keys, identity)
        out = tmp_path / f"out-{identity is lees}"
        for point in (f"{WRITER}/2", f"{WRITER}/3"):
            result = repository.restore(repository.resolve(point), out / point)
            assert result.problems == ()
            assert describe(out / point / "files") == describe(source)


def test_keeper_continues_despite_junk_in_last_slots(tmp_path: Path) -> None:
    kept = ten_weeks(tmp_path / "site")
    kept.vault.put(keep_name(MAX_NUMBER), b"junk")
    kept.vault.put(LAST, b"junk")
    kept.next_backup()
    expired_and_marked(kept)
    kept.days(8)
    assert kept.keep().removed
    vault = vault_of(kept)
    vault.lose(keep_name(MAX_NUMBER))  # `check` expects no finding
    kept.check()


def test_writer_of_every_slot_stops_only_the_run(
    owned: OwnedSite, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    put = owned.vault.put

    def burn_first(name: str, data: bytes | bytearray | memoryview) -> None:
        if "/s/" in name:
            put(name, b"junk")
        put(name, data)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(owned.vault, "put", burn_first)
        with pytest.raises(AlreadyThere, match="100 sequence numbers"):
            owned.back_up(source)
    made = owned.back_up(source)
    assert made.point == f"{WRITER}/0000000103"
    assert errors_of(owned) == []
    assert owned.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)


@pytest.fixture
def reads(owned: OwnedSite) -> Counter[str]:
    """Count the reads of each object of the vault since the last reset."""
    seen: Counter[str] = Counter()
    owned.vault.before_read = lambda name: seen.update([name])
    return seen


FAR = [MAX_NUMBER - number for number in range(12)]


def test_junk_is_read_once_per_host(
    owned: OwnedSite, source: Path, reads: Counter[str], tmp_path: Path
) -> None:
    junk = {snapshot_name(WRITER, number) for number in (4, 5, 900, *FAR)}
    for name in junk:
        owned.vault.put(name, b"junk")
    for round_number in range(3):
        reads.clear()
        made = owned.back_up(source)
        assert made.has_invalid_snapshots == (round_number == 0)
        assert {name for name in junk if reads[name]} == (junk if round_number == 0 else set())
        assert not any(reads[name] > 1 for name in junk)
    assert made.point == f"{WRITER}/0000000007"
    owned.vault.replace(LAST, b"other junk")
    new_generation(owned.office, domain=DOMAIN)
    reads.clear()
    owned.back_up(source)
    assert {name for name in junk if reads[name]} >= {snapshot_name(WRITER, n) for n in FAR}
    assert errors_of(owned) == []
    assert owned.restore("latest", tmp_path / "out").problems == ()


@pytest.mark.parametrize(("most", "most_bytes"), [(5, 3000), (3, 5000)])
def test_distant_junk_is_read_in_parts_and_reported(
    owned: OwnedSite,
    source: Path,
    reads: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    most_bytes: int,
) -> None:
    monkeypatch.setattr(skipped_sequence_numbers, "MAX_FAR", most)
    monkeypatch.setattr(skipped_sequence_numbers, "MAX_FAR_BYTES", most_bytes)
    for number in FAR:
        owned.vault.put(snapshot_name(WRITER, number), bytes(1000))
    for read, left in ((3, 9), (3, 6), (3, 3), (3, 0), (0, 0)):
        reads.clear()
        made = owned.back_up(source)
        assert sum(reads[snapshot_name(WRITER, number)] for number in FAR) == read
        assert made.has_invalid_snapshots == bool(left)
        assert any(f": {left} snapshots," in one for one in made.warnings) == bool(left)
    assert errors_of(owned) == []


def test_clones_point_that_replaced_equal_junk_is_found(
    owned: OwnedSite, source: Path, tmp_path: Path
) -> None:
    point = forged(owned, 9)
    owned.vault.put(snapshot_name(WRITER, 9), bytes(len(point)))
    assert owned.back_up(source).point == f"{WRITER}/0000000003"
    owned.vault.remove(snapshot_name(WRITER, 9))
    owned.vault.put(snapshot_name(WRITER, 9), point)
    made = owned.back_up(source)
    assert (made.point, made.has_foreign_point) == (f"{WRITER}/0000000010", True)
    assert owned.restore(made.point, tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)


def test_clones_point_is_found_before_distant_junk(
    owned: OwnedSite, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(skipped_sequence_numbers, "MAX_FAR", 0)
    shutil.copytree(owned.folder / "state", tmp_path / "clone")
    for number in FAR:
        owned.vault.put(snapshot_name(WRITER, number), b"junk")
    clone = owned.back_up(source, send_log=tmp_path / "clone/send.log")
    assert (clone.point, clone.has_foreign_point) == (f"{WRITER}/0000000003", False)
    made = owned.back_up(source)
    assert (made.point, made.has_foreign_point) == (f"{WRITER}/0000000004", True)
    assert errors_of(owned) == []


def test_host_without_cache_continues_after_newest_point(
    owned: OwnedSite, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a cache, each slot is read, even the last one."""
    monkeypatch.setattr(skipped_sequence_numbers, "NEAR", 1)
    monkeypatch.setattr(skipped_sequence_numbers, "MAX_FAR", 0)
    owned.back_up(source)
    shutil.rmtree(owned.send_log.parent)
    (source / "note.txt").write_text("the fourth backup\n")
    made = owned.back_up(source)
    assert (made.point, made.has_foreign_point, made.has_invalid_snapshots) == (
        f"{WRITER}/0000000004",
        False,
        False,
    )
    assert errors_of(owned) == []
    assert owned.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)


def test_folder_in_a_slot_takes_only_that_number(
    tmp_path: Path,
) -> None:
    site = Site(
        folder=tmp_path / "site",
        vault=DirectoryStore(tmp_path / "vault"),
        keys=DirectoryStore(tmp_path / "keys"),
    ).create()
    source = plain_tree(tmp_path / "source")
    site.back_up(source)
    for number in (2, 4, MAX_NUMBER):
        site.vault.put(f"{snapshot_name(WRITER, number)}/x", b"junk")
    for point, has_invalid_snapshots in ((3, True), (5, False), (6, False)):
        made = site.back_up(source)
        assert (made.point, made.has_invalid_snapshots) == (
            f"{WRITER}/{point:010d}",
            has_invalid_snapshots,
        )
    report = verify(site.vault, keys=site.keys, identity=site.identity, read=True)
    assert [one for one in report.findings if one.severity == "error"] == []
    assert site.restore("latest", tmp_path / "out").problems == ()


def test_junk_beside_the_head_does_not_hide_it(site: Site, tmp_path: Path) -> None:
    source = plain_tree(tmp_path / "source")
    for _ in range(2):
        site.back_up(source)
    site.vault.put(f"{snapshot_name(WRITER, 2)}/x", b"junk")
    made = site.back_up(source)
    assert (made.point, made.has_foreign_point, made.has_invalid_snapshots) == (
        f"{WRITER}/0000000003",
        False,
        False,
    )
    assert made.warnings == ()
    assert made.bytes_read == 0
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)


def test_junk_read_by_interrupted_run_is_not_repeated(
    owned: OwnedSite, source: Path, reads: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skipped_sequence_numbers, "STORED_AFTER_SLOTS", 2)
    for number in FAR:
        owned.vault.put(snapshot_name(WRITER, number), b"junk")
    count = owned.vault.before_read

    def cut_off(name: str) -> None:
        if name == snapshot_name(WRITER, FAR[7]):
            raise StoreUnavailable("the network is gone; try again")
        count(name)

    owned.vault.before_read = cut_off
    with pytest.raises(StoreUnavailable):
        owned.back_up(source)
    owned.vault.before_read = count
    owned.back_up(source)
    assert sorted(reads[snapshot_name(WRITER, number)] for number in FAR) == [1] * 11 + [2]


def test_oversize_snapshot_is_never_read(
    owned: OwnedSite, source: Path, reads: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backup.trust.snapshot_slots.MAX_SNAPSHOT_BYTES", 100_000)
    owned.vault.put(LAST, bytes(100_001))
    assert owned.back_up(source).has_invalid_snapshots
    assert errors_of(owned) == []
    assert owned.repository().points()
    assert read_roster(owned.vault, owned.keys).writers[0].newest is not None
    assert reads[LAST] == 0


def test_reader_and_keeper_read_junk_once(tmp_path: Path) -> None:
    kept = ten_weeks(tmp_path / "site")
    kept.vault.put(LAST, b"junk")
    seen: list[str] = []
    vault_of(kept).before_read = seen.append
    repository = Repository.open(kept.vault)
    with pytest.raises(NotFound):
        repository.resolve("77")
    assert seen.count(LAST) == 1
    seen.clear()
    kept.days(8)
    kept.keep(max_percent=50)
    assert seen.count(LAST) == 1
