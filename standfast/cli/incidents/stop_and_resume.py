"""`standfast incident stop` and `resume`.

A stopped incident locks no more accounts and sends no more messages until it is resumed.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.incident_arguments import (
    PROGRESS_EXIT_STATUSES,
    RECORDED_EXIT_STATUSES,
    UNSIGNED,
    incident_argument,
    open_incident,
    resolve_incident,
)
from standfast.cli.incidents.incident_progress import run_and_print
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import acting_person_options, no_wait_option, stored_option
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.cli.terminal.passphrase import signed_in
from standfast.cli.terminal.prompts import print_note
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import Json

if TYPE_CHECKING:
    from standfast.playbook.status.unstarted_work import UnstartedStep
    from standfast.usecases.core.installation import Installation


@command(
    "stop",
    exits={**RECORDED_EXIT_STATUSES, ExitStatus.REFUSED: f"the incident is closed; or {UNSIGNED}"},
    example="standfast incident stop --as dana",
)
@incident_argument
@click.option("--all", "everything", is_flag=True, help="Stop every open incident.")
@stored_option("--no-wait", is_flag=True, help="Do not wait for the end of acts under way.")
@acting_person_options
@click.pass_obj
def stop(call: Call, incident: str | None, everything: bool) -> ExitStatus:
    """Stop an incident: no further act begins.

    Acts under way are completed and recorded; unknown outcomes are looked up. A live incident needs
    --as, with any enrolled person.
    """
    from standfast.usecases.incidents import lifecycle

    if everything and incident is not None:
        raise UsageError(f"arguments: {incident} and --all exclude each other. Give one of them")
    with call.installation() as installation:
        if everything:
            stopped = [opened.id for opened in installation.ledger.incidents.all(only_open=True)]
        else:
            stopped = [resolve_incident(installation, incident)[0]]
        by = signed_in(call, installation)
        for incident_id in stopped:  # stop all of them before the wait, which may take long
            lifecycle.stop(installation, incident_id, by=by)
        documents: list[dict[str, Json]] = []
        lines: list[Line] = []
        next_step = ""
        for incident_id in stopped:
            left = _count_acts(installation, incident_id)
            if not call.no_wait:
                if unresolved := left["under_way"] + left["unknown"]:
                    print_note(
                        f"{incident_id} is stopped: nothing more begins. Waiting for the outcome "
                        f"of {counted(unresolved, 'act')}. After Ctrl-C, `standfast serve` or the "
                        "next `standfast incident stop` records the outcome."
                    )
                lifecycle.wait_until_still(installation, incident_id)
                left = _count_acts(installation, incident_id)
            next_step = lifecycle.look(installation, incident_id).summary.next_step
            documents.append({"incident": incident_id, "is_stopped": True, **left})
            lines.append(f"{incident_id} is stopped; {_counts(left)}.")
    if len(stopped) > 1:
        next_step = "`standfast status` shows the state of each."
    lines.append(f"Next: {next_step}")
    document: dict[str, Json] = {"stopped": documents}
    if len(documents) == 1 and not everything:
        document |= documents[0]
    return call.print_result(document, lines if stopped else ["No incident is open."])


def _count_acts(installation: "Installation", incident_id: str) -> dict[str, int]:
    from standfast.usecases.incidents.lifecycle import look

    state = look(installation, incident_id).state
    views = (*state.steps.values(), *state.extra)
    return {
        "done": sum(view.counts.done for view in views),
        "under_way": sum(view.counts.submitting for view in views),
        "unknown": sum(view.counts.unknown for view in views),
        "not_begun": sum(view.counts.planned for view in views),
    }


def _counts(left: Mapping[str, int]) -> str:
    """Return how many acts are done, not started, under way or unknown."""
    parts = [f"{left['done']:,} done", f"{left['not_begun']:,} not started"]
    if left["under_way"]:
        parts.append(f"{left['under_way']:,} under way, which are completed")
    if left["unknown"]:
        parts.append(f"{left['unknown']:,} with unknown outcome: `incident status --targets`")
    return ", ".join(parts)


@command("resume", exits=PROGRESS_EXIT_STATUSES, example="standfast incident resume --as dana")
@incident_argument
@no_wait_option
@acting_person_options
@click.pass_obj
def resume(call: Call, incident: str | None) -> ExitStatus:
    """Resume a stopped incident, after a list of what will run.

    A live incident needs --as, with a person that has a role. Each waiting notice begins its abort
    window (the time before its first message) again. An interrupted incident that was not stopped
    needs no sign-in: the command continues it.
    """
    from standfast.usecases.incidents import lifecycle

    with open_incident(call, incident) as (installation, incident_id, _):
        left = _print_remaining_work(installation, incident_id)
        lifecycle.resume(installation, incident_id, by=signed_in(call, installation))
        details = {"resumes": [work.as_json() for work in left]}
        return run_and_print(call, installation, incident_id, details)


def _print_remaining_work(
    installation: "Installation", incident_id: str
) -> "Sequence[UnstartedStep]":
    """Print and return the work that a resume starts."""
    from standfast.playbook.status.unstarted_work import not_begun
    from standfast.usecases.incidents.lifecycle import look

    state = look(installation, incident_id).state
    if not state.is_stopped_or_closed or state.is_closed:
        return ()
    left = not_begun(state)
    seconds = {
        row.step: row.hold_seconds for row in installation.ledger.notices.of_incident(incident_id)
    }
    for work in left:
        wait = seconds.get(work.step, 0)
        after = f" after {wait} s" if work.is_notice and wait else ""
        cancel = f". To cancel only this notice: `standfast notice stop {incident_id} {work.step}`"
        print_note(f"Continues{after}: {work}{cancel if work.is_notice and work.planned else ''}")
    return left
