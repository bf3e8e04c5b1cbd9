"""The legal clocks of an incident: where each stands, what is still to be found out, what blocks.

Owns whom facts are stated by. Leaves the rules to `standfast/deadlines`, what binds this place to
`obligations`, and reminding people to `reminders`.

Rules
- Nothing is sent to an authority from here. A form is filled in for a person to carry, and the
  receipt that the person brings back is stated as a fact.
- A fact is checked before it is kept: a clock that nobody has cannot be told, a place where nobody
  counts cannot have people affected, and a duty without a test cannot be judged away.
- A letter of law enforcement stops a clock whose own rule says so. For any other, a person has to
  say why it does: who is told too late by mistake cannot be told in time any more.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from standfast.config import Config
from standfast.deadlines.applicability import threshold_of
from standfast.deadlines.authority_forms import TOPICS, Form, form_of
from standfast.deadlines.clock_starts import QUESTIONS
from standfast.deadlines.incident_facts import FactKind, Facts
from standfast.deadlines.legal_clocks import Clock, Standing, clocks
from standfast.deadlines.obligations import Obligation, Recipient
from standfast.errors import Refused, UsageError
from standfast.ledger.incidents.incident_facts import Statement
from standfast.local_time import minute
from standfast.suggestions import nearest_name_hint
from standfast.usecases.core.installation import Installation
from standfast.usecases.deadlines.obligations import obligations, reach

_ENDED = frozenset(
    {Standing.MET, Standing.LATE, Standing.EARLY, Standing.NOT_OWED, Standing.NOT_LAW}
)


def incident_clocks(installation: Installation, incident_id: str) -> tuple[Clock, ...]:
    """Give every clock of an incident: the missed first, then by what is due next."""
    installation.ledger.incidents.get(incident_id)
    facts = installation.ledger.facts.of(incident_id)
    found = clocks(
        obligations(installation.config), facts, reach(installation.config), installation.clock()
    )
    return tuple(sorted(found, key=_order))


def is_open(clock: Clock) -> bool:
    """Is there still something to do or to find out?"""
    return clock.standing not in _ENDED


def state(
    installation: Installation, incident_id: str, statement: Statement, author: str | None = None
) -> bool:
    """State a fact about an incident; say whether it is news.

    A time without `at` is now, the first time that it is stated. Raises UsageError for an unknown
    name, for a time stated anew without `at`, and for a duty judged away without a reason.
    """
    known = obligations(installation.config)
    _refuse_unknown(statement, known)
    _refuse_untested(statement, known)
    _refuse_unreasoned(statement)
    _refuse_never_stated(installation, incident_id, statement)
    now = installation.clock()
    if statement.kind is FactKind.DELAY:
        _refuse_powerless(statement, known)
        _refuse_over(installation, incident_id, statement, now)
    if statement.kind is FactKind.TIME and statement.at is None:
        statement = _happened_now(installation, incident_id, statement, now)
    if statement.kind in (FactKind.TIME, FactKind.TOLD) and statement.at and statement.at > now:
        raise UsageError("that time is still to come; state what has happened")
    if statement.kind is FactKind.TOLD and statement.at:
        _refuse_told_before(installation, incident_id, statement.at)
    try:
        return installation.ledger.facts.state(
            incident_id, statement, author or installation.actor, now
        )
    except ValueError as error:
        raise UsageError(str(error)) from None


def filled_form(installation: Installation, incident_id: str, obligation_id: str) -> Form:
    """Fill in the notice that one duty asks for, as far as it is known."""
    there = incident_clocks(installation, incident_id)
    for clock in there:
        if clock.obligation.id == obligation_id:
            organisation = installation.config.organisation
            known = {"contact": f"{organisation.name}, {organisation.contact_line}"}
            return form_of(clock, installation.ledger.facts.of(incident_id), known)
    raise UsageError(
        f"{obligation_id!r} is no duty here; `standfast deadline list {incident_id}` names them"
        f"{nearest_name_hint(obligation_id, [clock.obligation.id for clock in there])}"
    )


def refuse_blocked(config: Config, incident_id: str, facts: Facts, now: datetime) -> None:
    """Raise Refused, with the rule and what lifts it, while people may not be told."""
    for clock in clocks(obligations(config), facts, reach(config), now):
        if clock.obligation.recipient not in (Recipient.INDIVIDUALS, Recipient.CUSTOMERS):
            continue
        if clock.standing in (Standing.NOT_OWED, Standing.NOT_LAW):
            continue
        for block in clock.blocks:
            zone = config.organisation.time_zone
            until = f" until {minute(block.until, zone)}" if block.until else ""
            told = f"`standfast deadline told {incident_id} {block.first} --receipt TEXT`, then "
            raise Refused(
                f"people may not be told yet{until}: {block.reason}. After that: "
                f"{told if block.first else ''}`standfast incident retry {incident_id}`"
            )


def _order(clock: Clock) -> tuple[int, str, str]:
    standings = list(Standing)
    due = clock.due.strict.isoformat() if clock.due else ""
    return standings.index(clock.standing), due, clock.obligation.id


def _refuse_unknown(statement: Statement, known: Sequence[Obligation]) -> None:
    ids = {obligation.id for obligation in known}
    places = {obligation.jurisdiction for obligation in known}
    people = {f"people:{installation}" for installation in places}
    own_topics = {f"{one.id}#{n}" for one in known for n in range(1, len(one.content) + 1)}
    fitting = {
        FactKind.TIME: set(QUESTIONS),
        FactKind.AFFECTED: places,
        FactKind.ANSWER: ids,
        FactKind.THRESHOLD: ids,
        FactKind.TOLD: ids | people,
        FactKind.DELAY: ids | places,
        FactKind.CONTENT: TOPICS.keys() | own_topics,
    }[statement.kind]
    if statement.name not in fitting:
        maybe = nearest_name_hint(statement.name, fitting)
        raise UsageError(
            f"nothing is known as {statement.name!r} here; {_where_named(statement.kind)}{maybe}"
        )


def _where_named(kind: FactKind) -> str:
    """Say which command names what a fact of this kind may be about."""
    duties = "`standfast deadline list --all` names the duties"
    places = "`standfast deadline places` lists the places"
    return {
        FactKind.TIME: "`standfast deadline places` lists the facts",
        FactKind.AFFECTED: places,
        FactKind.DELAY: f"{places}, {duties}",
        FactKind.CONTENT: "`standfast deadline places` lists the topics",
    }.get(kind, duties)


def _refuse_unreasoned(statement: Statement) -> None:
    """Raise UsageError for a "no" that gives no reason: it takes a duty out of sight."""
    if statement.kind not in (FactKind.ANSWER, FactKind.THRESHOLD):
        return
    if statement.is_so is False and not statement.reference.strip():
        raise UsageError(
            "a no ends the duty, and an authority asks why: give the reason with --because TEXT"
        )


def _refuse_never_stated(
    installation: Installation, incident_id: str, statement: Statement
) -> None:
    """Raise UsageError where what is taken back was never stated: it is another one's."""
    if statement.kind not in (FactKind.TOLD, FactKind.DELAY) or statement.is_so is not False:
        return
    if installation.ledger.facts.of(incident_id).latest(statement.kind, statement.name) is None:
        what = "told" if statement.kind is FactKind.TOLD else "to wait"
        raise UsageError(
            f"{incident_id} has no statement that {statement.name} was {what}: nothing is taken "
            f"back; `standfast audit show {incident_id}` names what was stated"
        )


