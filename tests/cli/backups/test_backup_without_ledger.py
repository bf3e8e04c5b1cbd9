"""A backup without a usable ledger is made, and names the fault."""

import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backup.archiver.backup_run import back_up
from backup.records import BackupResult
from flows.standalone_backup import main as back_up_without_prefect
from standfast.errors import ExitStatus, StandfastError
from standfast.usecases.backups import verification
from tests.backup.trees import describe
from tests.cli.desk import Desk
from tests.cli.test_restore_without_ledger import damage, lose, unplug

ILLS = [
    pytest.param(lose, "missing", ExitStatus.PARTIAL, id="it is gone"),
    pytest.param(damage, "file is damaged", ExitStatus.DAMAGED, id="it is damaged"),
    pytest.param(unplug, "no answer", ExitStatus.PARTIAL, id="its server is down"),
]


def check_comes_back(desk: Desk, installation: Path, point: str) -> None:
    words = ("backup", "restore", point, "--identity", installation / "offline/identity.txt")
    assert desk.run(*words, "--to", desk.folder / "out").status == 0
    assert describe(desk.folder / "out/source") == describe(desk.folder / "source")


@pytest.mark.parametrize(("ail", "why", "status"), ILLS)
def test_backup_without_ledger_reports_missing_record(
    desk: Desk, installation: Path, ail: Callable[[Path], None], why: str, status: ExitStatus
) -> None:
    ail(installation)
    answer = desk.run("backup", "run", "main")
    assert answer.status == status
    assert "main: host-1/0000000001, 1 file" in answer.out
    assert "The ledger did not record this backup" in answer.out
    assert why in answer.out
    (backup,) = desk.json("backup", "run", "main")["backups"]
    assert (why in backup["unrecorded"], backup["is_complete"]) == (True, True)
    check_comes_back(desk, installation, "2")


@pytest.mark.parametrize(("ail", "why", "status"), ILLS)
def test_verification_without_ledger_reports_missing_record(
    desk: Desk, installation: Path, ail: Callable[[Path], None], why: str, status: ExitStatus
) -> None:
    desk.run("backup", "run", "main")
    ail(installation)
    answer = desk.run("backup", "verify", "--read")
    assert answer.status == status
    assert "1 recovery point" in answer.out
    assert why in answer.out
    assert "Everything agrees" not in answer.out
    assert (installation / "backup-witness.jsonl").read_text().count('"host-1"') == 1
    (pack, *_) = sorted((installation / "vault").rglob("p/*/*"))
    pack.unlink()
    assert desk.run("backup", "verify").status == ExitStatus.DAMAGED


def test_ledger_lost_during_backup_costs_no_data(desk: Desk, installation: Path) -> None:
    def make_and_lose(**request: Any) -> BackupResult:
        made = back_up(**request)
        damage(installation)
        return made

    desk.monkeypatch.setattr("standfast.usecases.backups.backup_run.back_up", make_and_lose)
    answer = desk.run("backup", "run", "main")
    assert answer.status == ExitStatus.DAMAGED
    assert "main: host-1/0000000001, 1 file" in answer.out
    assert "file is damaged" in answer.out
    check_comes_back(desk, installation, "latest")


def test_backups_of_a_set_never_overlap_without_ledger(desk: Desk, installation: Path) -> None:
    lose(installation)
    (installation / "state").mkdir(exist_ok=True)
    with (installation / "state/backup-main.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert desk.run("backup", "run", "main").status == ExitStatus.REFUSED
    assert not list((installation / "vault").rglob("w/*/s/*"))
    assert desk.run("backup", "run", "main").status == ExitStatus.PARTIAL
    check_comes_back(desk, installation, "latest")


def test_a_scheduled_backup_needs_no_ledger(desk: Desk, installation: Path) -> None:
    unplug(installation)
    assert (
        back_up_without_prefect(str(installation / "standfast.toml"), "main") == ExitStatus.PARTIAL
    )
    check_comes_back(desk, installation, "latest")


def test_full_disk_of_witness_hides_no_finding(desk: Desk, installation: Path) -> None:
    desk.run("backup", "run", "main")
    assert desk.run("backup", "verify").status == 0
    desk.run("backup", "run", "main")

    def full(*_: Any) -> None:
        raise StandfastError("the witness cannot be written: No space left on device")

    with desk.monkeypatch.context() as patch:
        patch.setattr(verification, "append_heads", full)
        answer = desk.run("backup", "verify")
        assert answer.status == ExitStatus.PARTIAL
        assert "2 recovery points" in answer.out
        assert "the witness cannot be written: No space left" in answer.out
        (pack, *_) = sorted((installation / "vault").rglob("p/*/*"))
        pack.rename(installation / "pack")
        assert desk.run("backup", "verify").status == ExitStatus.DAMAGED
        (installation / "pack").rename(pack)
    assert desk.run("backup", "verify").status == 0
    check_comes_back(desk, installation, "latest")
