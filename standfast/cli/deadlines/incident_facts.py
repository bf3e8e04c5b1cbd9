"""`standfast deadline fact`, `answer`, `notified`, `delay`, `affected`.

A fact is a dated statement, such as the time of awareness. An obligation is a duty to notify; its
clock is the running time limit.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import click

from standfast.cli.deadlines.clock_text import clock_document, due_text, state_words
from standfast.cli.incidents.incident_arguments import (
    incident_argument,
    open_incident,
    parse_moment,
)
from standfast.cli.parsing.commands import command
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.deadlines.incident_facts import FactKind
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import Json

_MAX_DIGITS = 10  # of a number of people: enough for every jurisdiction
_EXIT_STATUSES: dict[ExitStatus, str] = {
    ExitStatus.DONE: "the statement is recorded; the changed clocks are shown",
    ExitStatus.USAGE: "there is no such incident, obligation or place, or the value is not valid",
}
_TIME = "as 2026-03-02T14:20+01:00"
obligation_argument = click.argument(
    "obligation_id", metavar="[OBLIGATION]", required=False, help="The obligation's id."
)
because_option = click.option(
    "--because", default="", help="The source of the statement; it is recorded."
)
mistaken_option = click.option(
    "--mistaken", is_flag=True, help="Withdraw an earlier statement: the clock runs again."
)


@command(
    "fact",
    exits=_EXIT_STATUSES,
    example="standfast deadline fact inc-2026-0001 awareness --at 2026-03-02T14:20+01:00",
)
@incident_argument
@click.argument("name", required=False, metavar="[FACT]", help="The fact: awareness, discovery, ….")
@click.option(
    "--at",
    metavar="TIME",
    help=f"When, {_TIME}; by default now, or the time that is already stated.",
)
@because_option
@click.pass_obj
def fact(
    call: Call, incident: str | None, name: str | None, at: str | None, because: str
) -> ExitStatus:
    """State the time of a fact that starts legal time limits.

    Earlier statements stay visible.
    """
    return _state(
        *(call, (incident, name), "FACT", FactKind.TIME),
        lambda now, words: {"at": parse_moment(at), "reference": because},
    )


@command(
    "affected", exits=_EXIT_STATUSES, example="standfast deadline affected inc-2026-0001 US-CA 1200"
)
@incident_argument
@click.argument(
    "place",
    required=False,
    metavar="[PLACE]",
    help="The jurisdiction in which the people live, from `deadline places`.",
)
@click.argument("people", required=False, help="The number of people.")
@because_option
@click.pass_obj
def affected(
    call: Call, incident: str | None, place: str | None, people: str | None, because: str
) -> ExitStatus:
    """State how many people of a jurisdiction are affected."""
    return _state(
        *(call, (incident, place, people), "PLACE and PEOPLE", FactKind.AFFECTED),
        lambda now, words: {"count": _number(words[1]), "reference": because},
    )


@command(
    "answer",
    exits=_EXIT_STATUSES,
    example="standfast deadline answer inc-2026-0001 eu-gdpr-34-individuals no "
    "--because 'the laptop was encrypted'",
)
@incident_argument
@obligation_argument
@click.argument("is_owed", required=False, metavar="[yes|no]", help="Whether the test is met.")
@click.option(
    "--threshold",
    is_flag=True,
    help="Answer whether an incident of this kind reaches the threshold, instead of the test.",
)
@click.option(
    "--because", default="", help="The reason; required for no, which ends the obligation."
)
@click.pass_obj
def answer(
    call: Call,
    incident: str | None,
    obligation_id: str | None,
    is_owed: str | None,
    threshold: bool,
    because: str,
) -> ExitStatus:
    """Answer the legal test that decides whether an obligation is owed.

    Until then the obligation counts as owed.
    """
    kind = FactKind.THRESHOLD if threshold else FactKind.ANSWER
    return _state(
        *(call, (incident, obligation_id, is_owed), "OBLIGATION and yes or no", kind),
        lambda now, words: {"is_so": _yes_or_no(words[1]), "reference": because},
    )


@command(
    "notified",
    exits=_EXIT_STATUSES,
    example="standfast deadline notified inc-2026-0001 eu-gdpr-33-authority --receipt 'case 4711'",
)
@incident_argument
@click.argument(
    "obligation_id",
    metavar="[OBLIGATION]",
    required=False,
    help="The obligation's id, or people:PLACE.",
)
@click.option("--receipt", help="The proof, such as a case number; required.")
@click.option("--at", metavar="TIME", help=f"When, {_TIME}; by default now.")
@mistaken_option
@click.pass_obj
def notified(
    call: Call,
    incident: str | None,
    obligation_id: str | None,
    receipt: str | None,
    at: str | None,
    mistaken: bool,
) -> ExitStatus:
    """State that an obligation is fulfilled, with a receipt; end its clock."""
    if receipt is None or not receipt.strip():
        raise UsageError("receipt: none is given, and only a receipt ends a clock. Add --receipt")
    return _state(
        *(call, (incident, obligation_id), "OBLIGATION", FactKind.NOTIFIED),
        lambda now, words: {
            "at": None if mistaken else parse_moment(at) or now,
            "is_so": False if mistaken else None,
            "reference": receipt,
        },
    )


@command(
    "delay",
    exits=_EXIT_STATUSES,
    example="standfast deadline delay inc-2026-0001 US-FL --document 'letter of 2 March'",
)
@incident_argument
@click.argument(
    "scope",
    required=False,
    metavar="[WHAT]",
    help="An obligation's id, or a place for all its obligations.",
)
@click.option("--document", default="", help="The document that requests the delay; required.")
@click.option(
    "--until",
    metavar="TIME",
    help="The end of the delay; by default open. A past time ends a delay.",
)
@click.option(
    "--because",
    default="",
    help="The person that decided that a delay applies, and the reason; required if the rule does "
    "not mention such a delay.",
)
@mistaken_option
@click.pass_obj
def delay(
    call: Call,
    incident: str | None,
    scope: str | None,
    document: str,
    until: str | None,
    because: str,
    mistaken: bool,
) -> ExitStatus:
    """State that law enforcement requested a delay.

    Only the document of the request stops a clock. If the rule of the obligation does not mention
    such a delay, --because is required as well: see `standfast deadline show OBLIGATION`.
    """
    if not document.strip():
        raise UsageError(
            "document: none is given, and only a document stops a clock. Add --document TEXT"
        )
    if mistaken and (until or because):
        raise UsageError("arguments: --mistaken excludes --until and --because. Remove them")
    is_judged = True if because.strip() else None
    return _state(
        *(call, (incident, scope), "WHAT", FactKind.DELAY),
        lambda now, words: {
            "at": parse_moment(until),
            "is_so": False if mistaken else is_judged,
            "reference": f"{document}; {because}" if is_judged else document,
        },
    )


@command(
    "content",
    exits=_EXIT_STATUSES,
    example="standfast deadline content inc-2026-0001 what_happened 'A laptop was stolen.'",
)
@incident_argument
@click.argument("topic", required=False, help="A topic of the forms, as `deadline form` shows it.")
@click.argument("text", required=False, help="The text of the forms on this topic.")
@click.pass_obj
def content(call: Call, incident: str | None, topic: str | None, text: str | None) -> ExitStatus:
    """Set the text of a topic in every form that asks for it."""
    return _state(
        *(call, (incident, topic, text), "TOPIC and TEXT", FactKind.CONTENT),
        lambda now, words: {"reference": words[1]},
    )


def _state(
    call: Call,
    words: "tuple[str | None, ...]",
    takes: str,
    kind: FactKind,
    values: "Callable[[datetime, Sequence[str]], dict[str, Any]]",
) -> ExitStatus:
    """Record a statement on an incident; print the clocks that are open.

    `words` are the arguments of the command: the incident, which is optional, the name of the
    statement, and others. `takes` describes the arguments after the incident in messages. `values`
    returns further fields of the statement, from the present time and these arguments.
    """
    from standfast.ledger.incidents.incident_facts import Statement
    from standfast.usecases.deadlines.legal_clocks import incident_clocks, is_open, state_fact

    with open_incident(call, *words, takes=takes) as (installation, incident, given):
        now, zone = installation.clock(), installation.config.organisation.time_zone
        before = {
            clock.obligation.id: clock.due for clock in incident_clocks(installation, incident)
        }
        statement = Statement(kind=kind, name=given[0], **values(now, given))
        is_news = state_fact(installation, incident, statement)
        clocks = [clock for clock in incident_clocks(installation, incident) if is_open(clock)]
    later = 0
    for clock in clocks:
        was = before.get(clock.obligation.id)
        later += bool(was and clock.due and clock.due.strict > was.strict)
    rows = [
        [state_words(clock), due_text(clock, now, zone), clock.obligation.id] for clock in clocks
    ]
    lines: list[Line] = [
        "Recorded." if is_news else "Already recorded; nothing changed.",
        *([f"{counted(later, 'date becomes', 'dates become')} later."] if later else []),
        Table(rows=rows, indent=2),
    ]
    document: dict[str, Json] = {
        "incident": incident,
        "is_news": is_news,
        "later": later,
        "open": [clock_document(clock) for clock in clocks],
    }
    return call.print_result(document, lines)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS):
        raise UsageError(f"people {text!r}: not a whole number. Write the number, such as 1200")
    return int(text)


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise UsageError(f"answer {text!r}: not yes or no. Answer yes or no")
    return text == "yes"
