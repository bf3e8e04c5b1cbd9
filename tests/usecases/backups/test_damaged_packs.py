"""The next backup stores damaged data again, and reports no change."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backup.format.object_names import pack_prefix
from backup.stores.directory import DirectoryStore
from standfast.errors import ExitStatus, UsageError
from standfast.ledger.runs.run_record import Origin
from standfast.records import Json
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.backups.damaged_packs import damaged_packs, read_report
from standfast.usecases.backups.folder_restore import restore
from standfast.usecases.backups.verification import VAULT, verify
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.restore_drill import run_drill
from tests.backup.sources.files.test_unreadable import unreadable
from tests.usecases.backup_installation import damage_a_pack, furnish, identity, installation_at

MIB = 1024 * 1024


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """An installation with one point of a set."""
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        yield installation


@pytest.fixture
def backed_up(installation: Installation, tmp_path: Path) -> Installation:
    """Make backups with a large recording that does not compress."""
    (tmp_path / "recordings" / "2026" / "long.wav").write_bytes(os.urandom(9 * MIB))
    for _ in range(6):
        run_backup(installation, "main", "direct")
    damage_a_pack(tmp_path)
    verify(installation, read=True)
    return installation


def damage_the_pages(folder: Path) -> None:
    """Flip a bit in every pack but the largest, also in lists of files."""
    packs = sorted(
        (path for path in (folder / "vault/w/host-1/p").rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    for pack in packs[:-1]:
        content = bytearray(pack.read_bytes())
        content[-1] ^= 1
        pack.chmod(0o600)
        pack.write_bytes(content)


def is_whole(installation: Installation, folder: Path) -> bool:
    """Return whether the newest point restores equal to the source."""
    outcome = restore(installation, "latest", folder / "out", identity(folder))
    call = Path("recordings/2026/call-1.wav")
    is_same = (folder / "out" / call).read_bytes() == (folder / call).read_bytes()
    return is_same and outcome.exit_status is ExitStatus.DONE and not outcome.result.healed


def test_next_backup_heals_what_verification_found(
    installation: Installation, tmp_path: Path
) -> None:
    damage_a_pack(tmp_path)
    assert verify(installation, read=True).exit_status is ExitStatus.DAMAGED
    healing = run_backup(installation, "main", "direct")
    assert healing.exit_status is ExitStatus.DONE
    assert is_whole(installation, tmp_path)
    healed = verify(installation, read=True)
    assert healed.exit_status is ExitStatus.DONE
    assert [finding.severity for finding in healed.findings] == ["warning"]
    assert run_backup(installation, "main", "direct").result.bytes_changed == 0


def test_healing_is_no_jump(backed_up: Installation) -> None:
    healing = run_backup(backed_up, "main", "direct")
    assert healing.result.bytes_new > 9 * MIB
    assert healing.result.bytes_incompressible == 0
    assert healing.jumps == ()


def test_changed_content_jumps_while_healing(backed_up: Installation, tmp_path: Path) -> None:
    (tmp_path / "recordings" / "2026" / "long.wav").write_bytes(os.urandom(9 * MIB))
    healing = run_backup(backed_up, "main", "direct")
    assert "incompressible" in {jump.measure for jump in healing.jumps}


@pytest.mark.parametrize("damage", [damage_a_pack, damage_the_pages])
def test_next_backup_heals_what_drill_found(
    installation: Installation, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    damage(tmp_path)
    drill = run_drill(installation, "main", identity(tmp_path))
    assert drill.exit_status is ExitStatus.DAMAGED
    assert drill.damaged_packs
    assert run_backup(installation, "main", "direct").exit_status is ExitStatus.DONE
    assert is_whole(installation, tmp_path)


def test_next_backup_heals_what_restore_found(installation: Installation, tmp_path: Path) -> None:
    damage_a_pack(tmp_path)
    restore(installation, "latest", tmp_path / "lacking", identity(tmp_path))
    run_backup(installation, "main", "direct")
    assert is_whole(installation, tmp_path)


def test_unhealed_damage_makes_backup_partial(installation: Installation, tmp_path: Path) -> None:
    damage_a_pack(tmp_path)
    verify(installation, read=True)
    with unreadable("call-1.wav"):
        assert run_backup(installation, "main", "direct").exit_status is ExitStatus.PARTIAL
    assert run_backup(installation, "main", "direct").exit_status is ExitStatus.DONE
    assert is_whole(installation, tmp_path)


def test_unnamed_damage_makes_backup_partial(installation: Installation) -> None:
    summary: dict[str, Json] = {"damaged_packs": [], "damaged_packs_total": 7, "is_read": True}
    token = installation.runs.start(
        "verify", VAULT, "direct", "os:test", installation.clock(), origin=Origin()
    )
    installation.runs.finish(token, "verify", "failed", summary, "os:test", installation.clock())
    outcome = run_backup(installation, "main", "direct")
    assert (outcome.exit_status, outcome.undistrusted) == (ExitStatus.PARTIAL, 7)


def test_report_of_another_machine_heals(installation: Installation, tmp_path: Path) -> None:
    damage_a_pack(tmp_path)
    other = furnish(tmp_path / "verifier")
    paths = f'[backup]\nvault = "{tmp_path}/vault"\nhost = "no-host-here"\n'
    other.write_text(
        other.read_text().replace("[backup.sets.main]", f"{paths}\n[backup.sets.main]")
    )
    report = tmp_path / "report.json"
    with installation_at(other) as elsewhere:
        report.write_text(json.dumps(verify(elsewhere, read=True).as_json()))
    assert damaged_packs(installation).packs == frozenset()
    run_backup(installation, "main", "direct", distrust=read_report(report))
    assert is_whole(installation, tmp_path)


def test_forged_report_costs_uploads_only(installation: Installation, tmp_path: Path) -> None:
    vault = DirectoryStore(tmp_path / "vault")
    sound = [stat.name for stat in vault.list(pack_prefix("host-1"))]
    report = tmp_path / "forged.json"
    names = [*sound, f"w/host-1/p/00/{0:064x}", "w/../../etc", "junk", 7, None]
    report.write_text(json.dumps({"damaged_packs": names}))
    outcome = run_backup(installation, "main", "direct", distrust=read_report(report))
    assert outcome.exit_status is ExitStatus.DONE
    assert (outcome.result.bytes_new > 300_000, outcome.result.bytes_changed) == (True, 0)
    assert {*sound} <= {stat.name for stat in vault.list(pack_prefix("host-1"))}
    assert is_whole(installation, tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"damaged_packs": 1}'])
def test_report_without_packs_is_refused(tmp_path: Path, text: str) -> None:
    report = tmp_path / "report.json"
    report.write_text(text)
    with pytest.raises(UsageError):
        read_report(report)
