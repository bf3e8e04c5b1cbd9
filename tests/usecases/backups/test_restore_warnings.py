"""Restores of incomplete recovery points name the gaps."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backup.records import RecoveryPoint, Unread
from backup.targets import TargetResult
from standfast.cli.backups.restore_summary import lines_of, restore_summary_lines
from standfast.errors import ExitStatus
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.backups.database_restore import DatabaseRestoreOutcome, DumpRestoreOutcome
from standfast.usecases.backups.folder_restore import restore
from standfast.usecases.backups.recovery_point_contents import list_points
from standfast.usecases.backups.restore_warnings import lacking
from standfast.usecases.core.installation import Installation
from tests.backup.trees import describe
from tests.usecases.backup_installation import NOW, furnish, identity, installation_at


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """An installation with a whole point and one without its database."""
    with installation_at(furnish(tmp_path)) as installation:
        assert run_backup(installation, "main", "direct").exit_status is ExitStatus.DONE
        (tmp_path / "crm.db").rename(tmp_path / "gone.db")
        assert run_backup(installation, "main", "direct").exit_status is ExitStatus.PARTIAL
        yield installation


def newest(installation: Installation, folder: Path) -> RecoveryPoint:
    return list_points(installation, "main", identity(folder)).points[-1]


def test_restore_of_partial_point_names_the_gaps(
    installation: Installation, tmp_path: Path
) -> None:
    outcome = restore(installation, "latest", tmp_path / "out", identity(tmp_path))
    assert (outcome.exit_status, outcome.result.problems) == (ExitStatus.PARTIAL, ())
    assert (tmp_path / "out" / "recordings" / "notes.txt").exists()
    text = "\n".join(map(str, restore_summary_lines(outcome)))
    assert "could not read 1 path completely" in text
    assert "crm.db is not a file" in text
    told = outcome.as_json()["lacking"]
    assert isinstance(told, dict)
    assert told["total"] == 1
    assert installation.runs.all("restore", "main")[0].state == "partial"


def test_gaps_elsewhere_do_not_matter(installation: Installation, tmp_path: Path) -> None:
    some = restore(
        installation, "latest", tmp_path / "some", identity(tmp_path), ["recordings/2026/*"]
    )
    assert some.exit_status is ExitStatus.DONE
    both = restore(
        installation, "latest", tmp_path / "both", identity(tmp_path), ["recordings/*", "crm"]
    )
    assert both.exit_status is ExitStatus.PARTIAL


def test_complete_point_has_no_gaps(installation: Installation, tmp_path: Path) -> None:
    outcome = restore(installation, "1", tmp_path / "out", identity(tmp_path))
    assert outcome.exit_status is ExitStatus.DONE
    assert (tmp_path / "out" / "crm" / "crm.db").exists()


def test_interim_point_may_lack_later_files(installation: Installation, tmp_path: Path) -> None:
    point = list_points(installation, "main", identity(tmp_path)).points[0]
    assert not lacking(point).is_any
    assert lacking(replace(point, is_interim=True), ["recordings/notes.txt"]).is_any


def test_unnamed_gap_may_be_anything(installation: Installation, tmp_path: Path) -> None:
    point = newest(installation, tmp_path)
    assert point.details is not None
    item = Unread(path="recordings/secret %FF.wav", reason="cannot be read")
    details = replace(point.details, unread=(item,), unread_total=12_000)
    found = lacking(replace(point, details=details), ["recordings/2026/*"])
    assert (found.named, found.total) == ((), 11_999)
    found = lacking(replace(point, details=details), ["recordings/secret*"])
    assert (found.named, found.total) == ((item,), 12_000)


def test_complete_dumps_are_partial_if_another_lacks(
    installation: Installation, tmp_path: Path
) -> None:
    point = newest(installation, tmp_path)
    taken = TargetResult(database="billing", bytes=9)
    outcome = DatabaseRestoreOutcome(
        run="",
        point=point,
        into="crm",
        kind="postgresql",
        dumps=(DumpRestoreOutcome(path="crm/billing.dump", taken=taken),),
        lacking=lacking(point, ["crm"]),
        is_confined=True,
        started=NOW,
        ended=NOW,
    )
    assert outcome.exit_status is ExitStatus.PARTIAL
    assert "may contain the missing files" in str(lines_of(outcome)[-1])
    assert replace(outcome, lacking=lacking(point, ["recordings"])).exit_status is ExitStatus.DONE


def test_point_without_files_is_no_success(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "scripts/greeting.txt").unlink()
    assert run_backup(installation, "other", "direct").exit_status is ExitStatus.PARTIAL
    outcome = restore(installation, "3", tmp_path / "out", identity(tmp_path))
    assert (outcome.exit_status, outcome.result.files) == (ExitStatus.PARTIAL, 0)
    text = "\n".join(map(str, restore_summary_lines(outcome)))
    assert "The recovery point has no file" in text
    assert "lists earlier recovery points" in text
    assert installation.runs.all("restore", "other")[0].state == "partial"
    earlier = restore(installation, "1", tmp_path / "earlier", identity(tmp_path))
    assert earlier.exit_status is ExitStatus.DONE
    here, there = tmp_path / "recordings/2026", tmp_path / "earlier/recordings/2026"
    assert describe(there) == describe(here)


def test_source_without_files_is_named(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "gone.db").rename(tmp_path / "crm.db")
    (tmp_path / "recordings").rename(tmp_path / "away")
    (tmp_path / "recordings").mkdir()
    run_backup(installation, "main", "direct")
    outcome = restore(installation, "latest", tmp_path / "out", identity(tmp_path))
    assert outcome.exit_status is ExitStatus.DONE, "it may be meant so"
    assert "The recovery point has no file of recordings" in "\n".join(
        map(str, restore_summary_lines(outcome))
    )
    assert (tmp_path / "out/crm/crm.db").exists()
    other = restore(installation, "latest", tmp_path / "other", identity(tmp_path), ["crm"])
    assert "has no file" not in "\n".join(map(str, restore_summary_lines(other)))
