"""Drills of a sample restore the same files again, and measure no RTO."""

import json
from pathlib import Path

import pytest

from backup.reader.path_selection import PathSample
from standfast.errors import ExitStatus
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.backups.maintenance_schedule import lateness
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.check_result import CheckState
from standfast.usecases.drills.drill_folders import destroy_leftovers
from standfast.usecases.drills.drill_history import list_drills
from standfast.usecases.drills.file_sample import new_sample
from standfast.usecases.drills.outcome import DrillOutcome
from standfast.usecases.drills.restore_drill import run_drill
from tests.usecases.backup_installation import (
    SERVICE,
    damage_a_pack,
    furnish,
    installation_at,
)

FILES = 400
DRILLS = '[drills]\nidentity = "file:offline/custodian.txt"\n'


def backed_up(folder: Path) -> Path:
    config_file = furnish(folder, SERVICE + DRILLS)
    for number in range(FILES):
        (folder / "recordings" / f"note-{number}.txt").write_text(f"note {number}\n" * 50)
    with installation_at(config_file) as installation:
        run_backup(installation, "main", "direct")
    return config_file


def sampled(installation: Installation, sample: PathSample, *, keep: bool = False) -> DrillOutcome:
    return run_drill(installation, "main", None, sample=sample, keep=keep)


def kept_files(outcome: DrillOutcome) -> dict[str, bytes]:
    tree = outcome.target.folder / "tree"
    return {
        str(path.relative_to(tree)): path.read_bytes()
        for path in tree.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_sample_restores_about_its_share(tmp_path: Path) -> None:
    with installation_at(backed_up(tmp_path)) as installation:
        outcome = sampled(installation, PathSample(percent=25, seed=7))
    assert outcome.exit_status is ExitStatus.DONE, outcome.as_json()
    assert outcome.restored is not None
    assert FILES * 0.15 < outcome.restored.files < FILES * 0.35
    assert outcome.target.is_gone


def test_seed_repeats_sample(tmp_path: Path) -> None:
    with installation_at(backed_up(tmp_path)) as installation:
        first = kept_files(sampled(installation, PathSample(percent=10, seed=7), keep=True))
        again = kept_files(sampled(installation, PathSample(percent=10, seed=7), keep=True))
        other = kept_files(sampled(installation, PathSample(percent=10, seed=8), keep=True))
    assert first == again
    assert first.keys() != other.keys()
    recordings = [name for name in first if name.startswith("recordings/")]
    assert recordings
    for name in recordings:
        assert (tmp_path / name).read_bytes() == first[name]


def test_random_seeds_differ() -> None:
    assert new_sample(5, None).seed != new_sample(5, None).seed


def test_complete_sample_restores_everything(tmp_path: Path) -> None:
    with installation_at(backed_up(tmp_path)) as installation:
        outcome = sampled(installation, PathSample(percent=100, seed=1))
        whole = run_drill(installation, "main", None)
    assert outcome.restored is not None
    assert whole.restored is not None
    assert outcome.restored.files == whole.restored.files
    assert outcome.restored.bytes == whole.restored.bytes


def test_sample_never_claims_the_rto(tmp_path: Path) -> None:
    with installation_at(backed_up(tmp_path)) as installation:
        outcome = sampled(installation, PathSample(percent=100, seed=1))
        assert (outcome.rto_ms, outcome.usable_at, outcome.services) == (None, None, ())
        states = {check.state for check in outcome.checks if check.service == "crm"}
        assert states == {CheckState.SKIPPED}
        (late,) = (alarm for alarm in lateness(installation) if alarm.subject == "drill.main")
        assert late.values["has_come"] is False


def test_signed_report_has_seed_and_share(tmp_path: Path) -> None:
    with installation_at(backed_up(tmp_path)) as installation:
        outcome = sampled(installation, PathSample(percent=12.5, seed=99))
        listed = list_drills(installation, "main")
    assert listed.problems == ()
    assert listed.runs[0].summary["sample"] == outcome.sampled
    assert outcome.report is not None
    report = json.loads(outcome.report.read_bytes())["report"]
    assert report["set"] == "main"
    assert (report["sample"]["percent"], report["sample"]["seed"]) == ("12.5", 99)
    assert report["sample"]["files"] < report["sample"]["files_in_point"] == FILES + 5


def test_empty_sample_is_partial(tmp_path: Path) -> None:
    with installation_at(backed_up(tmp_path)) as installation:
        outcome = sampled(installation, PathSample(percent=0.0001, seed=1))
    assert outcome.restored is not None
    assert outcome.restored.files == 0
    assert outcome.exit_status is ExitStatus.PARTIAL


def test_damage_in_sample_is_found(tmp_path: Path) -> None:
    config_file = backed_up(tmp_path)
    damage_a_pack(tmp_path)
    with installation_at(config_file) as installation:
        outcome = sampled(installation, PathSample(percent=100, seed=1))
    assert outcome.exit_status is ExitStatus.DAMAGED
    assert outcome.damaged_packs


@pytest.mark.parametrize("subject", ["main", "sample"])
def test_leftovers_of_other_drills_are_kept(tmp_path: Path, subject: str) -> None:
    target = tmp_path / "drills" / "sample.main.0123abcd"
    target.mkdir(parents=True)
    with installation_at(backed_up(tmp_path)) as installation:
        assert destroy_leftovers(installation, subject) == 0
        assert target.exists()
        assert destroy_leftovers(installation, "sample.main") == 1
    assert not target.exists()
