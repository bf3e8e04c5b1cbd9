"""A lost pack is one finding with its points; junk is counted."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.checker.verification import verify
from backup.format.keep_record import KeepRecord, keep_to_bytes
from backup.format.object_names import (
    keep_name,
    pack_name,
    parse_pack_name,
    root_name,
    snapshot_name,
)
from backup.format.record_link import Link
from backup.format.root_record import KeeperGrant, root_to_bytes
from backup.format.snapshot import snapshot_from_bytes, snapshot_to_bytes
from backup.ownership.operations.writers import add_writer
from backup.records import Finding, VerifyReport
from backup.stores import Stat
from backup.trust.root_chain import load_root_chain
from backup.trust.snapshot_history import SnapshotHistory
from backup.trust.snapshot_slots import read_history
from tests.backup.little_memory import little_memory
from tests.backup.memory_stores import MemoryStore
from tests.backup.owner_site import owned_site
from tests.backup.site import DOMAIN, WRITER, Site, TamperedStore
from tests.backup.trees import KIB, noise, plain_tree


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return plain_tree(tmp_path / "source")


def store_of(site: Site) -> TamperedStore:
    assert isinstance(site.vault, TamperedStore)
    return site.vault


def make_backups(site: Site, source: Path, count: int) -> None:
    for number in range(count):
        (source / f"backup-{number}").write_bytes(noise(300 * KIB, 100 + number))
        site.back_up(source)


def packs_of_content(site: Site, path: bytes) -> set[str]:
    repository = site.repository()
    return {
        pack.hex()
        for entry in repository.entries(repository.resolve("latest"))
        if entry.path == path
        for ref in entry.blobs
        for pack in (ref.pack, ref.next)
        if pack is not None
    }


def deep(site: Site, **more: Any) -> VerifyReport:
    return verify(site.vault, keys=site.keys, identity=site.identity, read=True, **more)


def serious(report: VerifyReport) -> list[Finding]:
    return [finding for finding in report.findings if finding.severity == "error"]


def test_missing_pack_is_one_finding_with_its_points(site: Site, source: Path) -> None:
    make_backups(site, source, 3)
    (pack,) = packs_of_content(site, b"files/backup-1")
    store_of(site).remove(pack_name(WRITER, pack))
    for report in (verify(site.vault), deep(site), verify(site.vault, read=True)):
        (finding,) = serious(report)
        assert finding.object == pack_name(WRITER, pack)
        assert "is missing although a snapshot names it" in finding.problem
        assert "desk-1/0000000002, desk-1/0000000003" in finding.problem
        assert "desk-1/0000000001" not in finding.problem
        assert finding.depth == "looking"


def test_missing_pack_of_pages_is_one_finding(site: Site, source: Path) -> None:
    make_backups(site, source, 2)
    repository = site.repository()
    _, body, _ = repository.open_point(repository.resolve("latest"))
    store_of(site).remove(pack_name(WRITER, body.root_page.pack.hex()))
    (finding,) = serious(deep(site))
    assert finding.object == pack_name(WRITER, body.root_page.pack.hex())
    assert "needed by desk-1/0000000002" in finding.problem


def test_damaged_pack_is_one_finding_with_its_cause(site: Site, source: Path) -> None:
    make_backups(site, source, 2)
    (pack,) = packs_of_content(site, b"files/backup-1")
    name = pack_name(WRITER, pack)
    data = bytearray(site.vault.get(name))
    data[-1] ^= 1
    store_of(site).replace(name, bytes(data))
    assert serious(verify(site.vault)) == []
    for report in (deep(site), verify(site.vault, read=True)):
        (finding,) = serious(report)
        assert (finding.object, finding.depth) == (name, "reading")
        assert "reading" in report.saw
    (finding,) = serious(verify(site.vault, keys=site.keys, identity=site.identity))
    assert (finding.object, finding.depth) == (name, "opening")
    assert "files/backup-1" in finding.problem


def test_damaged_part_of_a_crossing_frame_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / "long.wav").write_bytes(noise(18 * 1024 * KIB))
    site.back_up(tmp_path / "calls")
    repository = site.repository()
    (crossing,) = [
        ref
        for entry in repository.entries(repository.resolve("latest"))
        for ref in entry.blobs
        if ref.next is not None
    ]
    assert crossing.next is not None
    for pack, at in ((crossing.next, 4096), (crossing.pack, -1)):
        name = pack_name(WRITER, pack.hex())
        whole = site.vault.get(name)
        damaged = bytearray(whole)
        damaged[at] ^= 1
        store_of(site).replace(name, bytes(damaged))
        (finding,) = serious(verify(site.vault, keys=site.keys, identity=site.identity))
        assert (finding.object, finding.depth) == (name, "opening")
        assert "files/long.wav" in finding.problem
        store_of(site).replace(name, whole)


def test_lost_pack_named_by_no_snapshot_is_error(site: Site, source: Path) -> None:
    make_backups(site, source, 1)
    (pack,) = packs_of_content(site, b"files/backup-0")
    name = snapshot_name(WRITER, 1)
    snapshot, sealed = snapshot_from_bytes(site.vault.get(name), name)
    hiding = replace(snapshot, packs=tuple(one for one in snapshot.packs if one[0] != pack))
    store_of(site).replace(name, snapshot_to_bytes(hiding, sealed, site.host.signing_key))
    store_of(site).remove(pack_name(WRITER, pack))
    assert serious(verify(site.vault)) == []
    found = {one.object: one.problem for one in serious(deep(site))}
    assert found.keys() == {name, pack_name(WRITER, pack)}
    assert "does not name it as needed" in found[name]
    assert "uses it, but does not list it" in found[pack_name(WRITER, pack)]


@pytest.mark.parametrize("is_cut", [True, False])
def test_a_pack_of_another_size_is_one_finding(site: Site, source: Path, is_cut: bool) -> None:
    make_backups(site, source, 1)
    (pack,) = packs_of_content(site, b"files/backup-0")
    name = pack_name(WRITER, pack)
    data = site.vault.get(name)
    store_of(site).replace(name, data[:-1] if is_cut else data + b"!")
    for report in (verify(site.vault), deep(site)):
        (finding,) = serious(report)
        assert finding.object == name
        assert "bytes, but its snapshot says" in finding.problem


def test_affected_points_are_counted(site: Site, source: Path) -> None:
    make_backups(site, source, 7)
    (pack,) = packs_of_content(site, b"files/backup-0")
    store_of(site).remove(pack_name(WRITER, pack))
    (finding,) = serious(verify(site.vault))
    assert "0000000005 and 2 more recovery points" in finding.problem


class Keeping:
    """A keeper that the owner trusts, and its chain of records."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.key = Ed25519PrivateKey.generate()
        owner = Ed25519PrivateKey.from_private_bytes(
            bytes.fromhex(json.loads((site.folder / "owner.json").read_bytes())["owner_key"])
        )
        last = load_root_chain(site.vault)
        before = site.vault.get(root_name(last.root.number))
        root = replace(
            last.root,
            number=last.root.number + 1,
            previous=hashlib.sha256(before).digest(),
            keepers=(
                KeeperGrant(
                    key=self.key.public_key().public_bytes_raw(),
                    trusted_through=None,
                ),
            ),
        )
        site.vault.put(root_name(root.number), root_to_bytes(root, owner))
        self.root = load_root_chain(site.vault).links[-1]
        self.previous: Link | None = None
        self.number = 0

    def says(self, **more: Any) -> str:
        record = KeepRecord(
            repository=self.site.host.repository,
            number=self.number,
            previous=self.previous,
            root_record=self.root,
            created=datetime.now(UTC),
            **more,
        )
        data = keep_to_bytes(record, self.key)
        name = keep_name(self.number)
        self.site.vault.put(name, data)
        self.previous = Link(number=self.number, sha256=hashlib.sha256(data).hexdigest())
        self.number += 1
        return name


