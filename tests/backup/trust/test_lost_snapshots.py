"""A lost snapshot is one finding; packs without a point are still read."""

from pathlib import Path

import pytest

from backup.checker.verification import verify
from backup.format.object_names import pack_name, pack_prefix, parse_pack_name, snapshot_name
from backup.records import Finding, VerifyReport
from backup.trust.root_chain import load_root_chain
from backup.trust.snapshot_history import SnapshotHistory
from backup.trust.snapshot_slots import read_history
from tests.backup.site import WRITER, Site, TamperedStore
from tests.backup.trees import KIB, noise, plain_tree

LOST = snapshot_name(WRITER, 2)


@pytest.fixture
def vault(site: Site, tmp_path: Path) -> TamperedStore:
    """Make a vault with six points; each needs packs of all earlier ones."""
    source = plain_tree(tmp_path / "source")
    for number in range(6):
        (source / f"backup-{number}").write_bytes(noise(50 * KIB, number))
        site.back_up(source)
    assert isinstance(site.vault, TamperedStore)
    return site.vault


def errors(report: VerifyReport) -> list[Finding]:
    return [finding for finding in report.findings if finding.severity == "error"]


def packs_of_point(vault: TamperedStore, sequence: int) -> list[str]:
    """Return the packs that a point added, by name."""
    history = SnapshotHistory(WRITER, read_history(vault, load_root_chain(vault), WRITER))
    return [pack_name(WRITER, sha256) for sha256, _ in history.snapshots[sequence].packs]


def flip(vault: TamperedStore, name: str) -> None:
    data = bytearray(vault.get(name))
    data[-1] ^= 1
    vault.replace(name, bytes(data))


@pytest.mark.parametrize("how", ["removed", "flipped"])
def test_lost_snapshot_accuses_no_other(vault: TamperedStore, site: Site, how: str) -> None:
    if how == "removed":
        vault.remove(LOST)
    else:
        flip(vault, LOST)
    for report in (
        verify(vault, read=True),
        verify(vault, read=True, keys=site.keys, identity=site.identity),
    ):
        assert {finding.object for finding in errors(report)} == {LOST}
        assert report.points == 5


def test_damage_behind_lost_snapshot_is_found(vault: TamperedStore) -> None:
    damaged = packs_of_point(vault, 2)
    vault.remove(LOST)
    for name in damaged:
        flip(vault, name)
    report = verify(vault, read=True)
    assert {finding.object for finding in errors(report)} == {LOST, *damaged}
    assert set(report.damaged_packs) == set(damaged)


def test_damage_near_lost_snapshot_names_its_points(vault: TamperedStore) -> None:
    (damaged, *_) = packs_of_point(vault, 1)
    vault.remove(LOST)
    flip(vault, damaged)
    (finding,) = [one for one in errors(verify(vault, read=True)) if one.object == damaged]
    assert f"{WRITER}/0000000003" in finding.problem


def test_damaged_pack_of_interrupted_run_is_named(vault: TamperedStore) -> None:
    name = pack_name(WRITER, "ab" * 32)
    vault.put(name, b"cut off")
    report = verify(vault, read=True)
    assert errors(report) == []
    assert report.damaged_packs == (name,)
    assert name in {one.object for one in report.findings if one.severity == "warning"}


def test_every_pack_is_read(vault: TamperedStore) -> None:
    vault.remove(LOST)
    sizes = {stat.name: stat.size_bytes for stat in vault.list(pack_prefix(WRITER))}
    assert all(parse_pack_name(name) for name in sizes)
    assert verify(vault, read=True).bytes_read == sum(sizes.values())
