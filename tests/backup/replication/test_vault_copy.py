"""A copy of the vault at a second site: whole, incremental, always valid."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backup.checker.verification import verify
from backup.errors import AlreadyThere, BackupError, NotFound, StoreUnavailable, UsageError
from backup.format.keep_record import KeepRecord, keep_to_bytes
from backup.format.object_names import keep_name
from backup.ownership.operations.custodians import add_custodian, retire_custodian
from backup.ownership.operations.keepers import retire_keeper, set_keeper
from backup.ownership.operations.writers import add_writer, new_epoch
from backup.replication.vault_copy import replicate_vault
from backup.repository import Repository
from backup.retention.keeper_key import Keeper
from backup.stores import Stat, Store
from backup.trust.retention_log import load_retention_log
from backup.trust.root_chain import RootChain, load_root_chain
from backup.trust.snapshot_history import SnapshotHistory
from backup.trust.snapshot_slots import Slot, read_history
from tests.backup.memory_stores import MemoryStore
from tests.backup.owner_site import KeyDrawer, OwnedSite, new_person, owned_site
from tests.backup.site import DOMAIN, WRITER, Died, DyingStore, TamperedStore, new_site
from tests.backup.trees import KIB, describe, noise, plain_tree


@pytest.fixture
def owned(tmp_path: Path) -> OwnedSite:
    """Three writers' epochs, four points, and a keeper that removed packs."""
    site = owned_site(tmp_path / "site")
    source = plain_tree(tmp_path / "source")
    site.back_up(source)
    set_keeper(site.office, keeper_file=site.folder / "keeper.json")
    (source / "large").write_bytes(noise(700 * KIB, 3))
    site.back_up(source)
    add_writer(site.office, name="desk-2", domain=DOMAIN, host_dir=site.folder / "two")
    site.back_up(source, host=site.host_of("two"), send_log=site.folder / "two.log")
    new_epoch(site.office, writer=WRITER, trusted_through=2, host_dir=site.folder / "new")
    expire(site, 1)
    site.back_up(source, host=site.host_of("new"))
    return site


def expire(site: OwnedSite, sequence: int) -> None:
    """Run retention for weeks: expire a point, mark its packs, drop them."""
    trust = load_root_chain(site.vault)
    history = SnapshotHistory(WRITER, read_history(site.vault, trust, WRITER))
    needed = {n: history.needed_packs(n) for n in history.snapshots}
    others = set().union(*(packs for n, packs in needed.items() if n != sequence))
    packs = tuple((WRITER, sha256) for sha256 in sorted(needed[sequence] - others))
    assert packs
    for change in (
        {"expired": ((WRITER, sequence),)},
        {"marked": packs},
        {"dropped": packs},
    ):
        record_keeping(site, change)
    for _, sha256 in packs:
        site.vault.remove(f"w/desk-1/p/{sha256[:2]}/{sha256}")


def record_keeping(site: OwnedSite, change: dict[str, Any]) -> None:
    """Put the keeper's next record, dated a week before the others."""
    keeper = Keeper.load(site.folder / "keeper.json")
    trust = load_root_chain(site.vault)
    keeps = load_retention_log(site.vault, trust)
    number = keeps.next_number
    record = KeepRecord(
        repository=trust.root.repository,
        number=number,
        previous=keeps.head,
        root_record=trust.links[-1],
        created=site.clock(),
        **change,
    )
    site.vault.put(keep_name(number), keep_to_bytes(record, keeper.key))
    site.clock.forward(days=8)


def check_copy(site: OwnedSite, copy: TamperedStore, source: Path, out: Path) -> None:
    assert verify(copy, keys=site.keys, identity=site.identity, read=True).is_sound
    repository = Repository.open(copy, site.keys, site.identity)
    points = repository.points()
    assert [point.name for point in points] == [p.name for p in site.repository().points()]
    assert len(points) >= 3
    for point in points:
        place = out / point.name.replace("/", "-")
        assert repository.restore(point, place).problems == ()
        assert describe(place / "files") == describe(source)