@pytest.fixture
def kept(site: Site, source: Path) -> tuple[Site, set[str]]:
    """Make three backups; no later point needs one pack of the first backup."""
    (source / "gone").write_bytes(noise(300 * KIB, 7))
    make_backups(site, source, 1)
    (source / "gone").unlink()
    make_backups(site, source, 2)
    history = SnapshotHistory(WRITER, read_history(site.vault, load_root_chain(site.vault), WRITER))
    only_first = history.needed_packs(1) - history.needed_packs(2) - history.needed_packs(3)
    assert only_first
    return site, only_first


def test_freed_pack_of_expired_point_is_no_damage(
    kept: tuple[Site, set[str]],
) -> None:
    site, packs = kept
    keeper = Keeping(site)
    ids = tuple((WRITER, pack) for pack in packs)
    keeper.says(expired=((WRITER, 1),), marked=ids)
    keeper.says(dropped=ids)
    assert serious(deep(site)) == []
    for pack in packs:
        store_of(site).remove(pack_name(WRITER, pack))
    report = deep(site)
    assert report.findings == ()
    assert report.points == 3


def test_lost_pack_of_expired_point_is_a_warning(
    kept: tuple[Site, set[str]],
) -> None:
    site, packs = kept
    Keeping(site).says(expired=((WRITER, 1),))
    for pack in packs:
        store_of(site).remove(pack_name(WRITER, pack))
    report = deep(site)
    assert serious(report) == []
    assert {f.object for f in report.findings} == {pack_name(WRITER, pack) for pack in packs}
    assert all("only expired recovery points" in f.problem for f in report.findings)


