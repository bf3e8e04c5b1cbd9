"""Findings of verifications stay open until a check finds them gone."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from standfast.errors import ExitStatus, UsageError
from standfast.ledger.runs.run_record import RunRecord
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.backups.verification import VAULT, locks_right_at, sample_of, verify
from standfast.usecases.core.installation import Installation
from standfast.usecases.health.status import look
from tests.usecases.backup_installation import (
    change,
    damage_a_pack,
    furnish,
    identity,
    installation_at,
)


def test_sound_verification_extends_the_witness(tmp_path: Path) -> None:
    witness = tmp_path / "backup-witness.jsonl"
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        outcome = verify(installation, read=True, identity_file=identity(tmp_path))
        assert outcome.exit_status is ExitStatus.DONE
        assert outcome.report.bytes_read
        assert not outcome.is_write_only
        assert len(witness.read_text().splitlines()) == 1
        verify(installation)
        assert len(witness.read_text().splitlines()) == 1
        run_backup(installation, "main", "direct")
        verify(installation)
        assert len(witness.read_text().splitlines()) == 2
        assert {row.state for row in installation.ledger.runs.all("verify")} == {"done"}


def test_witness_reveals_a_rolled_back_vault(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        shutil.copytree(tmp_path / "vault", tmp_path / "earlier")
        change(tmp_path)
        run_backup(installation, "main", "direct")
        verify(installation)
        shutil.rmtree(tmp_path / "vault")
        (tmp_path / "earlier").rename(tmp_path / "vault")
        outcome = verify(installation)
        assert outcome.exit_status is ExitStatus.DAMAGED
        assert any("0000000002" in finding.object for finding in outcome.findings)
        assert installation.ledger.runs.all("verify")[0].state == "failed"


def test_torn_witness_line_is_rewritten(tmp_path: Path) -> None:
    witness = tmp_path / "backup-witness.jsonl"
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        verify(installation)
        whole = witness.read_bytes()
        witness.write_bytes(whole[:-20])
        assert verify(installation).exit_status is ExitStatus.DONE
        assert len(witness.read_bytes().splitlines()) == 1
        assert witness.read_bytes().endswith(b"\n")


def test_changed_witness_is_named_without_stopping(tmp_path: Path) -> None:
    witness = tmp_path / "backup-witness.jsonl"
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        verify(installation)
        witness.write_bytes(b"nonsense\n" + witness.read_bytes())
        outcome = verify(installation)
        assert outcome.exit_status is ExitStatus.DAMAGED
        assert [finding.object for finding in outcome.findings] == ["witness line 1"]
        assert outcome.report.points == 1


def test_flipped_bit_names_its_object(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        pack = damage_a_pack(tmp_path)
        outcome = verify(installation, read=True)
        assert outcome.exit_status is ExitStatus.DAMAGED
        assert any(pack.name in finding.object for finding in outcome.findings)


def is_open_in_status(installation: Installation, config_file: Path) -> bool:
    return look(config_file, {}, installation.clock()).verify_failed is not None


def test_damage_found_by_reading_needs_reading(tmp_path: Path) -> None:
    config_file = furnish(tmp_path)
    with installation_at(config_file) as installation:
        run_backup(installation, "main", "direct")
        assert verify(installation).exit_status is ExitStatus.DONE
        assert not is_open_in_status(installation, config_file)
        pack = damage_a_pack(tmp_path)
        found = verify(installation, read=True)
        assert found.exit_status is ExitStatus.DAMAGED
        assert (found.summary()["found"], found.open_damage) == (["reading"], None)
        for _ in range(2):
            blind = verify(installation)
            assert blind.is_sound
            assert blind.exit_status is ExitStatus.DAMAGED
            assert blind.open_damage is not None
            assert blind.open_damage.depths == ("reading",)
            assert "verify --read`" in blind.open_damage.sentence
            assert is_open_in_status(installation, config_file)
        damage_a_pack(tmp_path)  # flipping the same bit again repairs the pack
        assert pack.exists()
        assert verify(installation).exit_status is ExitStatus.DAMAGED
        assert verify(installation, read=True).exit_status is ExitStatus.DONE
        assert verify(installation).exit_status is ExitStatus.DONE
        assert not is_open_in_status(installation, config_file)


def test_a_rollback_shows_although_a_pack_is_damaged(tmp_path: Path) -> None:
    config_file = furnish(tmp_path)
    with installation_at(config_file) as installation:
        run_backup(installation, "main", "direct")
        damage_a_pack(tmp_path)
        run_backup(installation, "main", "direct")
        assert verify(installation, read=True).exit_status is ExitStatus.DAMAGED
        (newest,) = (tmp_path / "vault").glob("w/*/s/0000000002")
        newest.unlink()
        assert any("rolled back" in finding.problem for finding in verify(installation).findings)


def test_damage_found_by_look_ends_by_look(tmp_path: Path) -> None:
    config_file = furnish(tmp_path)
    with installation_at(config_file) as installation:
        run_backup(installation, "main", "direct")
        pack = damage_a_pack(tmp_path)
        pack.rename(tmp_path / "aside")
        assert verify(installation, read=True).exit_status is ExitStatus.DAMAGED
        (tmp_path / "aside").rename(pack)
        assert verify(installation).exit_status is ExitStatus.DONE
        assert not is_open_in_status(installation, config_file)


def test_damage_found_by_opening_needs_opening(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        damage_a_pack(tmp_path)
        found = verify(installation, identity_file=identity(tmp_path))
        assert found.summary()["found"] == ["opening"]
        damage_a_pack(tmp_path)
        assert verify(installation, read=True).open_damage is not None
        sampled = verify(
            installation, identity_file=identity(tmp_path), sample=sample_of(50, None, None)
        )
        assert sampled.is_sound
        assert sampled.open_damage is not None
        assert "--identity" in sampled.open_damage.sentence
        assert verify(installation, identity_file=identity(tmp_path)).exit_status is ExitStatus.DONE
        assert verify(installation).exit_status is ExitStatus.DONE


def test_sample_states_its_confidence(tmp_path: Path) -> None:
    with installation_at(furnish(tmp_path)) as installation:
        run_backup(installation, "main", "direct")
        outcome = verify(
            installation, identity_file=identity(tmp_path), sample=sample_of(None, 0.99, 0.01)
        )
        assert outcome.exit_status is ExitStatus.DONE
        assert outcome.summary()["sampled"] == 459
        said = outcome.as_json()["sample"]
        assert isinstance(said, str)
        assert "if 1% or more of the content were damaged" in said
        assert "99.0% certainty" in said
        assert installation.ledger.runs.all("verify")[0].summary["saw"] == ["looking"]
        with pytest.raises(UsageError, match="--identity"):
            verify(installation, sample=sample_of(5, None, None))


def test_lock_check_continues_unless_it_found_something() -> None:
    def run(day: int, is_right: bool | None) -> RunRecord:
        locks = None if is_right is None else {"is_right": is_right}
        began = datetime(2026, 11, day, 6, 30, tzinfo=UTC)
        return RunRecord(
            id=str(day), kind="verify", subject=VAULT, way="direct", state="done",
            started_at=began, ended_at=began, summary={} if day == 9 else {"locks": locks},
        )  # fmt: skip

    assert locks_right_at([]) is None
    assert locks_right_at([run(5, True), run(4, False)]) == run(5, True).started_at
    assert locks_right_at([run(5, False), run(4, True)]) is None
    # A run without a result is skipped: it died or could not list the locks.
    assert locks_right_at([run(9, None), run(6, None), run(5, True)]) == run(5, True).started_at
    assert locks_right_at([run(9, None), run(6, None), run(5, False), run(4, True)]) is None


@pytest.mark.parametrize(
    "options", [(5, 0.9, None), (0, None, None), (None, 1.5, None), (None, None, 0.0)]
)
def test_conflicting_sample_options_are_refused(
    options: tuple[int | None, float | None, float | None],
) -> None:
    with pytest.raises(UsageError):
        sample_of(*options)


def test_without_options_there_is_no_sample() -> None:
    assert sample_of(None, None, None) is None
    by_damage = sample_of(None, None, 0.05)
    assert by_damage is not None
    assert by_damage.pieces == 90
