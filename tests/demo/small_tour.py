"""A small tour that runs once for all tests and test processes.

The tour runs in its own process, as `standfast demo` does: it chooses its Prefect server before
Prefect is imported. Its servers are ended at once; the tests read what it left on disk.
"""

import fcntl
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from demo import server_processes
from demo.call_centre import CallCentre, Scale
from demo.fictional_people import agents, customers
from tests.servers import need

SCALE = Scale(calls=8, call_seconds=50, customers=40, agents=8, taken_over=5, innocent=2)
_ROOT = Path(__file__).parents[2]
_TOUR = """
import json, sys
from pathlib import Path
from demo.call_centre import Scale
from demo.tour import run
sys.exit(run(Path(sys.argv[1]), as_json=True, scale=Scale(**json.loads(sys.argv[2]))))
"""
_DEADLINE_SECONDS = 240


@dataclass(frozen=True, kw_only=True)
class Tour:
    """Results of a tour."""

    folder: Path
    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.stdout)
        return found

    @property
    def config_file(self) -> Path:
        return self.folder / "standfast.toml"

    @property
    def centre(self) -> CallCentre:
        return CallCentre(
            folder=self.folder / "centre",
            scale=SCALE,
            agents=tuple(agents(SCALE.agents, SCALE.seed)),
            customers=tuple(customers(SCALE.customers, SCALE.seed)),
        )


@pytest.fixture(scope="session")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Tour:
    """A small tour that has ended, with its servers."""
    need("scim2-server", "it is the directory of the demo; install the dev requirements")
    need("aiosmtpd", "it is the mail server of the demo; install the dev requirements")
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, result = shared / "demo-tour", shared / "demo-tour.json"
    with (shared / "demo-tour.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not result.exists():
            result.write_text(json.dumps(asdict_of(_run(folder))))
    return Tour(**{**json.loads(result.read_text()), "folder": folder})


def asdict_of(tour: Tour) -> dict[str, Any]:
    """Return a dictionary for JSON."""
    return {**asdict(tour), "folder": str(tour.folder)}


def _run(folder: Path) -> Tour:
    ended = subprocess.run(
        [sys.executable, "-c", _TOUR, str(folder), json.dumps(asdict(SCALE))],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=_DEADLINE_SECONDS,
        check=False,
    )
    if (folder / server_processes.SERVERS_FILE).exists():
        server_processes.stop(folder)
    return Tour(folder=folder, status=ended.returncode, stdout=ended.stdout, stderr=ended.stderr)