def test_freed_but_needed_pack_is_named(kept: tuple[Site, set[str]]) -> None:
    site, _ = kept
    keeper = Keeping(site)
    (pack,) = packs_of_content(site, b"files/backup-1")
    keeper.says(dropped=((WRITER, pack),))
    (finding,) = serious(verify(site.vault))
    assert finding.object == pack_name(WRITER, pack)
    assert finding.problem.startswith("was dropped by the keeper, but still exists; needed by")
    store_of(site).remove(pack_name(WRITER, pack))
    (finding,) = serious(deep(site))
    assert finding.problem.startswith("was dropped by the keeper, and is missing")


def test_distrusted_pack_is_warning_when_unused_by_newest(
    kept: tuple[Site, set[str]],
) -> None:
    site, packs = kept
    pack = min(packs)
    store_of(site).remove(pack_name(WRITER, pack))
    assert len(serious(verify(site.vault))) == 1
    Keeping(site).says(distrusted=((WRITER, pack),))
    report = verify(site.vault)
    (finding,) = report.findings
    assert (finding.severity, finding.object) == ("warning", pack_name(WRITER, pack))
    assert "desk-1/0000000001" in finding.problem


def test_distrusted_pack_needed_by_newest_is_error(
    kept: tuple[Site, set[str]],
) -> None:
    """Only the next backup of the writer stores the content again."""
    site, _ = kept
    (pack,) = packs_of_content(site, b"files/backup-1")
    store_of(site).remove(pack_name(WRITER, pack))
    Keeping(site).says(distrusted=((WRITER, pack),))
    (finding,) = serious(verify(site.vault))
    assert finding.object == pack_name(WRITER, pack)


def test_newer_point_of_another_set_heals_nothing(site: Site, source: Path) -> None:
    make_backups(site, source, 1)
    (pack,) = packs_of_content(site, b"files/backup-0")
    store_of(site).remove(pack_name(WRITER, pack))
    (source / "backup-0").unlink()
    site.back_up(source, set_name="other")
    assert serious(verify(site.vault, distrusted=[(WRITER, pack)]))
    site.back_up(source)
    assert not serious(verify(site.vault, distrusted=[(WRITER, pack)]))


def test_expiry_of_one_writer_excuses_no_other(tmp_path: Path) -> None:
    owned = owned_site(tmp_path / "site")
    source = plain_tree(tmp_path / "source")
    owned.back_up(source)
    add_writer(owned.office, name="desk-2", domain=DOMAIN, host_dir=owned.folder / "two")
    owned.back_up(source, host=owned.host_of("two"), send_log=owned.folder / "two.log")
    Keeping(owned).says(expired=((WRITER, 1),))
    (pack, *_) = owned.vault.names("w/desk-2/p/")
    owned.vault.remove(pack)
    (finding,) = serious(verify(owned.vault))
    assert finding.object == pack


def test_removed_keep_record_is_named_by_the_next(kept: tuple[Site, set[str]]) -> None:
    site, _ = kept
    keeper = Keeping(site)
    first = keeper.says(expired=((WRITER, 1),))
    second = keeper.says()
    store_of(site).remove(first)
    assert [finding.object for finding in serious(verify(site.vault))] == [second]


def test_removed_newest_keep_record_is_named_by_snapshot(
    kept: tuple[Site, set[str]], source: Path
) -> None:
    site, _ = kept
    keeper = Keeping(site)
    newest = keeper.says()
    sequence = site.back_up(source).sequence
    seen, _ = snapshot_from_bytes(site.vault.get(snapshot_name(WRITER, sequence)), "a snapshot")
    assert seen.keep_record == keeper.previous
    assert serious(verify(site.vault)) == []
    store_of(site).remove(newest)
    (finding,) = serious(verify(site.vault))
    assert finding.object == newest
    assert "removed or replaced" in finding.problem