def test_copy_verifies_and_restores_like_the_vault(owned: OwnedSite, tmp_path: Path) -> None:
    copy = TamperedStore(now=owned.clock)
    report = replicate_vault(owned.vault, copy)
    assert report.findings == ()
    assert copy.names() == owned.vault.names()
    check_copy(owned, copy, tmp_path / "source", tmp_path / "out")
    counts = report.counts
    assert counts["root records"].copied == 4
    assert counts["documents"].copied == 2
    assert counts["keep records"].copied == 3
    assert counts["snapshots"].copied == 4
    assert counts["packs"].copied == len([name for name in copy.names() if "/p/" in name])
    assert counts["key records"].copied == 0


def test_second_copy_reads_only_new_objects(owned: OwnedSite, tmp_path: Path) -> None:
    copy = TamperedStore(now=owned.clock)
    replicate_vault(owned.vault, copy)
    again = replicate_vault(owned.vault, copy)
    assert all(count.copied == 0 for count in again.counts.values())
    (tmp_path / "source/note.txt").write_text("tomorrow")
    owned.back_up(tmp_path / "source", host=owned.host_of("new"))
    names_read: list[str] = []
    owned.vault.before_read = names_read.append
    third = replicate_vault(owned.vault, copy)
    packs_read = [name for name in names_read if "/p/" in name]
    assert third.counts["snapshots"].copied == 1
    assert third.counts["packs"].copied == len(packs_read) > 0
    assert copy.names() == owned.vault.names()


def test_interrupted_copy_is_a_repository_and_continues(owned: OwnedSite, tmp_path: Path) -> None:
    source = tmp_path / "source"
    whole = DyingStore(now=owned.clock)
    replicate_vault(owned.vault, whole)
    for dies in (True, False):
        for at in range(0, whole.puts, 1 if dies else 4):
            copy = DyingStore(now=owned.clock)
            # The copy dies before each put in turn. If a put fails, its object is stored and its
            # answer is lost.
            copy.puts_left, copy.dies, copy.is_stored = at, dies, not dies
            with pytest.raises((Died, StoreUnavailable)):
                replicate_vault(owned.vault, copy)
            copy.puts_left = None
            check_half(owned, copy)
            report = replicate_vault(owned.vault, copy)
            assert report.is_whole
            assert copy.names() == owned.vault.names()
    check_copy(owned, copy, source, tmp_path / "out")


def test_point_follows_the_keep_record_it_saw(
    tmp_path: Path,
) -> None:
    site = owned_site(tmp_path / "site")
    source = plain_tree(tmp_path / "source")
    site.back_up(source)
    set_keeper(site.office, keeper_file=site.folder / "keeper.json")
    site.back_up(source)
    record_keeping(site, {"expired": ((WRITER, 1),)})
    site.back_up(source)
    whole = DyingStore(now=site.clock)
    replicate_vault(site.vault, whole)
    for at in range(whole.puts):
        copy = DyingStore(now=site.clock)
        copy.puts_left = at
        with pytest.raises(Died):
            replicate_vault(site.vault, copy)
        copy.puts_left = None
        check_half(site, copy)
    assert replicate_vault(site.vault, copy).is_whole
    result = Repository.open(copy, site.keys, site.identity)
    assert result.restore(result.resolve("latest"), tmp_path / "out").problems == ()
    assert describe(tmp_path / "out/files") == describe(source)


class ContradictingStore(TamperedStore):
    """A store that reports snapshots as present and does not store them."""

    is_contradicting = True

    def _put(self, name: str, data: bytes | bytearray | memoryview) -> None:
        if self.is_contradicting and "/s/" in name:
            raise AlreadyThere(f"{name} is already there; nothing was changed")
        super()._put(name, data)


def test_falsely_present_point_is_checked_next_time(owned: OwnedSite, tmp_path: Path) -> None:
    copy = ContradictingStore(now=owned.clock)
    with pytest.raises(StoreUnavailable, match=r"storing w/desk-.*/s/.*Run again") as failed:
        replicate_vault(owned.vault, copy)
    assert failed.value.exit_code == 1
    copy.is_contradicting = False
    assert replicate_vault(owned.vault, copy).is_whole
    check_copy(owned, copy, tmp_path / "source", tmp_path / "out")


def check_half(site: OwnedSite, copy: DyingStore) -> None:
    """Assert that a partial copy has no point without packs, and no gaps."""
    if not copy.names("pub/root/"):
        assert not copy.names("w/")
        return
    report = verify(copy, read=True)
    assert report.is_sound, report.findings
    repository = Repository.open(copy, site.keys, site.identity)
    for point in repository.points():
        _, _, reader = repository.open_point(point)
        assert reader is not None
        assert list(repository.entries(point))


