"""`standfast deadline fact`, `answer`, `told` and the like."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from standfast.cli.deadlines.clock_text import clock_document, due_text, standing_words
from standfast.cli.incidents.incident_arguments import (
    incident_argument,
    parse_moment,
    resolve_incident,
)
from standfast.cli.parsing.commands import command
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import JsonObject

if TYPE_CHECKING:
    from standfast.ledger.incidents.incident_facts import Statement

_MOST_DIGITS = 10  # that many people there are
_OF = "There is no such incident, duty or place"
_EXIT_STATUSES: dict[ExitStatus, str] = {
    ExitStatus.DONE: "it is stated; what it changes is shown",
    ExitStatus.USAGE: f"{_OF}, or the value does not fit".lower(),
}
duty_argument = click.argument("duty", required=False, help="The duty's id.")
because_option = click.option(
    "--because", default="", help="How it is known, or where it is written; for the record."
)
at_option = click.option(
    "--at", metavar="TIME", help="When, as 2026-03-02T14:20+01:00; now without it."
)
first_at_option = click.option(
    "--at",
    metavar="TIME",
    help="When, as 2026-03-02T14:20+01:00; now without it, unless a time is stated already.",
)


@command(
    "fact",
    exits=_EXIT_STATUSES,
    example="standfast deadline fact inc-2026-0001 awareness --at 2026-03-02T14:20+01:00",
)
@incident_argument
@click.argument(
    "name", required=False, metavar="[FACT]", help="What happened: awareness, discovery, …."
)
@first_at_option
@because_option
@click.pass_obj
def fact(
    call: Call, incident: str | None, name: str | None, at: str | None, because: str
) -> ExitStatus:
    """State the time of a fact that starts clocks.

    Earlier statements stay visible.
    """
    from standfast.deadlines.incident_facts import FactKind
    from standfast.ledger.incidents.incident_facts import Statement

    return _state(
        call,
        (incident, name),
        "FACT",
        lambda now, words: Statement(
            kind=FactKind.TIME, name=words[0], at=parse_moment(at), reference=because
        ),
    )


@command(
    "affected", exits=_EXIT_STATUSES, example="standfast deadline affected inc-2026-0001 US-CA 1200"
)
@incident_argument
@click.argument(
    "installation",
    required=False,
    metavar="[PLACE]",
    help="Where they live, as `deadline places` lists it.",
)
@click.argument("people", required=False, help="How many.")
@because_option
@click.pass_obj
def affected(
    call: Call, incident: str | None, installation: str | None, people: str | None, because: str
) -> ExitStatus:
    """State how many people of a jurisdiction are affected."""
    from standfast.deadlines.incident_facts import FactKind
    from standfast.ledger.incidents.incident_facts import Statement

    return _state(
        call,
        (incident, installation, people),
        "PLACE and PEOPLE",
        lambda now, words: Statement(
            kind=FactKind.AFFECTED, name=words[0], count=_number(words[1]), reference=because
        ),
    )


@command(
    "answer",
    exits=_EXIT_STATUSES,
    example="standfast deadline answer inc-2026-0001 eu-gdpr-34-individuals no "
    "--because 'the laptop was encrypted'",
)
@incident_argument
@duty_argument
@click.argument("is_owed", required=False, metavar="[yes|no]", help="Is it owed, by its test?")
@click.option("--threshold", is_flag=True, help="Of the kind of incident, not of the risk.")
@click.option(
    "--because",
    default="",
    help="Why, for the record. It must be there for a no: that ends the duty.",
)
@click.pass_obj
def answer(
    call: Call,
    incident: str | None,
    duty: str | None,
    is_owed: str | None,
    threshold: bool,
    because: str,
) -> ExitStatus:
    """Answer the legal test that decides whether a duty is owed.

    Until then the duty counts as owed.
    """
    from standfast.deadlines.incident_facts import FactKind
    from standfast.ledger.incidents.incident_facts import Statement

    kind = FactKind.THRESHOLD if threshold else FactKind.ANSWER
    return _state(
        call,
        (incident, duty, is_owed),
        "DUTY and yes or no",
        lambda now, words: Statement(
            kind=kind, name=words[0], is_so=_yes_or_no(words[1]), reference=because
        ),
    )


@command(
    "told",
    exits=_EXIT_STATUSES,
    example="standfast deadline told inc-2026-0001 eu-gdpr-33-authority --receipt 'case 4711'",
)
@incident_argument
@click.argument("duty", required=False, help="The duty's id, or people:PLACE.")
@click.option("--receipt", help="What proves it: a case number, a receipt. It must be there.")
@at_option
@click.option("--mistaken", is_flag=True, help="It was not, after all: the clock runs on.")
@click.pass_obj
def told(
    call: Call,
    incident: str | None,
    duty: str | None,
    receipt: str | None,
    at: str | None,
    mistaken: bool,
) -> ExitStatus:
    """State that a duty was fulfilled, with the receipt; ends its clock."""
    from standfast.deadlines.incident_facts import FactKind
    from standfast.ledger.incidents.incident_facts import Statement

    if receipt is None or not receipt.strip():
        raise UsageError("only a receipt ends a clock: say what proves it with --receipt TEXT")
    return _state(
        call,
        (incident, duty),
        "DUTY",
        lambda now, words: Statement(
            kind=FactKind.TOLD,
            name=words[0],
            at=None if mistaken else parse_moment(at) or now,
            is_so=False if mistaken else None,
            reference=receipt,
        ),
    )


@command(
    "delay",
    exits=_EXIT_STATUSES,
    example="standfast deadline delay inc-2026-0001 US-FL --document 'letter of 2 March'",
)
@incident_argument
@click.argument(
    "scope", required=False, metavar="[WHAT]", help="A duty's id, or a place for all of its duties."
)
@click.option(
    "--document", default="", help="The document in which they asked for it. It must be there."
)
@click.option(
    "--until",
    metavar="TIME",
    help="Until when; without it, until they say so. A time that is over ends one that lasts.",
)
@click.option(
    "--because",
    default="",
    help="Who holds that it does, and why, where the duty's own rule knows no such delay.",
)
@click.option("--mistaken", is_flag=True, help="They did not ask, after all: the clock runs on.")
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

    Only its document stops a clock, and only if the rule of the duty allows a delay; see
    `standfast deadline show DUTY`.
    """
    from standfast.deadlines.incident_facts import FactKind
    from standfast.ledger.incidents.incident_facts import Statement

    if not document.strip():
        raise UsageError("only their document stops a clock: say which with --document TEXT")
    if mistaken and (until or because):
        raise UsageError("what nobody asked for has no end and no reason: --mistaken stands alone")
    is_judged = True if because.strip() else None
    return _state(
        call,
        (incident, scope),
        "WHAT",
        lambda now, words: Statement(
            kind=FactKind.DELAY,
            name=words[0],
            at=parse_moment(until),
            is_so=False if mistaken else is_judged,
            reference=f"{document}; {because}" if is_judged else document,
        ),
    )


