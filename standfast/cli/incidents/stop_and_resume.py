"""`standfast incident stop` and `resume`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from standfast.cli.incidents.incident_arguments import (
    PROGRESS_EXIT_STATUSES,
    RECORDED_EXIT_STATUSES,
    UNSIGNED,
    incident_argument,
    resolve_incident,
)
from standfast.cli.incidents.incident_opening import no_wait_option
from standfast.cli.incidents.incident_progress import go_on
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import acting_person_option, passphrase_file_option
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.cli.terminal.passphrase import signed_in
from standfast.cli.terminal.prompts import tell
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import Json

if TYPE_CHECKING:
    from standfast.playbook.status.unstarted_work import Left
    from standfast.usecases.core.installation import Installation


@command(
    "stop",
    exits={**RECORDED_EXIT_STATUSES, ExitStatus.REFUSED: f"it is closed; {UNSIGNED}"},
    example="standfast incident stop --as dana",
)
@incident_argument
@click.option("--all", "everything", is_flag=True, help="Every open incident.")
@click.option("--no-wait", is_flag=True, help="Do not wait for what is under way to end.")
@acting_person_option
@passphrase_file_option
@click.pass_obj
def stop(
    call: Call,
    incident: str | None,
    everything: bool,
    no_wait: bool,
    as_person: str | None,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Stop an incident: no further act begins.

    Acts that are under way are completed, looked up if their outcome is unknown, and recorded. A
    live incident needs --as, with any enrolled person.
    """
    from standfast.usecases.incidents.lifecycle import look, wait_until_still
    from standfast.usecases.incidents.lifecycle import stop as halt

    if everything and incident is not None:
        raise UsageError(f"say which: {incident}, or --all for every open incident; not both")
    with call.installation() as installation:
        if everything:
            stopped = [opened.id for opened in installation.ledger.incidents.all(only_open=True)]
        else:
            stopped = [resolve_incident(installation, incident)[0]]
        by = signed_in(call, installation, as_person, passphrase_file)
        for incident_id in stopped:  # all of them first: the waiting may take its time
            halt(installation, incident_id, by=by)
        documents: list[Json] = []
        lines: list[Line] = []
        next_step = ""
        for incident_id in stopped:
            left = _left_by_a_stop(installation, incident_id)
            if not no_wait:
                if open_ends := left["under_way"] + left["unknown"]:
                    tell(
                        f"{incident_id} is stopped: nothing more begins. Waiting for the end of "
                        f"{counted(open_ends, 'act')} under way or in doubt; Ctrl-C leaves that to "
                        "`standfast serve`, or to whoever stops it again."
                    )
                wait_until_still(installation, incident_id)
                left = _left_by_a_stop(installation, incident_id)
            next_step = look(installation, incident_id).standing.next_step
            documents.append({"incident": incident_id, "is_stopped": True, **left})
            lines.append(f"{incident_id} is stopped; {_still_ends(left)}.")
    if len(stopped) > 1:
        next_step = "`standfast status` shows each of them, and what it waits for."
    lines.append(f"Next: {next_step}")
    document: dict[str, Json] = {"stopped": documents}
    if len(documents) == 1 and not everything:
        document |= cast("dict[str, Json]", documents[0])
    call.say(document, lines if stopped else ["No incident is open."])
    return ExitStatus.DONE


def _left_by_a_stop(installation: "Installation", incident_id: str) -> dict[str, int]:
    from standfast.usecases.incidents.lifecycle import look

    state = look(installation, incident_id).state
    views = (*state.steps.values(), *state.extra)
    return {
        "done": sum(view.counts.done for view in views),
        "under_way": sum(view.counts.submitting for view in views),
        "unknown": sum(view.counts.unknown for view in views),
        "not_begun": sum(view.counts.planned for view in views),
    }


def _still_ends(left: Mapping[str, int]) -> str:
    """Return how many acts are done, not begun, under way or unknown."""
    parts = [f"{left['done']:,} done", f"{left['not_begun']:,} not begun"]
    if left["under_way"]:
        parts.append(f"{left['under_way']:,} still under way, brought to their end")
    if left["unknown"]:
        parts.append(f"{left['unknown']:,} that nobody can tell: `incident status --targets`")
    return ", ".join(parts)


@command("resume", exits=PROGRESS_EXIT_STATUSES, example="standfast incident resume --as dana")
@incident_argument
@no_wait_option
@acting_person_option
@passphrase_file_option
@click.pass_obj
def resume(
    call: Call,
    incident: str | None,
    no_wait: bool,
    as_person: str | None,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Resume a stopped incident, after a list of what will run.

    A live incident needs --as, with a person that has a role. Notices begin their abort window
    again. The command also runs an interrupted incident that was not stopped, without a sign-in.
    """
    from standfast.usecases.incidents.lifecycle import resume as let_go_on

    with call.installation() as installation:
        incident_id, _ = resolve_incident(installation, incident)
        left = _left_to_resume(installation, incident_id)
        let_go_on(
            installation, incident_id, by=signed_in(call, installation, as_person, passphrase_file)
        )
        details: dict[str, Json] = {"resumes": [work.as_json() for work in left]}
        return go_on(call, installation, incident_id, no_wait=no_wait, details=details)


def _left_to_resume(installation: "Installation", incident_id: str) -> "Sequence[Left]":
    """Print and return what resuming runs, and how to cancel a notice."""
    from standfast.playbook.status.unstarted_work import not_begun
    from standfast.usecases.incidents.lifecycle import look

    state = look(installation, incident_id).state
    if not state.is_halted or state.is_closed:
        return ()
    left = not_begun(state)
    seconds = {
        row.step: row.hold_seconds for row in installation.ledger.notices.of_incident(incident_id)
    }
    for work in left:
        wait = seconds.get(work.step, 0)
        after = f" after {wait} s" if work.is_notice and wait else ""
        give_up = f"; `standfast notice stop {incident_id} {work.step}` gives it up alone"
        tell(f"Goes on{after}: {work}{give_up if work.is_notice and work.planned else ''}")
    return left