def test_killed_update_costs_no_point_of_the_copy(owned: OwnedSite, tmp_path: Path) -> None:
    """Old points expire during the pause; newer ones are copied first."""
    source = tmp_path / "source"
    base = DyingStore(now=owned.clock)
    replicate_vault(owned.vault, base)
    owned.back_up(source, host=owned.host_of("new"))
    expire(owned, 2)
    dry = DyingStore(now=owned.clock)
    dry._objects = dict(base._objects)
    replicate_vault(owned.vault, dry)
    for at in range(dry.puts):
        copy = DyingStore(now=owned.clock)
        copy._objects = dict(base._objects)
        copy.puts_left = at
        with pytest.raises(Died):
            replicate_vault(owned.vault, copy)
        copy.puts_left = None
        assert verify(copy, read=True).is_sound
        there = {point.name for point in Repository.open(copy).points()}
        assert there & {f"{WRITER}/0000000002", f"{WRITER}/0000000004"}, "neither old nor new"
        point = Repository.open(copy, owned.keys, owned.identity).resolve("desk-2/latest")
        repository = Repository.open(copy, owned.keys, owned.identity)
        assert repository.restore(point, tmp_path / f"out-{at}").problems == ()
        assert replicate_vault(owned.vault, copy).is_whole


def test_missing_pack_is_named_and_copied_later(owned: OwnedSite, tmp_path: Path) -> None:
    name = max(owned.vault.names("w/desk-2/p/"), key=lambda name: len(owned.vault.get(name)))
    data = owned.vault.get(name)
    owned.vault.remove(name)
    copy = TamperedStore(now=owned.clock)
    report = replicate_vault(owned.vault, copy)
    assert {one.object: one.severity for one in report.findings} == {name: "error"}
    assert not report.is_whole
    owned.vault.put(name, data)
    assert replicate_vault(owned.vault, copy).is_whole
    check_copy(owned, copy, tmp_path / "source", tmp_path / "out")


