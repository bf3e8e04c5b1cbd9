"""`standfast serve` with a Prefect server that the test runs.

It runs the loop of `serve` with a Prefect that is already warm. It omits the check of Prefect every
two seconds and the runner of backups, which are not used in an incident. The test, which runs the
server, restarts it.

On a busy machine, a living server may need long to answer the probe; a dead one refuses it at once.
In a clean run, a flow may also need long to begin, so it has more than the usual second.
"""

import functools
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from flows import flow_calls, prefect_supervisor, serve_loop
from flows.inline_response import BEGINS_WITHIN_SECONDS, run_response
from flows.prefect_server import PrefectServer, is_healthy
from flows.prefect_supervisor import PrefectSupervisor
from flows.serve_loop import Serving
from tests.flows.installations import plain_environment
from tests.kill.exchanges import CALL_HEADER
from tests.kill.scenario import Case

# Kinds of notes; each note is a line.
WARM = "warm"
# Kinds of notes that also name the incident.
CARRIED_ON = "carried-on"  # a call of the loop has ended
FLOW_BEGUN = "flow-begun"
FLOW_OVER = "flow-over"  # the flow has ended or was abandoned
LONG_SECONDS = 120.0


class AttendedElsewhere(PrefectSupervisor):
    """PrefectSupervisor with a Prefect server that the test runs."""

    def begin(self) -> None:
        assert self.url is not None
        self._server = PrefectServer(url=self.url, pid=0)
        self._warm(self._server)
        _note(self.config_file, WARM)


def noted(config_file: Path) -> Counter[str]:
    """Count the notes of this `serve`, which are next to its configuration."""
    log = _log(config_file)
    return Counter(log.read_text().splitlines()) if log.exists() else Counter()


def patience(config_file: Path) -> Path:
    """Return the path of a file; while it exists, a flow has long to begin."""
    return config_file.parent / "patience"


def serve_with_prefect(case: Case, url: str) -> None:
    """Serve until a request to end."""
    os.environ.update(case.env)  # the flow reads these variables, which a real `serve` inherits
    _note_calls(case.config_file)
    probe = functools.partial(is_healthy, seconds=LONG_SECONDS)
    setattr(prefect_supervisor, "is_healthy", probe)  # noqa: B010 - no name of its interface
    with case.installation() as installation:
        prefect = AttendedElsewhere(
            config_file=case.config_file,
            home=case.config_file.parent / "prefect",
            url=url,
            env=plain_environment(),
        )
        serving = Serving(installation=installation, config_file=case.config_file, prefect=prefect)
        signal.signal(signal.SIGTERM, lambda _number, _frame: serving.stop.set())
        serving.run()
    os._exit(0)  # as `serve` ends: Prefect's threads would wait for their server


def _log(config_file: Path) -> Path:
    return config_file.parent / "calls.log"


def _note(config_file: Path, line: str) -> None:
    with _log(config_file).open("a") as log:
        log.write(f"{line}\n")


def _note_calls(config_file: Path) -> None:
    respond, calls = flow_calls.respond, Counter[str]()

    @functools.wraps(run_response)
    def carry_on_noted(config: Path, incident: str, **more: Any) -> str:
        calls[incident] += 1
        is_patient = patience(config_file).exists()
        within = LONG_SECONDS if is_patient else BEGINS_WITHIN_SECONDS
        try:
            return run_response(config, incident, begins_within_seconds=within, **more)
        finally:
            _note(config_file, f"{CARRIED_ON} {incident}")

    @functools.wraps(respond)
    def respond_told_apart(config: Path, incident: str) -> None:
        from prefect.settings import PREFECT_CLIENT_CUSTOM_HEADERS, temporary_settings

        _note(config_file, f"{FLOW_BEGUN} {incident}")
        call = {CALL_HEADER: f"{incident} {calls[incident]}"}
        try:
            with temporary_settings({PREFECT_CLIENT_CUSTOM_HEADERS: call}):
                respond(config, incident)
        finally:
            _note(config_file, f"{FLOW_OVER} {incident}")

    setattr(serve_loop, "run_response", carry_on_noted)  # noqa: B010 - no name of its interface
    flow_calls.respond = respond_told_apart
