"""`standfast notice posted`, `held`, `tell` and `leave-out`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.incident_arguments import (
    PROGRESS_EXIT_STATUSES,
    incident_argument,
    parse_moment,
    resolve_incident,
)
from standfast.cli.incidents.incident_opening import no_wait_option
from standfast.cli.incidents.incident_progress import go_on
from standfast.cli.notices.correction import values_of
from standfast.cli.notices.staged_sending import STEP_METAVAR, step_argument
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import passphrase_file_option
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.passphrase import signed_in
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import Json

if TYPE_CHECKING:
    from standfast.usecases.notice_follow_up.held_recipients import Held

_SAID: dict[ExitStatus, str] = {
    ExitStatus.DONE: "it is in the ledger, with who said it",
    ExitStatus.USAGE: "there is no such incident, step or mark, or it was said before",
    ExitStatus.REFUSED: "the step names roles, and you have none of them",
}
speaker_option = click.option(
    "--as",
    "as_person",
    metavar="PERSON",
    help="Who says so, signed in; needed where roles are named.",
)
because_option = click.option("--because", default="", help="Why; it is kept with them.")
mark_argument = click.argument(
    "mark", required=False, help="Who, as `standfast notice held` names them."
)
_A_MARK = "MARK (`standfast notice held` names each)"


@command(
    "posted",
    exits=_SAID,
    example="standfast notice posted tell_customers --at 2026-03-02T16:00+01:00 --as lee",
)
@incident_argument
@step_argument
@click.option("--at", metavar="TIME", help="When, as 2026-03-02T16:00+01:00; now without it.")
@click.option(
    "--letter",
    "marks",
    multiple=True,
    metavar="MARK",
    help="This one only, by the mark at its foot; may be given again.",
)
@click.option(
    "--came-back", is_flag=True, help="These could not be delivered; name them by --letter."
)
@click.option("--thrown-away", is_flag=True, help="They were not posted, and will not be.")
@because_option
@speaker_option
@passphrase_file_option
@click.pass_obj
def posted(
    call: Call,
    incident: str | None,
    step: str | None,
    at: str | None,
    marks: tuple[str, ...],
    came_back: bool,
    thrown_away: bool,
    because: str,
    as_person: str | None,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Record that letters of a notice were posted, so that they count.

    From then on their recipients count as notified. Applies to all written letters, or to those of
    --letter. With --came-back or --thrown-away it records that instead.
    """
    from standfast.usecases.notice_follow_up import letters

    if came_back and thrown_away:
        raise UsageError("a letter that came back was posted; say one of the two")
    if came_back and not marks:
        raise UsageError("name each that came back by the mark at its foot: --letter MARK")
    with call.installation() as installation:
        incident_id, (name,) = resolve_incident(
            installation, incident, step, least=1, most=1, takes=STEP_METAVAR
        )
        by = signed_in(call, installation, as_person, passphrase_file)
        if came_back:
            number = letters.came_back(installation, incident_id, name, marks, by=by)
        elif thrown_away:
            number = letters.discarded(installation, incident_id, name, because, marks=marks, by=by)
        else:
            number = letters.posted(
                installation, incident_id, name, at=parse_moment(at), marks=marks, by=by
            )
    outcome = "came back" if came_back else "thrown away" if thrown_away else "posted"
    call.say(
        {"incident": incident_id, "step": name, outcome.replace(" ", "_"): number},
        [
            f"{counted(number, 'letter')} of {name}: {outcome}.",
            f"Next: `standfast notice accounting {incident_id}` says who is told, and who is not.",
        ],
    )
    return ExitStatus.DONE


@command(
    "held",
    exits={
        ExitStatus.DONE: "nobody is to be decided about, or the incident is closed",
        ExitStatus.USAGE: "there is no such incident",
        ExitStatus.WAITS_FOR_PEOPLE: "somebody is to be decided about",
    },
    example="standfast notice held",
)
@incident_argument
@click.pass_obj
def list_held(call: Call, incident: str | None) -> ExitStatus:
    """List held recipients, such as minors, and unreached recipients.

    A person decides whether and how a held recipient is notified. A recipient that no message
    reached needs a letter or another address.
    """
    from standfast.usecases.notice_follow_up.held_recipients import held, unreached

    with call.installation() as installation:
        incident_id, _ = resolve_incident(installation, incident)
        found = held(installation, incident_id)
        lost = unreached(installation, incident_id)
        is_open = installation.ledger.incidents.get(incident_id).is_open
    waiting = [recipient for recipient in found if not recipient.decision]
    status = ExitStatus.WAITS_FOR_PEOPLE if waiting and is_open else ExitStatus.DONE
    lines: list[Line] = [
        _listed(found, "to be decided") if found else f"Nobody is held in {incident_id}."
    ]
    if lost:
        lines += ["", "No message reached these; a letter would, or another address:"]
        lines += [_listed(lost, "told nothing yet")]
    if waiting and not is_open:
        lines.append(f"{incident_id} is closed: what was not decided stays so.")
    elif waiting:
        lines.append(
            f"Next: `standfast notice tell {incident_id} MARK --to ADDRESS --because WHY`, or "
            f"`standfast notice leave-out {incident_id} MARK --because WHY`."
        )
    elif is_open and any(not recipient.decision for recipient in lost):
        lines.append(
            f"Next: `standfast notice tell {incident_id} MARK --to ADDRESS --because WHY`; a "
            "postal address line by line."
        )
    call.say(
        {
            "incident": incident_id,
            "held": [recipient.as_json() for recipient in found],
            "not_reached": [recipient.as_json() for recipient in lost],
            "exit_status": int(status),
        },
        lines,
    )
    return status


