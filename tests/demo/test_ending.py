"""A tour that is told to end leaves no process that cannot be ended."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from demo import server_processes
from demo.call_centre import Scale
from tests.servers import need

_ROOT = Path(__file__).parents[2]
_SMALL = Scale(calls=8, call_seconds=46, customers=12, agents=6, taken_over=3, innocent=1)
_TOUR = """
import json, sys
from pathlib import Path
from demo.call_centre import Scale
from demo.tour import run
sys.exit(run(Path(sys.argv[1]), as_json=True, scale=Scale(**json.loads(sys.argv[2]))))
"""


def _noted(folder: Path) -> list[server_processes.Running]:
    try:
        return [
            server_processes.Running(**one)
            for one in json.loads((folder / "servers.json").read_text())
        ]
    except (OSError, ValueError):  # not there yet, or half written
        return []


@pytest.mark.long
@pytest.mark.parametrize(
    ("with_signal", "status"), [(signal.SIGTERM, -signal.SIGINT), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_ended_tour_leaves_only_stoppable_processes(
    tmp_path: Path, with_signal: signal.Signals, status: int
) -> None:
    need("scim2-server", "it is the directory of the demo; install the dev requirements")
    need("aiosmtpd", "it is the mail server of the demo; install the dev requirements")
    folder = tmp_path / "place"
    with subprocess.Popen(
        [sys.executable, "-c", _TOUR, str(folder), json.dumps(asdict(_SMALL))],
        cwd=_ROOT,
        env=os.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as tour:
        try:
            server_processes.wait_for(lambda: len(_noted(folder)) == 3, "Prefect", seconds=240)
            noted = _noted(folder)
            assert [one.name for one in noted if one.is_alive] == ["directory", "mail", "prefect"]
            tour.send_signal(with_signal)
            assert tour.wait(240) == status
        finally:
            tour.kill()
    left = server_processes.stop(folder)
    assert left == (0 if with_signal is signal.SIGTERM else 3)
    server_processes.wait_for(lambda: not any(one.is_alive for one in noted), "the end of all")
