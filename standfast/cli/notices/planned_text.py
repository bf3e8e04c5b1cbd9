"""`standfast notice read`: the text of a notice that an approval signs."""

import click

from standfast.cli.incidents.incident_arguments import incident_argument, resolve_incident
from standfast.cli.notices.staged_sending import STEP_METAVAR, step_argument
from standfast.cli.parsing.commands import command
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.errors import ExitStatus, UsageError
from standfast.suggestions import known_names_hint


@command(
    "read",
    exits={
        ExitStatus.DONE: "its words are shown, and nothing was sent",
        ExitStatus.USAGE: "there is no such incident, step or language, or the step is not "
        "planned yet",
    },
    example="standfast notice read inc-2026-0001 tell_customers --lang es",
)
@incident_argument
@step_argument
@click.option("--lang", metavar="LANG", help="In this language only.")
@click.pass_obj
def read(call: Call, incident: str | None, step: str | None, lang: str | None) -> ExitStatus:
    """Show the text of a notice of an incident in each language.

    This is the text that an approval signs. A name in brackets stands for a value of each
    recipient. The output names nobody, and nothing is sent.
    """
    from standfast.usecases.notices.preview import planned_words

    with call.installation() as installation:
        incident_id, (name,) = resolve_incident(
            installation, incident, step, least=1, most=1, takes=STEP_METAVAR
        )
        planned = planned_words(installation, incident_id, name)
    shown = [message for message in planned.messages if lang in (None, message.language)]
    if lang is not None and not shown:
        known = known_names_hint(lang, [message.language for message in planned.messages])
        raise UsageError(f"the notice of {name!r} has no language {lang!r}; {known}")
    lines: list[Line] = [f"{planned.step}: {planned.template} to {planned.audience}"]
    for message in shown:
        lines += [
            "",
            f"({message.language}) Subject: {message.subject}",
            "",
            message.text.rstrip("\n"),
        ]
    call.say(
        {
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
        },
        lines,
    )
    return ExitStatus.DONE
