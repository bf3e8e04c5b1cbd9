"""`serve --role drills`: a machine that runs drills and nothing else."""

from pathlib import Path

import pytest

from flows.deployments import deployments
from flows.roles import ROLES
from flows.serve_process import serve
from standfast.config import load
from standfast.errors import ConfigurationError
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.health.watchdog import keep_watch
from tests.flows.installations import furnish_with_incidents, open_exercise, said, serving
from tests.servers import wait_until
from tests.usecases.backup_installation import furnish, installation_at

EACH_MINUTE = '\n[drills.schedule]\nset.main = "* * * * *"\n'


def test_drill_machine_schedules_only_drills(tmp_path: Path) -> None:
    config_file = furnish_with_incidents(tmp_path)
    text = config_file.read_text() + '[backup]\nread_schedule = "0 8 * * 6"\n'
    config_file.write_text(text + '[backup.keeping]\nschedule = "0 4 * * *"\n')
    config = load(config_file)
    everything = {one.flow_name for one in deployments(config_file, config)}
    drills = {one.flow_name for one in deployments(config_file, config, ROLES["drills"])}
    assert drills == {"restore-drill"}
    assert everything > drills | {"nightly-backup", "keep-repository", "daily-verification"}


def test_drill_machine_needs_an_identity(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"drills\.identity"):
        serve(furnish(tmp_path), role_name="drills")


def test_drill_machine_watches_only_drills(tmp_path: Path) -> None:
    with installation_at(furnish_with_incidents(tmp_path)) as installation:
        open_exercise(installation)
        outcome = keep_watch(installation, "serve", only_drills=True)
        assert (outcome.resumed, outcome.sets, outcome.fresh) == ((), (), ())


def test_drill_machine_is_no_responder(tmp_path: Path) -> None:
    with installation_at(furnish_with_incidents(tmp_path)) as installation:
        runners, now = installation.ledger.runners, installation.clock()
        runners.register(None, ROLES["drills"].way, now)
        assert (runners.live(None, now), runners.serve_hosts(now)) == ([], set())


@pytest.mark.long
@pytest.mark.xdist_group("prefect")
def test_drill_machine_never_starts_a_backup(tmp_path: Path) -> None:
    config_file = furnish_with_incidents(tmp_path, EACH_MINUTE)
    with installation_at(config_file) as installation:
        run_backup(installation, "main", "direct")
        text = config_file.read_text().replace('"30 2 * * *"', '"* * * * *"')
        config_file.write_text(text)
        case = open_exercise(installation)
        with serving(config_file, role="drills"):
            wait_until(
                lambda: any(run.ended_at for run in installation.ledger.runs.all("drill")),
                "a drill has run",
                seconds=240,
            )
            assert [run.way for run in installation.ledger.runs.all("backup")] == ["direct"]
            assert installation.ledger.timeline(case)[-1].action != "runner.started"
        (drill, *_) = installation.ledger.runs.all("drill")
        assert (drill.subject, drill.state, drill.way) == ("main", "done", "prefect")
        assert "the scheduled backup of main" not in said(config_file)
