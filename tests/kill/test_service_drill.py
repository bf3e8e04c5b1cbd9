"""A killed drill of services leaves nothing, and the next one is complete."""

from pathlib import Path

from standfast.errors import ExitStatus
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.drills import restore_drill, service_drill
from standfast.usecases.drills.drill_history import list_drills
from standfast.usecases.drills.service_drill import drill_services
from tests.kill.tracing import Death, Phase, Tracer, in_own_process, traced_points, wrap_ledger
from tests.sampling import sample
from tests.servers import need
from tests.usecases.backup_installation import furnish, identity, installation_at
from tests.usecases.drills.test_service_drill import SERVICES

KILLED = -9
YARA = '\n[drills]\nyara_rules = "rules.yar"\n'
RULE = 'rule ransom { strings: $text = "ransom note" condition: $text }\n'
STEPS = {"scan", "run_checks", "destroy"}  # steps of the drill of each set


def drill(config_file: Path, log: Path, death: Death | None) -> None:
    """Drill every service in this process; die at one of its steps."""
    tracer = Tracer(log=log, death=death)
    wrap_ledger(tracer)
    tracer.wrap(service_drill, "run_drill", "set")
    for module in (restore_drill, service_drill):
        tracer.wrap(module, "file_report", "report")
    for step in STEPS:
        tracer.wrap(restore_drill, step, step, is_within=True)
    with installation_at(config_file) as installation:
        outcome = drill_services(installation, (), identity(config_file.parent))
    assert outcome.exit_status is ExitStatus.DONE, outcome.as_json()


def test_next_drill_completes_a_killed_service_drill(tmp_path: Path) -> None:
    need("yara_x", "requirements/extras/yara.txt")
    config_file, log = furnish(tmp_path, SERVICES + YARA), tmp_path / "trace"
    (tmp_path / "rules.yar").write_text(RULE)
    with installation_at(config_file) as installation:
        for name in ("main", "other"):
            run_backup(installation, name, "direct")
    assert in_own_process(drill, config_file, log, None) == 0
    points = traced_points(log)
    assert {point.split(" ")[0] for point in points} == {"commit", "report", "set", *STEPS}
    deaths = [Death(point, phase) for point in points for phase in Phase]
    for death in sample(deaths, "drill of services"):
        assert in_own_process(drill, config_file, log, death) == KILLED, death
        assert in_own_process(drill, config_file, log, None) == 0, death
        assert [path.name for path in (tmp_path / "drills").iterdir()] == ["reports"], death
        with installation_at(config_file) as installation:
            assert list_drills(installation).problems == (), death
            assert {run.state for run in installation.ledger.runs.all("drill")} <= {
                "done",
                "failed",
            }
            assert installation.ledger.audit.verify().findings == (), death
