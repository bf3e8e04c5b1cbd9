"""`kill -9` of the Prefect server during a call, which continues.

The server of one `serve` is killed at a durable act of each kind in this run's part. While the call
works, it sends nothing to Prefect: `test_prefect_exchanges`, which kills the server at each
message, shows this.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.prefect_server import is_healthy
from standfast.records import EffectState
from standfast.usecases.core.installation import Installation
from tests.flows.installations import (
    furnish_with_incidents,
    is_over,
    open_exercise,
    plain_environment,
    processes_naming,
    said,
)
from tests.kill.prefect_killer import ASKED
from tests.sampling import sample
from tests.servers import START_SECONDS, wait_until
from tests.usecases.backup_installation import installation_at

ENDS_WITHIN_SECONDS = 120  # on a busy machine
STARTS_WITHIN_SECONDS = 240  # Prefect, on a busy machine
ENTRY = (
    "import sys; from pathlib import Path; from tests.kill.prefect_killer import serve_and_kill; "
    "serve_and_kill(Path(sys.argv[1]))"
)


@contextmanager
def serving(config_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Serve in another process, which kills the server at requested points."""
    with (config_file.parent / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", ENTRY, str(config_file)],
            env=plain_environment(),
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(START_SECONDS)
        finally:
            process.kill()


def locks(installation: Installation, case: str) -> list[tuple[EffectState, int]]:
    rows = installation.ledger.effects.of_incident(case)
    return [(row.state, row.tries) for row in rows if row.verb == "accounts.lock"]


def wait_for_prefect(config_file: Path, times: int) -> None:
    wait_until(
        lambda: said(config_file).count("Prefect answers") >= times,
        "Prefect answers",
        seconds=STARTS_WITHIN_SECONDS,
    )


def wait_for_the_end(installation: Installation, case: str) -> None:
    wait_until(
        lambda: is_over(installation, case), "the incident is over", seconds=ENDS_WITHIN_SECONDS
    )


@pytest.mark.xdist_group("prefect")
def test_incident_survives_death_of_prefect(
    tmp_path: Path,
) -> None:
    config_file = furnish_with_incidents(tmp_path)
    with serving(config_file) as process, installation_at(config_file) as installation:
        for number, kind in enumerate(sample(("commit", "observe", "call"), "prefect"), 1):
            wait_for_prefect(config_file, number)
            url = json.loads((tmp_path / "prefect/server.json").read_text())["url"]
            case = open_exercise(installation, "agents:agent01", "agents:agent02")
            (tmp_path / ASKED).write_text(kind)
            wait_for_the_end(installation, case)
            assert not (tmp_path / ASKED).exists(), f"Prefect was killed at a {kind}"
            assert not is_healthy(url)
            assert locks(installation, case) == [(EffectState.DONE, 1)] * 2
        assert process.poll() is None
        assert installation.ledger.audit.verify().is_whole
    wait_until(lambda: not processes_naming(str(tmp_path / "prefect")), "nothing is left running")