@command(
    "content",
    exits=_EXIT_STATUSES,
    example="standfast deadline content inc-2026-0001 what_happened 'A laptop was stolen.'",
)
@incident_argument
@click.argument("topic", required=False, help="A topic of the forms, as a form's gap names it.")
@click.argument("text", required=False, help="What the forms say about it.")
@click.pass_obj
def content(call: Call, incident: str | None, topic: str | None, text: str | None) -> ExitStatus:
    """Set the text of a topic in every form that asks for it."""
    from standfast.deadlines.incident_facts import FactKind
    from standfast.ledger.incidents.incident_facts import Statement

    return _state(
        call,
        (incident, topic, text),
        "TOPIC and TEXT",
        lambda now, words: Statement(kind=FactKind.CONTENT, name=words[0], reference=words[1]),
    )


def _state(
    call: Call,
    words: "tuple[str | None, ...]",
    takes: str,
    make: "Callable[[datetime, Sequence[str]], Statement]",
) -> ExitStatus:
    """Record a statement on the incident that `words` begin with.

    The incident is optional; `takes` describes the other words in messages.
    """
    from standfast.usecases.deadlines.legal_clocks import incident_clocks, is_open, state

    with call.installation() as installation:
        now, needed = installation.clock(), len(words) - 1
        zone = installation.config.organisation.time_zone
        incident, given = resolve_incident(
            installation, *words, least=needed, most=needed, takes=takes
        )
        before = {
            clock.obligation.id: clock.due for clock in incident_clocks(installation, incident)
        }
        is_news = state(installation, incident, make(now, given))
        clocks = [clock for clock in incident_clocks(installation, incident) if is_open(clock)]
    later = 0
    for clock in clocks:
        was = before.get(clock.obligation.id)
        later += bool(was and clock.due and clock.due.strict > was.strict)
    rows = [
        [standing_words(clock), due_text(clock, now, zone), clock.obligation.id] for clock in clocks
    ]
    lines: list[Line] = [
        "It is stated." if is_news else "That was stated before; nothing changed.",
        *([f"{counted(later, 'date becomes', 'dates become')} later."] if later else []),
        Table(rows=rows, indent=2),
    ]
    document: JsonObject = {
        "incident": incident,
        "is_news": is_news,
        "later": later,
        "open": [clock_document(clock) for clock in clocks],
    }
    call.say(document, lines)
    return ExitStatus.DONE


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        raise UsageError("a number of people is a whole number: 1200")
    return int(text)


def _yes_or_no(text: str) -> bool:
    if text not in ("yes", "no"):
        raise UsageError("answer yes or no")
    return text == "yes"