def test_root_record_signed_during_copy_is_included(
    owned: OwnedSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def meanwhile(vault: Store, trust: RootChain, writer: str) -> Iterator[Slot]:
        if not begun:
            begun.append(writer)
            host_dir = owned.folder / "newer"
            new_epoch(owned.office, writer="desk-2", trusted_through=1, host_dir=host_dir)
            host, log = owned.host_of("newer"), owned.folder / "newer.log"
            owned.back_up(tmp_path / "source", host=host, send_log=log)
        return read_history(vault, trust, writer)

    monkeypatch.setattr("backup.replication.vault_copy.read_history", meanwhile)
    copy = TamperedStore(now=owned.clock)
    assert replicate_vault(owned.vault, copy).findings == ()
    assert copy.names() == owned.vault.names()
    check_copy(owned, copy, tmp_path / "source", tmp_path / "out")


def test_damaged_pack_is_named_and_copied_once_repaired(owned: OwnedSite, tmp_path: Path) -> None:
    name = max((n for n in owned.vault.names("w/desk-2/p/")), key=lambda n: len(owned.vault.get(n)))
    whole = owned.vault.get(name)
    owned.vault.replace(name, whole[:-1] + bytes([whole[-1] ^ 1]))
    copy = TamperedStore(now=owned.clock)
    report = replicate_vault(owned.vault, copy)
    (finding,) = report.findings
    assert (finding.severity, finding.object) == ("error", name)
    assert not report.is_whole
    assert name not in copy.names()
    missing = [f.object for f in verify(copy).findings if f.severity == "error"]
    assert missing == [name]
    owned.vault.replace(name, whole)
    assert replicate_vault(owned.vault, copy).is_whole
    check_copy(owned, copy, tmp_path / "source", tmp_path / "out")


@pytest.mark.parametrize("is_cut", [True, False])
def test_object_of_other_size_is_reported_and_replaceable(
    owned: OwnedSite, tmp_path: Path, is_cut: bool
) -> None:
    copy = TamperedStore(now=owned.clock)
    replicate_vault(owned.vault, copy)
    snapshots = [name for name in copy.names() if "/s/" in name]
    others = [name for name in copy.names() if "/p/" in name][:2] + snapshots[:1] + snapshots[-1:]
    others += [name for name in copy.names() if name.startswith("pub/reader/")]
    for name in others:
        copy.replace(name, copy.get(name)[:-1] if is_cut else copy.get(name) + b"!")
    report = replicate_vault(owned.vault, copy)
    assert {finding.object for finding in report.findings} == set(others)
    assert not report.is_whole
    for name in others:
        copy.remove(name)
    filled = replicate_vault(owned.vault, copy)
    assert filled.is_whole
    assert sum(count.copied for count in filled.counts.values()) == len(others)
    check_copy(owned, copy, tmp_path / "source", tmp_path / "out")


@pytest.mark.parametrize(
    "name",
    [
        "pub/root/0000000003",
        "pub/keep/0000000001",
        "w/desk-2/s/0000000001",
        "pub/format/*",
        "pub/reader/*",
    ],
)
def test_any_damaged_object_is_named_and_not_copied(owned: OwnedSite, name: str) -> None:
    if name.endswith("*"):
        name = owned.vault.names(name[:-1])[0]
    data = bytearray(owned.vault.get(name))
    data[len(data) // 3] ^= 1
    owned.vault.replace(name, bytes(data))
    copy = TamperedStore(now=owned.clock)
    report = replicate_vault(owned.vault, copy)
    assert name in {finding.object for finding in report.findings}
    assert name not in copy.names()


def test_junk_and_foreign_objects_are_not_copied(owned: OwnedSite) -> None:
    owned.vault.put("pub/keep/0000000007", b"junk" * 50)
    owned.vault.put("w/desk-1/s/0000000009", b"junk" * 50)
    owned.vault.put("w/stranger/p/ab/" + "ab" * 32, b"junk")
    owned.vault.put("elsewhere", b"junk")
    copy = TamperedStore(now=owned.clock)
    report = replicate_vault(owned.vault, copy)
    assert {"pub/keep/0000000007", "w/desk-1/s/0000000009"} <= {
        finding.object for finding in report.findings
    }
    assert set(owned.vault.names()) - set(copy.names()) == {
        "elsewhere",
        "pub/keep/0000000007",
        "w/desk-1/s/0000000009",
        "w/stranger/p/ab/" + "ab" * 32,
    }
    assert verify(copy).is_sound


def test_target_with_another_repository_is_refused(owned: OwnedSite, tmp_path: Path) -> None:
    other = new_site(tmp_path / "other", TamperedStore())
    assert isinstance(other.vault, TamperedStore)
    before = other.vault.names()
    with pytest.raises(UsageError, match="another repository"):
        replicate_vault(owned.vault, other.vault)
    assert other.vault.names() == before
    with pytest.raises(NotFound, match="no repository"):
        replicate_vault(MemoryStore(), TamperedStore())
    with pytest.raises(BackupError, match="owner"):
        replicate_vault(owned.vault, TamperedStore(now=owned.clock), owner=bytes(32))


def test_copy_newer_than_the_vault_says_so(owned: OwnedSite, tmp_path: Path) -> None:
    """After a rollback of the vault, the copy keeps its objects and says so."""
    kept = owned.vault.copy()
    copy = TamperedStore(now=owned.clock)
    owned.back_up(tmp_path / "source", host=owned.host_of("new"))
    replicate_vault(owned.vault, copy)
    theirs = copy.get("w/desk-1/s/0000000004")
    rolled = DyingStore(now=owned.clock)
    rolled._objects = dict(kept._objects)
    (tmp_path / "source/note.txt").write_text("otherwise")
    owned.vault = rolled
    owned.back_up(tmp_path / "source", host=owned.host_of("new"), send_log=tmp_path / "fresh.log")
    report = replicate_vault(rolled, copy)
    assert "w/desk-1/s/0000000004" in {f.object for f in report.findings if f.severity == "error"}
    assert copy.get("w/desk-1/s/0000000004") == theirs


def test_copy_with_different_keep_record_says_so(owned: OwnedSite, tmp_path: Path) -> None:
    """A person must decide which of the two keep records is right."""
    copy = TamperedStore(now=owned.clock)
    replicate_vault(owned.vault, copy)
    last = owned.vault.names("pub/keep/")[-1]
    data = bytearray(copy.get(last))
    data[len(data) // 3] ^= 1
    copy.replace(last, bytes(data))
    (finding,) = replicate_vault(owned.vault, copy).findings
    assert (finding.severity, finding.object) == ("error", last)
    assert copy.get(last) == data


@pytest.mark.parametrize(
    "name", ["pub/root/0000000003", "pub/keep/0000000002", f"w/{WRITER}/s/0000000003"]
)
def test_record_changed_since_its_check_is_not_copied(
    owned: OwnedSite, tmp_path: Path, name: str
) -> None:
    """The owner signed the record as it was at the first read."""
    copy = TamperedStore(now=owned.clock)
    list_copy, data = copy.list, owned.vault.get(name)

    def change_before(prefix: str) -> Iterator[Stat]:
        owned.vault.replace(name, data[:-1] + bytes([data[-1] ^ 1]))
        return list_copy(prefix)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copy, "list", change_before)  # the records were checked before
        report = replicate_vault(owned.vault, copy)
    owned.vault.replace(name, data)
    assert name in {finding.object for finding in report.findings if finding.severity == "error"}
    assert not report.is_whole
    assert name not in copy.names()
    assert replicate_vault(owned.vault, copy).is_whole
    check_copy(owned, copy, tmp_path / "source", tmp_path / "out")


def test_keys_are_copied_only_to_a_named_store(owned: OwnedSite, tmp_path: Path) -> None:
    copy, keys = TamperedStore(now=owned.clock), KeyDrawer()
    report = replicate_vault(owned.vault, copy, keys=owned.keys, keys_to=keys)
    assert report.counts["key records"].copied == 1
    assert keys.names() == owned.keys.names()
    opened = Repository.open(copy, keys, owned.identity)
    assert opened.restore(opened.resolve("desk-1/latest"), tmp_path / "out").problems == ()
    lee, _ = new_person("Lee")
    add_custodian(owned.office, custodian=lee, identity=owned.identity)
    replicate_vault(owned.vault, copy, keys=owned.keys, keys_to=keys)
    retire_custodian(owned.office, name="Lee", identity=owned.identity)
    stale = replicate_vault(owned.vault, copy, keys=owned.keys, keys_to=keys)
    named = {f.object for f in stale.findings}
    assert named == {f"k/main/0000000000/000000000{n}" for n in (0, 1)}
    assert not stale.is_whole


def test_damaged_key_record_is_not_copied(owned: OwnedSite) -> None:
    """A damaged copy would occupy the name of the valid record."""
    (name,) = owned.keys.names()
    data = owned.keys.get(name)
    owned.keys.replace(name, data[:-1] + bytes([data[-1] ^ 1]))
    keys = KeyDrawer()
    report = replicate_vault(
        owned.vault, TamperedStore(now=owned.clock), keys=owned.keys, keys_to=keys
    )
    assert [finding.object for finding in report.findings] == [name]
    assert not report.is_whole
    assert keys.names() == []
    owned.keys.replace(name, data)
    assert replicate_vault(owned.vault, owned.vault.copy(), keys=owned.keys, keys_to=keys).is_whole
    assert keys.get(name) == data


def test_records_of_retired_keeper_are_copied_if_seen(owned: OwnedSite, tmp_path: Path) -> None:
    """The last point names the superseded record 2; record 1 is not needed."""
    retire_keeper(owned.office, trusted_through=0)
    copy = TamperedStore(now=owned.clock)
    report = replicate_vault(owned.vault, copy)
    assert copy.names("pub/keep/") == ["pub/keep/0000000000", "pub/keep/0000000002"]
    assert {"pub/keep/0000000001", "pub/keep/0000000002"} <= {f.object for f in report.findings}
    there = {f.object for f in verify(copy).findings if f.severity == "error"}
    here = {f.object for f in verify(owned.vault).findings if f.severity == "error"}
    assert there <= here


def test_progress_grows_with_copied_bytes(owned: OwnedSite) -> None:
    told: list[int] = []
    report = replicate_vault(
        owned.vault, TamperedStore(now=owned.clock), progress=lambda p: told.append(p.bytes_done)
    )
    assert told == sorted(told)
    assert told[-1] == sum(count.bytes for count in report.counts.values())
