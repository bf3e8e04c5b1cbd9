"""`standfast incident acknowledge`: confirm a page.

A page is an urgent message to a person on call. The confirmation states that this person acts.
"""

import click

from standfast.cli.incidents.incident_arguments import incident_argument, open_incident
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import sign_in_options
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.passphrase import signed_in
from standfast.errors import ExitStatus


@command(
    "acknowledge",
    exits={
        ExitStatus.DONE: "no further page is sent; the pages may have ended earlier, or nobody was "
        "paged",
        ExitStatus.USAGE: "there is no such incident",
        ExitStatus.REFUSED: "nobody signed in, or an account of the person is among the targets; "
        "pages continue",
    },
    example="standfast incident acknowledge inc-2026-0007 --as lee",
)
@incident_argument
@sign_in_options("Sign in as this person; required.")
@click.pass_obj
def acknowledge(call: Call, incident: str | None) -> ExitStatus:
    """Acknowledge a page: nobody else is paged about it.

    One acknowledgement counts for everything that the page is about, such as all incidents of one
    trigger. An acknowledgement approves nothing, and the incident continues. The timeline shows the
    person that acknowledged. A late acknowledgement, after the last page, is recorded too.
    """
    from standfast.cli.incidents.call_out_text import call_out_line
    from standfast.usecases.incidents.lifecycle import look
    from standfast.usecases.on_call import call_outs
    from standfast.usecases.triggers.message_intake import triggers_of

    with open_incident(call, incident) as (installation, incident_id, _):
        by = signed_in(call, installation)
        triggers = triggers_of(installation.config)
        done = call_outs.acknowledge(installation, triggers, incident_id, by)
        zone = installation.config.organisation.time_zone
        next_step = look(installation, incident_id).summary.next_step
    if done.ended and done.ended == done.late:
        line = f"{incident_id}: acknowledged late. Its pages had ended without an answer."
    elif done.ended:
        line = f"{incident_id}: acknowledged. Nobody else is paged about it."
    elif done.earlier:
        line = call_out_line(done.earlier, incident_id, zone)
    else:
        line = f"{incident_id}: nobody is being paged about it. Nothing was changed."
    return call.print_result(
        {
            "incident": incident_id,
            "ended": done.ended,
            "late": done.late,
            "earlier": done.earlier.as_json() if done.earlier else None,
        },
        [line, f"Next: {next_step}"],
    )