def _listed(found: "Sequence[Held]", undecided: str) -> Table:
    return Table(
        rows=[
            [
                recipient.mark,
                recipient.step,
                recipient.why,
                f"{recipient.decision or undecided} {recipient.by}".strip(),
            ]
            for recipient in found
        ],
        headings=["mark", "step", "why", "decided"],
    )


@command(
    "tell",
    exits={
        **PROGRESS_EXIT_STATUSES,
        ExitStatus.USAGE: "there is no such incident or mark, they are told already, or the "
        "notice was corrected and no --value says what holds",
        ExitStatus.REFUSED: "a rule forbids telling them yet, by a corrected answer nobody is "
        "told, or the step names roles, and you have none of them",
    },
    example="standfast notice tell 3f9c12ab --to maria@example.net --name 'Maria Silva' "
    "--because 'her guardian' --as lee",
)
@incident_argument
@mark_argument
@click.option(
    "--to",
    multiple=True,
    metavar="ADDRESS",
    help="A guardian's or an heir's: one mail address, or a line of a postal one; may be "
    "given again.",
)
@click.option("--own-address", "own", is_flag=True, help="To their own address.")
@click.option("--name", default="", metavar="NAME", help="Who is greeted; the held one without.")
@click.option(
    "--value",
    multiple=True,
    metavar="NAME=TEXT",
    help="What holds by now, where the notice was corrected.",
)
@because_option
@speaker_option
@no_wait_option
@passphrase_file_option
@click.pass_obj
def tell(
    call: Call,
    incident: str | None,
    mark: str | None,
    to: tuple[str, ...],
    own: bool,
    name: str,
    value: tuple[str, ...],
    because: str,
    as_person: str | None,
    no_wait: bool,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Notify one held or unreached recipient at an address that you give.

    Its approvers are asked immediately, and it is sent after the approval. If the notice was
    corrected in the meantime, give the correct texts with --value.
    """
    from standfast.usecases.notice_follow_up.individual_notices import plan_individual_notice

    if bool(to) == own:
        raise UsageError(
            "say to whom: --to ADDRESS (a postal one line by line), or --own-address, and not both"
        )
    with call.installation() as installation:
        incident_id, (who,) = resolve_incident(
            installation, incident, mark, least=1, most=1, takes=_A_MARK
        )
        by = signed_in(call, installation, as_person, passphrase_file)
        planned = plan_individual_notice(
            installation,
            incident_id,
            who,
            to=to,
            name=name,
            values=values_of(value),
            because=because,
            by=by,
        )
        needs = f"it needs {counted(planned.needs_approvals, 'approval')}"
        details: dict[str, Json] = {
            "told_apart": {
                "mark": who,
                "step": planned.step,
                "needs_approvals": planned.needs_approvals,
            }
        }
        before: list[Line] = [f"{planned.step} is planned; {needs}."]
        return go_on(
            call, installation, incident_id, no_wait=no_wait, details=details, before=before
        )


@command(
    "leave-out",
    exits=_SAID,
    example="standfast notice leave-out 3f9c12ab --because 'no heir is known' --as lee",
)
@incident_argument
@mark_argument
@because_option
@speaker_option
@passphrase_file_option
@click.pass_obj
def leave_out(
    call: Call,
    incident: str | None,
    mark: str | None,
    because: str,
    as_person: str | None,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Decide not to notify a held recipient, with the reason."""
    from standfast.usecases.notice_follow_up.held_recipients import leave_out as keep_left_out

    with call.installation() as installation:
        incident_id, (who,) = resolve_incident(
            installation, incident, mark, least=1, most=1, takes=_A_MARK
        )
        by = signed_in(call, installation, as_person, passphrase_file)
        keep_left_out(installation, incident_id, [who], because, by=by)
    call.say(
        {"incident": incident_id, "mark": who, "decision": "left out"},
        [
            f"{who} is left out.",
            f"Next: `standfast notice held {incident_id}` lists who is still to be decided about.",
        ],
    )
    return ExitStatus.DONE
