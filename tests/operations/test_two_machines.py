"""One backup host's name on two machines with one ledger: neither speaks for the other's runs."""

from pathlib import Path

from standfast.errors import ExitStatus
from standfast.operations.backups import run_backup
from standfast.operations.drills import destroy_leftovers, list_drills, run_drill
from standfast.operations.run_record import DIED, bury_dead_runs, recorded
from tests.operations.backup_place import identity
from tests.operations.twin_places import BETA, at, twins


def test_a_run_that_is_under_way_on_another_machine_of_the_same_name_is_not_called_dead(
    tmp_path: Path, postgres_url: str
) -> None:
    one, other = twins(tmp_path, postgres_url)
    with at(one) as here, recorded(here, "backup", "main", "direct") as run:
        with at(other) as there:
            outcome = run_backup(there, "main", "direct")
            assert outcome.died_before == ()
            assert bury_dead_runs(there, {}) == ()
        (row,) = here.ledger.runs.all("backup", states=["running"])
        assert (row.id, row.summary["machine"]) == (run.token, one.name)
        run.ends("done", {"files": 1})
    with at(one) as here:
        told = [event.action for event in here.ledger.timeline(run.token)]
    assert told == ["backup.started", "backup.done"]


def test_a_run_that_died_is_still_found_by_its_own_machine(
    tmp_path: Path, postgres_url: str
) -> None:
    one, other = twins(tmp_path, postgres_url)
    with at(one) as here:
        run_backup(here, "main", "direct")
        origin = here.ledger.runs.all("backup")[0].summary
        with recorded(here, "backup", "main", "direct") as run:
            pass
        # As the process leaves it when the power goes.
        here.ledger.runs.finish(run.token, "backup", "running", origin, "os:test", here.clock())
    with at(other) as there:
        assert bury_dead_runs(there, {}) == ()
    with at(one) as here:
        assert bury_dead_runs(here, {}) == (("backup", "main"),)
        (row,) = (row for row in here.ledger.runs.all("backup") if row.id == run.token)
        assert (row.state, row.summary["problem"], row.summary["machine"]) == (
            "failed",
            DIED,
            one.name,
        )


def test_a_drill_report_of_another_machine_is_looked_for_there(
    tmp_path: Path, postgres_url: str
) -> None:
    one, other = twins(tmp_path, postgres_url)
    with at(one) as here:
        run_backup(here, "main", "direct")
        mine = run_drill(here, "main", identity(one))
    with at(other) as there:
        run_drill(there, "main", identity(other))
        listed = list_drills(there)
    assert (len(listed.runs), listed.problems, listed.elsewhere) == (2, (), (one.name,))
    assert listed.exit_status is ExitStatus.DONE
    assert mine.report is not None
    mine.report.unlink()
    with at(one) as here:
        listed = list_drills(here)
    assert [one.problem for one in listed.problems] == ["its report is gone"]
    assert listed.elsewhere == (BETA,)


def test_what_another_machine_drills_into_the_same_folder_is_left_alone(
    tmp_path: Path, postgres_url: str
) -> None:
    one, other = twins(tmp_path, postgres_url)
    shared = tmp_path / "drills"
    for folder in (one, other):
        with (folder / "standfast.toml").open("a") as file:
            file.write(f'\n[drills]\nfolder = "{shared}"\n')
    with at(one) as here:
        run_backup(here, "main", "direct")
    with at(one) as here, recorded(here, "drill", "main", "direct") as run:
        under_way = shared / f"main.{run.token}"
        under_way.mkdir(parents=True)
        left = shared / "main.0123"
        left.mkdir()
        with at(other) as there:
            assert run_drill(there, "main", identity(other)).exit_status is ExitStatus.DONE
            assert destroy_leftovers(there, "main") == 0
        assert (under_way.exists(), left.exists()) == (True, False)
        run.ends("failed", {})
    with at(one) as here:
        assert destroy_leftovers(here, "main") == 1
        assert list_drills(here).problems == ()
