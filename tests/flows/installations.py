"""Installation with exercises only, without live adapters."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from standfast.records import Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle
from tests.servers import START_SECONDS
from tests.usecases.backup_installation import SERVICE, furnish

ROOT = Path(__file__).parents[2]

MORE = (
    SERVICE
    + """
[drills]
identity = "file:offline/custodian.txt"

[accounts.agents]
kind = "scim"
url = "http://127.0.0.1:9/v2"
token = "env:SCIM_TOKEN"
"""
)
_SERVE = (
    "import sys; from pathlib import Path; from flows.serve_process import serve; "
    "serve(Path(sys.argv[1]), role_name=sys.argv[2] if len(sys.argv) > 2 else None)"
)


def furnish_with_incidents(folder: Path, more: str = "") -> Path:
    """Write the installation; return its configuration file."""
    return furnish(folder, MORE + more)


def open_exercise(installation: Installation, *accounts: str) -> str:
    """Open an exercise of the one-step playbook; return its id."""
    named = list(accounts) or ["agents:agent01"]
    return lifecycle.open_incident(
        installation, "lock", {"accounts": named}, mode=Mode.EXERCISE, opened_by="dana"
    ).incident


def is_over(installation: Installation, incident_id: str) -> bool:
    return lifecycle.look(installation, incident_id).summary.is_over


def ways(installation: Installation, incident_id: str) -> list[str]:
    """Name the way of each runner that worked on an incident."""
    events = installation.ledger.timeline(incident_id)
    return [event.detail["way"] for event in events if event.action == "runner.started"]


def plain_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this environment without Prefect's variables, with our code."""
    kept = {name: value for name, value in os.environ.items() if "PREFECT" not in name}
    return {**kept, "PYTHONPATH": str(ROOT), **(more or {})}


@contextmanager
def serving(
    config_file: Path, more: Mapping[str, str] | None = None, *, before: str = "", role: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `serve` in its own process, with its output next to the config.

    `before` is Python code that runs first in that process.
    """
    with (config_file.parent / "serve.log").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", before + _SERVE, str(config_file), *filter(None, [role])],
            env=plain_environment(more),
            stdout=said,
            stderr=said,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(START_SECONDS)
            finally:
                process.kill()


def said(config_file: Path) -> str:
    return (config_file.parent / "serve.log").read_text()


def processes_naming(text: str) -> list[int]:
    """Find the processes that have `text` in their environment or arguments."""
    return [pid for pid in _pids() if _names(pid, text)]


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _names(pid: int, text: str) -> bool:
    reads: list[Callable[[], bytes]] = [
        Path(f"/proc/{pid}/{name}").read_bytes for name in ("cmdline", "environ")
    ]
    try:
        return any(text.encode() in read() for read in reads)
    except OSError:
        return False