def _refuse_told_before(installation: Installation, incident_id: str, at: datetime) -> None:
    """Raise UsageError for a receipt from before anything happened: a mistyped day ends a clock."""
    stated = [
        fact.at
        for fact in installation.ledger.facts.of(incident_id)
        if fact.kind is FactKind.TIME and fact.at is not None
    ]
    first = min([installation.ledger.incidents.get(incident_id).opened_at, *stated])
    if at < first:
        zone = installation.config.organisation.time_zone
        raise UsageError(
            f"{minute(at, zone)} is before anything of {incident_id} ({minute(first, zone)}): "
            "nobody was told of it then. Mend --at; where something had happened by then, state "
            f"that first: `standfast deadline fact {incident_id} NAME --at TIME`"
        )


def _refuse_powerless(statement: Statement, known: Sequence[Obligation]) -> None:
    """Raise UsageError for a delay that no rule knows, unless somebody says why it holds."""
    if statement.is_so is False:
        return
    duty = next((one for one in known if one.id == statement.name), None)
    if duty is None:
        if not any(one.may_be_delayed for one in known if one.jurisdiction == statement.name):
            raise UsageError(
                f"no rule of {statement.name} lets law enforcement put a duty off: nothing was "
                "stated, and every clock there runs on. Name the duty that the document is about"
            )
        return
    if duty.may_be_delayed or statement.is_so:
        return
    rule = f"says {duty.delay!r}" if duty.delay else "says nothing"
    raise UsageError(
        f"the rule of {duty.id} does not say that law enforcement may put it off; of a delay it "
        f"{rule}. Nothing was stated, and its clock runs on. Where that document puts it off "
        "all the same, say who holds so, and why: --because TEXT"
    )


