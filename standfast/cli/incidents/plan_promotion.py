"""`standfast incident carry-out`: open live the plan of a trigger."""

import sys
from pathlib import Path

import click

from standfast.cli.incidents.incident_arguments import PROGRESS_EXIT_STATUSES
from standfast.cli.incidents.incident_progress import carry_on
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import passphrase_file_option
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.passphrase import passphrase
from standfast.cli.terminal.prompts import agrees, tell
from standfast.errors import ExitStatus
from standfast.records import JsonObject


@command(
    "carry-out",
    exits={
        **PROGRESS_EXIT_STATUSES,
        ExitStatus.USAGE: "there is no such incident, or it is no plan",
        ExitStatus.REFUSED: "the plan was added to since it was shown; nothing was done",
    },
    example="standfast incident carry-out inc-2026-0001 --as dana",
)
@click.argument("plan", metavar="INCIDENT", help="The plan.")
@click.option(
    "--as",
    "as_person",
    metavar="PERSON",
    help="Who opens it, signed in; without, each approval needs one more person.",
)
@click.option(
    "--digest",
    default="",
    metavar="DIGEST",
    help="Only as it was shown: its digest, or how it begins.",
)
@passphrase_file_option
@click.pass_obj
def carry_out(
    call: Call, plan: str, as_person: str | None, digest: str, passphrase_file: Path | None
) -> ExitStatus:
    """Open a plan live, with the same inputs.

    The plan is closed and a new incident is opened. The same command again continues that incident.
    If further messages were added to the plan, or if its playbook was edited, the plan is shown
    again and must be confirmed.
    """
    from standfast.playbook.status.person_tasks import SHOWN
    from standfast.usecases.approvals.step_decisions import authenticated_person
    from standfast.usecases.triggers.plan_promotion import PlanChanged, shown
    from standfast.usecases.triggers.plan_promotion import carry_out as open_live

    with call.installation() as installation:
        opened_by = None
        if as_person is not None:
            opened_by = authenticated_person(
                installation, as_person, passphrase(call, passphrase_file, as_person)
            )
        try:
            opened = open_live(installation, plan, opened_by, as_shown=digest)
        except PlanChanged as error:
            now = shown(installation, plan)
            given = ", ".join(f"{name}: {number}" for name, number in now.given.items())
            again = f"standfast incident carry-out {plan} --digest {now.digest[:SHOWN]}"
            lines = [
                f"{error}.",
                f"It is now about {given}; {now.joined} further messages were added to it.",
                f"Read whom it names: `standfast incident status {plan} --targets`.",
            ]
            if now.is_edited:
                lines.append(f"Read what it would do: `standfast playbook show {now.scenario}`.")
            if call.as_json or not sys.stdin.isatty():
                raise PlanChanged(
                    "\n".join([*lines, f"To carry out exactly this: `{again}`."])
                ) from None
            for line in lines:
                tell(line)
            if not agrees("Carry out exactly this?"):
                raise
            opened = open_live(installation, plan, opened_by, as_shown=now.digest)
        details: JsonObject = {"plan": plan, "has_joined": opened.has_joined}
        return carry_on(call, installation, opened.incident, details=details, before=[])
