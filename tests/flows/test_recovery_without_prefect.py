"""`serve` finishes a recovery while Prefect is down."""

import threading
from pathlib import Path

from flows.prefect_supervisor import PrefectSupervisor
from flows.serve_loop import Serving
from tests.flows.installations import is_over, plain_environment, ways
from tests.servers import START_SECONDS, free_port, wait_until
from tests.usecases.backup_installation import installation_at
from tests.usecases.installations import approve_as
from tests.usecases.recovery.recovery_installation import opened, prepared, tree


def test_recovery_continues_while_prefect_is_down(tmp_path: Path) -> None:
    config_file = prepared(tmp_path)
    with installation_at(config_file) as installation:
        case = opened(installation)
        approve_as(installation, case, "recover", "lee")
        dead = PrefectSupervisor(
            config_file=config_file,
            home=tmp_path / "prefect",
            url=f"http://127.0.0.1:{free_port()}/api",
            env=plain_environment(),
        )
        loop = Serving(installation=installation, config_file=config_file, prefect=dead)
        thread = threading.Thread(target=loop.run)
        thread.start()
        try:
            wait_until(lambda: is_over(installation, case), "the recovery is over")
        finally:
            loop.stop.set()
            thread.join(START_SECONDS)
        assert ways(installation, case)[-1] == "serve"
        assert tree(tmp_path / "live" / "recordings") == tree(tmp_path / "recordings")
