"""Running of an incident from the command line, and its result.

Rules
- A running `standfast serve` gets one second to pick the incident up, and this process then follows
  it. If none picks it up, or if it dies, this process runs the steps itself.
- The command does not wait for messages that are only retried later: `serve` retries them.
- The result shows counts for each step, why targets were not done, and one next step.
- Evidence that this process sealed is time-stamped after the result is printed, so that the result
  does not wait for the authority.
"""

import sys
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Tell
from standfast.errors import ExitStatus, StandfastError
from standfast.records import Json, JsonObject, Mode, StepState

if TYPE_CHECKING:
    from standfast.playbook.run_state import State
    from standfast.usecases.core.installation import Installation
    from standfast.usecases.incidents.outcome import Outcome

_PICKED_UP_SECONDS = 1.0
_LOOK_SECONDS = 0.1
_STAMP_SECONDS = 5.0
_EXERCISE = "EXERCISE. Nothing live is touched: what is said to be done was done to stand-ins."


def carry_on(
    call: Call,
    installation: "Installation",
    incident_id: str,
    *,
    details: JsonObject,
    before: list[Line],
    undo_came_to: StepState | None = None,
) -> ExitStatus:
    """Run an incident and print the result after the lines `before`."""
    from standfast.usecases.incidents.lifecycle import advance

    with call.progress() as tell:

        def show(state: "State") -> None:
            _show(tell, state)

        followed = _followed(installation, incident_id, tell)
        outcome = followed or advance(installation, incident_id, "direct", show)
    outcome = replace(outcome, undo_came_to=undo_came_to)
    status = print_outcome(call, installation, outcome, details=details, before=before)
    if followed is None and installation.config.custody.timestamp is not None:
        _stamp(installation, incident_id)
    return status


def _stamp(installation: "Installation", incident_id: str) -> None:
    """Time-stamp new seals in one short attempt; `status` names the rest."""
    from standfast.usecases.evidence.time_stamp_requests import stamp_pending

    with suppress(OSError):  # who reads it may have gone; the end of the process says so
        sys.stdout.flush()
    with suppress(StandfastError, OSError, KeyboardInterrupt):
        for _ in stamp_pending(installation, incident_id, seconds=_STAMP_SECONDS):
            pass  # each folder is named by `evidence list`


def go_on(
    call: Call,
    installation: "Installation",
    incident_id: str,
    *,
    no_wait: bool,
    details: dict[str, Json] | None = None,
    before: list[Line] | None = None,
    undo_came_to: StepState | None = None,
) -> ExitStatus:
    """Run an incident after a decision; with `no_wait` only print its state."""
    from standfast.usecases.incidents.lifecycle import look

    if no_wait:
        return print_outcome(
            call,
            installation,
            look(installation, incident_id),
            details=details or {},
            before=before or [],
            status=ExitStatus.DONE,  # it is noted, whatever the incident waits for
        )
    return carry_on(
        call,
        installation,
        incident_id,
        details=details or {},
        before=before or [],
        undo_came_to=undo_came_to,
    )


def print_outcome(
    call: Call,
    installation: "Installation",
    outcome: "Outcome",
    *,
    details: JsonObject,
    before: list[Line],
    status: ExitStatus | None = None,
) -> ExitStatus:
    """Print the state of an incident; return its exit status, or `status`."""
    from standfast.cli.incidents.incident_status import status_lines
    from standfast.usecases.reports.incident_status import incident_status

    report = incident_status(installation, outcome)
    status = outcome.exit_status if status is None else status
    lines = status_lines(report, installation.config.organisation.time_zone)
    played = [_EXERCISE] if report.state.mode is Mode.EXERCISE else []
    document = {**details, **report.as_json(), "exit_status": int(status)}
    call.say(document, [*played, *before, *lines])
    return status


def _followed(installation: "Installation", incident_id: str, tell: Tell) -> "Outcome | None":
    """Follow a running `serve`; None if there is none, or if it stops early."""
    from standfast.retry_rules import LONGEST_WHILE_ASKED
    from standfast.usecases.incidents.lifecycle import has_work, look
    from standfast.usecases.incidents.runner_waiting import (
        waits_only_for_notices as asks_meanwhile,
    )

    patience = LONGEST_WHILE_ASKED.total_seconds()
    runners, clock = installation.ledger.runners, installation.clock
    if not runners.alive(None, clock()):
        return None
    give_up_at = time.monotonic() + _PICKED_UP_SECONDS
    asks_since: float | None = None
    while time.monotonic() < give_up_at:
        if runners.alive(incident_id, clock()):
            state = installation.ledger.incidents.state(incident_id)
            _show(tell, state)
            give_up_at = time.monotonic() + _PICKED_UP_SECONDS
            asks_since = (asks_since or time.monotonic()) if asks_meanwhile(state) else None
            if asks_since is not None and time.monotonic() - asks_since > patience:
                return look(installation, incident_id)
        elif not has_work(installation, incident_id):
            return look(installation, incident_id)
        time.sleep(_LOOK_SECONDS)
    return None


def _show(tell: Tell, state: "State") -> None:
    from standfast.usecases.reports.incident_status import begun_steps

    for view in begun_steps(state):
        if view.counts.total:
            tell(view.step, view.counts.total - view.counts.under_way, view.counts.total)
