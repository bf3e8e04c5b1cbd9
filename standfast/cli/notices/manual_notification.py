"""`standfast notice posted`, `held`, `tell` and `leave-out`.

A held recipient is a person that Standfast does not notify by itself, such as a minor: a user
decides about the message.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.incident_arguments import (
    PROGRESS_EXIT_STATUSES,
    incident_argument,
    open_incident,
    parse_moment,
)
from standfast.cli.incidents.incident_progress import run_and_print
from standfast.cli.notices.staged_sending import STEP_METAVAR, step_argument
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import no_wait_option, parse_values, speaker_options
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.passphrase import signed_in
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import Json

if TYPE_CHECKING:
    from standfast.usecases.notice_follow_up.held_recipients import HeldRecipient

_DECISION_EXIT_STATUSES: dict[ExitStatus, str] = {
    ExitStatus.DONE: "the ledger records it, with the person that decided",
    ExitStatus.USAGE: "there is no such incident, step or mark, or it is already recorded",
    ExitStatus.REFUSED: "the step names roles, and you have none of them",
}
because_option = click.option("--because", default="", help="The reason; it is recorded.")
mark_argument = click.argument(
    "mark", required=False, help="The recipient's mark from `standfast notice held`."
)
_A_MARK = "MARK (`standfast notice held` lists them)"


@command(
    "posted",
    exits=_DECISION_EXIT_STATUSES,
    example="standfast notice posted tell_customers --at 2026-03-02T16:00+01:00 --as lee",
)
@incident_argument
@step_argument
@click.option("--at", metavar="TIME", help="When, as 2026-03-02T16:00+01:00; by default now.")
@click.option(
    "--letter",
    "marks",
    multiple=True,
    metavar="MARK",
    help="Only this letter, by the mark at its foot; repeatable.",
)
@click.option("--came-back", is_flag=True, help="The letters of --letter could not be delivered.")
@click.option("--thrown-away", is_flag=True, help="The letters were not posted, and will not be.")
@because_option
@speaker_options
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
) -> ExitStatus:
    """Record that letters of a notice were posted.

    From then on, their recipients count as notified. The command applies to all written letters, or
    to those of --letter. With --came-back or --thrown-away, it records that the letters came back
    or were thrown away.
    """
    from standfast.usecases.notice_follow_up import letters

    if came_back and thrown_away:
        raise UsageError("arguments: --came-back and --thrown-away exclude each other. Give one")
    if came_back and not marks:
        raise UsageError("letters: none is named. Add --letter MARK for each letter that came back")
    with open_incident(call, incident, step, takes=STEP_METAVAR) as (
        installation,
        incident_id,
        (name,),
    ):
        of = (installation, incident_id, name)
        by = signed_in(call, installation)
        if came_back:
            number = letters.record_returned(*of, marks, by=by)
        elif thrown_away:
            number = letters.record_discarded(*of, because, marks=marks, by=by)
        else:
            number = letters.record_posted(*of, at=parse_moment(at), marks=marks, by=by)
    outcome = "came back" if came_back else "thrown away" if thrown_away else "posted"
    return call.print_result(
        {"incident": incident_id, "step": name, outcome.replace(" ", "_"): number},
        [
            f"{counted(number, 'letter')} of {name}: {outcome}.",
            f"Next: `standfast notice accounting {incident_id}` shows who is not notified yet.",
        ],
    )


@command(
    "held",
    exits={
        ExitStatus.DONE: "no recipient needs a decision, or the incident is closed",
        ExitStatus.USAGE: "there is no such incident",
        ExitStatus.WAITS_FOR_PEOPLE: "a recipient needs a decision",
    },
    example="standfast notice held",
)
@incident_argument
@click.pass_obj
def list_held(call: Call, incident: str | None) -> ExitStatus:
    """List held recipients, such as minors, and unreached recipients.

    A person must decide whether and how a held recipient is notified. A recipient that no message
    reached needs a letter or another address.
    """
    from standfast.usecases.notice_follow_up.held_recipients import list_held, unreached

    with open_incident(call, incident) as (installation, incident_id, _):
        found = list_held(installation, incident_id)
        lost = unreached(installation, incident_id)
        is_open = installation.ledger.incidents.get(incident_id).is_open
    waiting = [recipient for recipient in found if not recipient.decision]
    status = ExitStatus.WAITS_FOR_PEOPLE if waiting and is_open else ExitStatus.DONE
    lines: list[Line] = [
        _recipient_table(found, "undecided") if found else f"No recipient is held in {incident_id}."
    ]
    if lost:
        lines += ["", "Unreached recipients; send a letter, or use another address:"]
        lines += [_recipient_table(lost, "not notified")]
    tell_them = f"`standfast notice tell {incident_id} MARK --to ADDRESS --because WHY`"
    if waiting and not is_open:
        lines.append(f"{incident_id} is closed: nothing more can be decided.")
    elif waiting:
        lines.append(
            f"Next: {tell_them}, or `standfast notice leave-out {incident_id} MARK --because WHY`."
        )
    elif is_open and any(not recipient.decision for recipient in lost):
        lines.append(f"Next: {tell_them}; repeat --to for each line of a postal address.")
    document: dict[str, Json] = {
        "incident": incident_id,
        "held": [recipient.as_json() for recipient in found],
        "not_reached": [recipient.as_json() for recipient in lost],
    }
    return call.print_result(document, lines, status)


def _recipient_table(found: "Sequence[HeldRecipient]", undecided: str) -> Table:
    rows = [
        [
            recipient.mark,
            recipient.step,
            recipient.why,
            f"{recipient.decision or undecided} {recipient.by}".strip(),
        ]
        for recipient in found
    ]
    return Table(rows=rows, headings=["mark", "step", "reason", "decision"])


@command(
    "tell",
    exits={
        **PROGRESS_EXIT_STATUSES,
        ExitStatus.USAGE: "there is no such incident or mark, the recipient is already notified, "
        "or the notice was corrected and no --value gives the correct text",
        ExitStatus.REFUSED: (
            "a rule still forbids the notice to this recipient, a corrected "
            "answer ended the notice, or the step names roles, and you have "
            "none of them"
        ),
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
    help="The address of a guardian or an heir: one mail address, or one line of a postal "
    "address; repeatable.",
)
@click.option("--own-address", "own", is_flag=True, help="Use the recipient's own address.")
@click.option(
    "--name",
    default="",
    metavar="NAME",
    help="The name in the greeting, instead of the recipient's name.",
)
@click.option(
    "--value",
    multiple=True,
    metavar="NAME=TEXT",
    help="The correct text of a value, if the notice was corrected; repeatable.",
)
@because_option
@speaker_options
@no_wait_option
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
) -> ExitStatus:
    """Notify one held or unreached recipient at an address that you give.

    The approvers are asked immediately, and the message is sent after the approval. If the notice
    was corrected in the meantime, give the correct texts with --value.
    """
    from standfast.usecases.notice_follow_up.individual_notices import plan_individual_notice

    if bool(to) == own:
        raise UsageError(
            "address: give either --to ADDRESS, once for each line of a postal address, or "
            "--own-address"
        )
    with open_incident(call, incident, mark, takes=_A_MARK) as (installation, incident_id, (who,)):
        by = signed_in(call, installation)
        planned = plan_individual_notice(
            installation,
            incident_id,
            who,
            to=to,
            name=name,
            values=parse_values(value),
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
        before = [f"{planned.step} is planned; {needs}."]
        return run_and_print(call, installation, incident_id, details, before)


@command(
    "leave-out",
    exits=_DECISION_EXIT_STATUSES,
    example="standfast notice leave-out 3f9c12ab --because 'no heir is known' --as lee",
)
@incident_argument
@mark_argument
@because_option
@speaker_options
@click.pass_obj
def leave_out(call: Call, incident: str | None, mark: str | None, because: str) -> ExitStatus:
    """Decide not to notify a held recipient, with the reason."""
    from standfast.usecases.notice_follow_up import held_recipients

    with open_incident(call, incident, mark, takes=_A_MARK) as (installation, incident_id, (who,)):
        by = signed_in(call, installation)
        held_recipients.leave_out(installation, incident_id, [who], because, by=by)
    return call.print_result(
        {"incident": incident_id, "mark": who, "decision": "left out"},
        [
            f"{who} is left out.",
            f"Next: `standfast notice held {incident_id}` lists the recipients to decide about.",
        ],
    )
