"""Running of an incident by a command: follow `serve`, or run the steps.

Rules
- `standfast serve` is the service that runs incidents. If it runs, it has one second to start on
  the incident. This process then shows its progress. If no `serve` starts on the incident, or if it
  dies later, this process runs the steps itself.
- If people must act, and the only other work is to send failed messages again, the command ends
  after five seconds: `serve` or the next command sends these messages.
- The result shows counts for each step, why targets were not done, and one next step.
- Evidence (copies of logs and files) that this process collected and signed is time-stamped after
  the result is printed, so that the result does not wait for the time-stamp authority.
"""

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, ShowProgress
from standfast.errors import ExitStatus, StandfastError
from standfast.records import JsonObject, Mode, StepState

if TYPE_CHECKING:
    from standfast.playbook.run_state import State
    from standfast.usecases.core.installation import Installation
    from standfast.usecases.incidents.outcome import Outcome

_PICK_UP_SECONDS = 1.0
_POLL_SECONDS = 0.1
_STAMP_SECONDS = 5.0
_EXERCISE = "EXERCISE. Simulators did everything that is shown below; nothing live was touched."


def run_and_print(
    call: Call,
    installation: "Installation",
    incident_id: str,
    details: JsonObject | None = None,
    first_lines: Sequence[Line] = (),
    *,
    undo_result: StepState | None = None,
) -> ExitStatus:
    """Run an incident and print the result after the `first_lines`.

    With --no-wait, print the state of the incident and return DONE: the decision of this command is
    recorded, and another process runs the steps.
    """
    from standfast.usecases.incidents.lifecycle import advance, look

    if call.no_wait:
        return print_outcome(
            *(call, installation, look(installation, incident_id), details, first_lines),
            status=ExitStatus.DONE,
        )
    with call.progress() as show_progress:
        followed = _follow_serve(installation, incident_id, show_progress)
        outcome = followed or advance(
            installation, incident_id, "direct", lambda state: _show(show_progress, state)
        )
    outcome = replace(outcome, undo_result=undo_result)
    status = print_outcome(call, installation, outcome, details, first_lines)
    if followed is None and installation.config.custody.timestamp is not None:
        _time_stamp(installation, incident_id)
    return status


def _time_stamp(installation: "Installation", incident_id: str) -> None:
    """Time-stamp the new signatures over evidence in one short attempt.

    `standfast status` names signatures without a time stamp.
    """
    from standfast.usecases.evidence.time_stamp_requests import stamp_pending

    with suppress(OSError):  # `main` flushes again at the end, and reports a closed pipe then
        sys.stdout.flush()
    with suppress(StandfastError, OSError, KeyboardInterrupt):
        for _ in stamp_pending(installation, incident_id, seconds=_STAMP_SECONDS):
            pass  # print nothing after the result; `evidence list` shows each stamp


def print_outcome(
    call: Call,
    installation: "Installation",
    outcome: "Outcome",
    details: JsonObject | None = None,
    first_lines: Sequence[Line] = (),
    *,
    status: ExitStatus | None = None,
) -> ExitStatus:
    """Print the state of an incident; return its exit status, or `status`."""
    from standfast.cli.incidents.incident_status import status_lines
    from standfast.usecases.reports.incident_status import incident_status

    report = incident_status(installation, outcome)
    lines = status_lines(report, installation.config.organisation.time_zone)
    exercise_note = [_EXERCISE] if report.state.mode is Mode.EXERCISE else []
    return call.print_result(
        {**(details or {}), **report.as_json()},
        [*exercise_note, *first_lines, *lines],
        outcome.exit_status if status is None else status,
    )


def _follow_serve(
    installation: "Installation", incident_id: str, show_progress: ShowProgress
) -> "Outcome | None":
    """Show the progress of a running `serve`, and return the outcome.

    Returns None if no `serve` runs or if it stops early.
    """
    from standfast.retry_rules import LONGEST_WAIT_FOR_PERSON
    from standfast.usecases.incidents.lifecycle import has_work, look
    from standfast.usecases.incidents.runner_waiting import waits_only_for_notices

    patience = LONGEST_WAIT_FOR_PERSON.total_seconds()
    runners, clock = installation.ledger.runners, installation.clock
    if not runners.live(None, clock()):
        return None
    give_up_at = time.monotonic() + _PICK_UP_SECONDS
    waits_since: float | None = None
    while time.monotonic() < give_up_at:
        if runners.live(incident_id, clock()):
            state = installation.ledger.incidents.state(incident_id)
            _show(show_progress, state)
            now = time.monotonic()
            give_up_at = now + _PICK_UP_SECONDS
            waits_since = (waits_since or now) if waits_only_for_notices(state) else None
            if waits_since is not None and now - waits_since > patience:
                return look(installation, incident_id)
        elif not has_work(installation, incident_id):
            return look(installation, incident_id)
        time.sleep(_POLL_SECONDS)
    return None


def _show(show_progress: ShowProgress, state: "State") -> None:
    from standfast.usecases.reports.incident_status import started_steps_of

    for view in started_steps_of(state):
        if view.counts.total:
            show_progress(view.step, view.counts.total - view.counts.under_way, view.counts.total)