def test_replaced_newest_keep_record_is_named_by_snapshot(
    kept: tuple[Site, set[str]], source: Path
) -> None:
    """The second record is valid: it is signed with the same keeper's key."""
    site, _ = kept
    keeper = Keeping(site)
    newest = keeper.says()
    site.back_up(source)
    store_of(site).remove(newest)
    keeper.number, keeper.previous = 0, None
    keeper.says(expired=((WRITER, 1),))
    (finding,) = serious(verify(site.vault))
    assert finding.object == newest
    assert "removed or replaced" in finding.problem


class FloodedStore(MemoryStore):
    """A store with more objects than should be in memory."""

    def __init__(self, honest: TamperedStore, prefix: str, count: int) -> None:
        super().__init__()
        self._objects = honest._objects
        self._prefix, self._count = prefix, count

    def _list(self, prefix: str) -> Iterator[Stat]:
        stats = super()._list(prefix)
        if not (self._prefix.startswith(prefix) or prefix.startswith(self._prefix)):
            yield from stats
            return
        flood = (
            Stat(
                name=f"{self._prefix}{number:064x}",
                size_bytes=1 << 40,
                modified=datetime(2026, 1, 1, tzinfo=UTC),
            )
            for number in range(self._count)
        )
        # The flood is listed last, whatever its names: the test measures only the memory of the
        # caller.
        yield from stats
        yield from (stat for stat in flood if stat.name.startswith(prefix))


@pytest.mark.sampled
@pytest.mark.parametrize("prefix", ["junk/", f"w/{WRITER}/p/00/", "w/nobody/p/00/"])
def test_hundred_foreign_objects_are_named_others_counted(
    site: Site, source: Path, prefix: str
) -> None:
    make_backups(site, source, 1)
    flooded = FloodedStore(store_of(site), prefix, 100_000)
    with little_memory(10 * 1024 * KIB):
        report = verify(flooded)
    assert serious(report) == []
    texts = [f"{finding.object} {finding.problem}" for finding in report.findings]
    assert len(texts) <= 102
    wanted = "100,000 packs" if WRITER in prefix else "99,900 more objects"
    assert any(wanted in text for text in texts)


def test_slots_full_of_junk_are_counted(
    site: Site, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_backups(site, source, 1)
    monkeypatch.setattr("backup.trust.snapshot_history.MOST_JUNK_SLOTS", 150)
    for sequence in range(2, 302):
        site.vault.put(snapshot_name(WRITER, sequence), b"junk")
    report = verify(site.vault)
    assert not report.is_sound
    texts = [f"{finding.object} {finding.problem}" for finding in report.findings]
    assert len(texts) == 102
    assert "150 more objects are not snapshots" in " ".join(texts)
    assert texts[-1].startswith("50 more objects")


def test_oversize_snapshot_is_not_read(site: Site, source: Path) -> None:
    make_backups(site, source, 1)

    class Swollen(MemoryStore):
        def _list(self, prefix: str) -> Iterator[Stat]:
            for stat in super()._list(prefix):
                is_junk = stat.name == snapshot_name(WRITER, 2)
                yield replace(stat, size_bytes=1 << 40) if is_junk else stat

        def _get_range(self, name: str, start: int, length: int | None) -> bytes:
            assert name != snapshot_name(WRITER, 2)
            return super()._get_range(name, start, length)

    swollen = Swollen()
    swollen._objects = store_of(site)._objects
    swollen.put(snapshot_name(WRITER, 2), b"a terabyte")
    (finding,) = serious(verify(swollen))
    assert "larger than any snapshot" in finding.problem


def test_forged_distant_number_is_reported_at_once(site: Site, source: Path) -> None:
    make_backups(site, source, 1)
    name = snapshot_name(WRITER, 1)
    snapshot, sealed = snapshot_from_bytes(site.vault.get(name), name)
    far = replace(snapshot, sequence=9_999_999_999)
    site.vault.put(
        snapshot_name(WRITER, far.sequence), snapshot_to_bytes(far, sealed, site.host.signing_key)
    )
    report = verify(site.vault)
    assert len(report.findings) < 110
    assert any("9,999,999,897 more are missing" in f.problem for f in report.findings)


def test_every_lost_pack_is_named_however_many(site: Site, source: Path) -> None:
    for number in range(110):
        (source / f"part-{number:03}").write_bytes(noise(20 * KIB, number))
        site.back_up(source)
    packs = [stat.name for stat in site.vault.list(f"w/{WRITER}/p/")]
    for name in packs:
        store_of(site).remove(name)
    named = {finding.object for finding in serious(verify(site.vault))}
    assert named == set(packs)
    assert len(packs) > 200
    assert all(parse_pack_name(name) for name in packs)
