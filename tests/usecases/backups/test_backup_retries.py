"""A backup waits only for an absent store; no set overlaps itself."""

from datetime import timedelta
from pathlib import Path

import pytest

from standfast.errors import ExitStatus, StandfastError, Unavailable, UnderWay
from standfast.usecases.backups.backup_run import NIGHTLY_PAUSES, run_backup
from standfast.usecases.backups.folder_restore import restore
from standfast.usecases.core.run_record import recorded
from tests.usecases.backup_installation import AwayStore, furnish, identity, installation_at


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[AwayStore]:
    monkeypatch.setattr(
        "standfast.usecases.backups.backup_run.writing_vault_of",
        lambda _: AwayStore(tmp_path / "vault"),
    )
    return AwayStore


def test_absent_store_is_retried_with_longer_pauses(tmp_path: Path, away: type[AwayStore]) -> None:
    slept: list[float] = []
    with installation_at(furnish(tmp_path)) as installation:
        away.refusals = 2
        outcome = run_backup(
            installation, "main", "direct", pauses=NIGHTLY_PAUSES, sleep=slept.append
        )
        assert outcome.exit_status is ExitStatus.DONE
        assert slept == [60.0, 240.0]
        assert list(NIGHTLY_PAUSES) == sorted(NIGHTLY_PAUSES)
        (run,) = installation.ledger.runs.all("backup")
        assert run.state == "done"
        restore(installation, "latest", tmp_path / "out", identity(tmp_path))
    restored = tmp_path / "out" / "recordings" / "notes.txt"
    assert restored.read_text() == "the customer rang twice\n"


def test_absent_store_is_abandoned_after_last_pause(tmp_path: Path, away: type[AwayStore]) -> None:
    slept: list[float] = []
    with installation_at(furnish(tmp_path)) as installation:
        away.refusals = 100
        with pytest.raises(Unavailable):
            run_backup(
                installation,
                "main",
                "direct",
                pauses=(timedelta(seconds=1), timedelta(seconds=2)),
                sleep=slept.append,
            )
        assert slept == [1.0, 2.0]
        assert installation.ledger.runs.all("backup")[0].state == "failed"
        away.refusals = 0


def test_only_an_absent_store_is_retried(tmp_path: Path) -> None:
    slept: list[float] = []
    with installation_at(furnish(tmp_path)) as installation:
        for path in ("recordings", "crm.db"):
            (tmp_path / path).rename(tmp_path / f"{path}.gone")
        with pytest.raises(StandfastError, match="no source could be read"):
            run_backup(installation, "main", "direct", pauses=NIGHTLY_PAUSES, sleep=slept.append)
        assert slept == []


def test_second_start_reports_the_running_one(tmp_path: Path) -> None:
    with (
        installation_at(furnish(tmp_path)) as installation,
        recorded(installation, "backup", "main", "direct") as run,
    ):
        with pytest.raises(UnderWay, match=r"main: .*\S+ \d\d:\d\d UTC"):
            run_backup(installation, "main", "direct")
        run.ends("done", {})
