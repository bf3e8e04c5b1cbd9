"""One small backup and one drill, compared with the source."""

from pathlib import Path

from standfast.errors import ExitStatus
from standfast.usecases.backups.backup_run import run_backup
from standfast.usecases.drills.restore_drill import run_drill
from tests.kill.tracing import Death, Tracer, wrap_ledger, wrap_send_log, wrap_stores
from tests.usecases.installations import installation_at

SET = "main"


def back_up_and_drill(config_file: Path, identity: Path, log: Path, death: Death | None) -> None:
    """Back up, then drill; a process that is not killed sees both succeed."""
    tracer = Tracer(log=log, death=death)
    wrap_ledger(tracer)
    wrap_stores(tracer)
    wrap_send_log(tracer)
    with installation_at(config_file) as installation:
        assert run_backup(installation, SET, "direct").exit_status is ExitStatus.DONE
        drill = run_drill(installation, SET, identity, compares=True)
        assert drill.exit_status is ExitStatus.DONE, drill