def _refuse_over(
    installation: Installation, incident_id: str, statement: Statement, now: datetime
) -> None:
    """Raise UsageError for a delay until a time that is over, unless it ends one that lasts."""
    if statement.at is None or statement.at > now:
        return
    there = installation.ledger.facts.of(incident_id).latest(FactKind.DELAY, statement.name)
    lasts = there is not None and there.is_so is not False and (there.at is None or there.at > now)
    if there is not None and lasts and statement.at >= there.recorded_at:
        return
    zone = installation.config.organisation.time_zone
    since = (
        f"; the delay was stated at {minute(there.recorded_at, zone)}" if there and lasts else ""
    )
    raise UsageError(
        f"{minute(statement.at, zone)} is over: it would stop nothing now{since}. Give --until the "
        "time that they named, or leave it out while they have named none"
    )


def _happened_now(
    installation: Installation, incident_id: str, statement: Statement, now: datetime
) -> Statement:
    """Take now for the time, unless one is stated: a date would move later unseen."""
    there = installation.ledger.facts.of(incident_id).latest(FactKind.TIME, statement.name)
    if there is not None and there.at is not None:
        raise UsageError(
            f"{statement.name} is stated already, at "
            f"{minute(there.at, installation.config.organisation.time_zone)}; "
            "give --at to state it anew"
        )
    return replace(statement, at=now)


def _refuse_untested(statement: Statement, known: Sequence[Obligation]) -> None:
    """Raise UsageError for a judgement of a test that the duty does not have."""
    if statement.kind not in (FactKind.ANSWER, FactKind.THRESHOLD):
        return
    duty = next(one for one in known if one.id == statement.name)
    threshold = threshold_of(duty)
    has_test = bool(duty.risk_test)
    has_threshold = bool(threshold.question)
    if has_test if statement.kind is FactKind.ANSWER else has_threshold:
        return
    if statement.kind is FactKind.ANSWER:
        why = f"{duty.id} has no test to be judged: it is owed once its clock starts"
    else:
        why = f"{duty.id} asks of no kind of incident that could be judged"
    ways = []
    if threshold.has_number:
        ways.append(f"state how many people: `standfast deadline affected {duty.jurisdiction} N`")
    if has_test:
        ways.append("judge its test, without --threshold")
    elif has_threshold:
        ways.append("judge its kind of incident, with --threshold")
    ways.append("where it does not concern you, mend [deadlines]")
    raise UsageError(f"{why}; {', or '.join(ways)}")
