"""`standfast notice read`: the text of a notice.

The text is a part of the plan of a step. An approval is a person's signature over this plan.
"""

import click

from standfast.cli.incidents.incident_arguments import incident_argument, open_incident
from standfast.cli.notices.staged_sending import STEP_METAVAR, step_argument
from standfast.cli.parsing.commands import command
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.errors import ExitStatus, UsageError
from standfast.records import Json
from standfast.suggestions import known_names_hint


@command(
    "read",
    exits={
        ExitStatus.DONE: "the text is shown; nothing was sent",
        ExitStatus.USAGE: "there is no such incident, step or language, or the step is not "
        "planned yet",
    },
    example="standfast notice read inc-2026-0001 tell_customers --lang es",
)
@incident_argument
@step_argument
@click.option("--lang", metavar="LANG", help="Show this language only.")
@click.pass_obj
def read(call: Call, incident: str | None, step: str | None, lang: str | None) -> ExitStatus:
    """Show the text of a notice of an incident in each language.

    This is the text that an approval signs. A name in brackets stands for a value of each
    recipient. The output names nobody, and nothing is sent.
    """
    from standfast.usecases.notices.preview import planned_words

    with open_incident(call, incident, step, takes=STEP_METAVAR) as (
        installation,
        incident_id,
        (name,),
    ):
        planned = planned_words(installation, incident_id, name)
    shown = [message for message in planned.messages if lang in (None, message.language)]
    if lang is not None and not shown:
        known = known_names_hint(lang, [message.language for message in planned.messages])
        raise UsageError(f"notice of {name!r}: it has no language {lang!r}; {known}")
    lines: list[Line] = [f"{planned.step}: {planned.template} to {planned.audience}"]
    for message in shown:
        text = message.text.rstrip("\n")
        lines += ["", f"({message.language}) Subject: {message.subject}", "", text]
    document: dict[str, Json] = {
        "incident": incident_id,
        "step": planned.step,
        "round": planned.round,
        "notice": planned.template,
        "audience": planned.audience,
        "digest": planned.digest,
        "languages": {
            message.language: {
                "subject": message.subject,
                "text": message.text,
                "html": message.html,
            }
            for message in shown
        },
    }
    return call.print_result(document, lines)
