"""`standfast incident carry-out`: open live the plan of a trigger.

A trigger is a configured way to open an incident from outside, such as a webhook. A trigger whose
messages are not signed opens only a plan: an incident that changes nothing.
"""

import sys

import click

from standfast.cli.incidents.incident_arguments import PROGRESS_EXIT_STATUSES
from standfast.cli.incidents.incident_opening import opener_options
from standfast.cli.incidents.incident_progress import run_and_print
from standfast.cli.incidents.step_decisions import digest_option
from standfast.cli.parsing.commands import command
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.passphrase import signed_in
from standfast.cli.terminal.prompts import confirm, print_note
from standfast.errors import ExitStatus
from standfast.records import Json


@command(
    "carry-out",
    exits={
        **PROGRESS_EXIT_STATUSES,
        ExitStatus.USAGE: "there is no such incident, or it is not a plan",
        ExitStatus.REFUSED: "targets were added to the plan since it was shown; nothing was done",
    },
    example="standfast incident carry-out inc-2026-0001 --as dana",
)
@click.argument("plan", metavar="INCIDENT", help="The plan.")
@digest_option
@opener_options
@click.pass_obj
def carry_out(call: Call, plan: str, digest: str) -> ExitStatus:
    """Open a plan live, with the same inputs.

    The plan is closed and a new incident is opened. Repeating the command continues that incident.
    If trigger messages were added to the plan since it was opened, or if its playbook was edited,
    the plan is shown again and must be confirmed.
    """
    from standfast.playbook.status.person_tasks import SHOWN
    from standfast.usecases.triggers import plan_promotion

    with call.installation() as installation:
        opener = signed_in(call, installation)
        try:
            opened = plan_promotion.carry_out(installation, plan, opener, as_shown=digest)
        except plan_promotion.PlanChanged as error:
            now = plan_promotion.read_plan(installation, plan)
            given = ", ".join(f"{name}: {number}" for name, number in now.given.items())
            lines = [
                f"{error}.",
                f"The plan now has {given}; {now.joined} further messages were added to it.",
                f"Show its targets by name: `standfast incident status {plan} --targets`.",
            ]
            if now.is_edited:
                lines.append(f"Read the edited playbook: `standfast playbook show {now.scenario}`.")
            if call.as_json or not sys.stdin.isatty():
                exactly = f"{plan} --digest {now.digest[:SHOWN]}"
                lines.append(
                    f"To open exactly this plan live: `standfast incident carry-out {exactly}`."
                )
                raise plan_promotion.PlanChanged("\n".join(lines)) from None
            for line in lines:
                print_note(line)
            if not confirm("Open exactly this plan live?"):
                raise
            opened = plan_promotion.carry_out(installation, plan, opener, as_shown=now.digest)
        details: dict[str, Json] = {"plan": plan, "has_joined": opened.has_joined}
        return run_and_print(call, installation, opened.incident, details)
