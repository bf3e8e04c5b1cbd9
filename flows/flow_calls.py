"""Calls of flows in this process, by `serve` and the demo.

Rules
- The process uses one Prefect server, chosen before Prefect is imported (`use_server`).
- The heartbeat of the flow is off, because it would delay each call by a second. It is not needed,
  because the flow runs in the caller's process.
- Logs of flows go to Prefect and not to the terminal, which belongs to the caller.
- If a flow fails, `FlowFailed` is raised with the message that Prefect shows. This message contains
  nothing secret.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from flows.error_boundary import FlowFailed
from flows.prefect_server import PrefectServer, environment

_HAND_OVER_SECONDS = 5.0


def use_server(server: PrefectServer, home: Path) -> None:
    """Make every flow of this process use `server` from now on."""
    os.environ.update(environment(home, server.url, os.environ, server.secret))
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"


def load() -> None:
    """Import Prefect and the flows, which takes a second or two."""
    for module in ("nightly_backup", "drills", "incident_response"):
        import_module(f"flows.{module}")


def back_up(config: Path, set_name: str) -> None:
    """Run the nightly backup of one set."""
    from flows.nightly_backup import nightly_backup

    _call(nightly_backup, str(config), set_name)


def drill(config: Path, set_name: str, *, compares: bool) -> None:
    """Run the restore drill of one set with the configured identity."""
    from flows.drills import restore_drill

    _call(restore_drill, str(config), set_name, compares)


def respond(config: Path, incident: str) -> None:
    """Run an incident until it needs a person or is finished."""
    from flows.incident_response import respond_to_incident

    _call(respond_to_incident, str(config), incident)


def hand_over() -> None:
    """Send the pending data of Prefect's client; wait a few seconds at most."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=_HAND_OVER_SECONDS)


def _call(wrapped: Any, *parameters: object) -> None:
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        try:
            state = wrapped(*parameters, return_state=True)
        except Exception as error:
            # The flow itself raises nothing. This is an error of Prefect, and its text may contain
            # a secret.
            problem = f"the flow {wrapped.name} could not be run: {type(error).__name__}"
        else:
            problem = "" if state.is_completed() else f"the flow {wrapped.name}: {state.message}"
    if problem:
        raise FlowFailed(problem)
