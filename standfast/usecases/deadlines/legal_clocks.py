"""Legal clocks of an incident: stated facts, filled forms, prohibitions.

A legal clock is the running deadline of one obligation, a legal or contractual duty to notify
somebody. A fact is a dated statement about the incident that starts or ends clocks, such as the
time of awareness. A prohibition is a rule that forbids to notify people now. The rules of the
clocks are in `standfast/deadlines`.

Rules
- Standfast sends nothing to an authority. A person submits the filled form, and states the
  authority's receipt as a fact.
- A fact is validated before it is stored. Its name must be known: an obligation, a place, a topic
  of a notice, or an event. An obligation can be declared as not owed only if the law has a test
  (such as a risk to people) or a threshold (such as a number of people).
- A request of law enforcement to wait stops a clock if the rule of the clock allows a delay. For
  any other clock, a person must state a reason for the delay: after a wrong delay the notification
  is late, and that cannot be corrected.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from standfast.config import Config
from standfast.deadlines.applicability import threshold_of
from standfast.deadlines.authority_forms import TOPICS, Form, form_of
from standfast.deadlines.clock_starts import QUESTIONS
from standfast.deadlines.incident_facts import FactKind, Facts
from standfast.deadlines.legal_clocks import Clock, ClockState, clocks
from standfast.deadlines.obligations import Obligation, Recipient
from standfast.errors import Refused, UsageError
from standfast.ledger.incidents.incident_facts import Statement
from standfast.local_time import minute
from standfast.suggestions import nearest_name_hint
from standfast.usecases.core.installation import Installation
from standfast.usecases.deadlines.obligations import obligations, reach

_ENDED = frozenset(
    {ClockState.MET, ClockState.LATE, ClockState.EARLY, ClockState.NOT_OWED, ClockState.NOT_LAW}
)


def incident_clocks(installation: Installation, incident_id: str) -> tuple[Clock, ...]:
    """Return every clock of an incident, in order of state and due date.

    Clocks with a missed deadline are first.
    """
    installation.ledger.incidents.get(incident_id)
    facts = installation.ledger.facts.of_incident(incident_id)
    found = clocks(
        obligations(installation.config), facts, reach(installation.config), installation.clock()
    )
    return tuple(sorted(found, key=_order))


def is_open(clock: Clock) -> bool:
    """Return whether the clock still needs a notification or an answer."""
    return clock.state not in _ENDED


def state_fact(
    installation: Installation, incident_id: str, statement: Statement, author: str | None = None
) -> bool:
    """State a fact about an incident; return whether it is new.

    If the time of an event is stated for the first time without `at`, it is the present time. Raise
    UsageError for a fact that does not fit the obligations or the earlier facts: for example, an
    unknown name, a time that is stated again without `at`, or the answer "no" without a reason.
    """
    known = obligations(installation.config)
    _refuse_unknown(statement, known)
    _refuse_untested(statement, known)
    _refuse_unreasoned(statement)
    _refuse_withdrawal_of_nothing(installation, incident_id, statement)
    now = installation.clock()
    if statement.kind is FactKind.DELAY:
        _refuse_ineffective_delay(statement, known)
        _refuse_past_delay(installation, incident_id, statement, now)
    if statement.kind is FactKind.TIME and statement.at is None:
        statement = _happened_now(installation, incident_id, statement, now)
    if statement.kind in (FactKind.TIME, FactKind.NOTIFIED) and statement.at and statement.at > now:
        raise UsageError("time: it is in the future. State only what has happened.")
    if statement.kind is FactKind.NOTIFIED and statement.at:
        _refuse_early_receipt(installation, incident_id, statement.at)
    try:
        return installation.ledger.facts.state(
            incident_id, statement, author or installation.actor, now
        )
    except ValueError as error:
        raise UsageError(str(error)) from None


def filled_form(installation: Installation, incident_id: str, obligation_id: str) -> Form:
    """Fill in the form of one obligation with the known facts."""
    found = incident_clocks(installation, incident_id)
    for clock in found:
        if clock.obligation.id == obligation_id:
            organisation = installation.config.organisation
            known = {"contact": f"{organisation.name}, {organisation.contact_line}"}
            return form_of(clock, installation.ledger.facts.of_incident(incident_id), known)
    ids = [clock.obligation.id for clock in found]
    raise UsageError(
        f"obligation {obligation_id!r}: not in this incident. List the obligations with "
        f"`standfast deadline list {incident_id}`{nearest_name_hint(obligation_id, ids)}"
    )


def refuse_blocked(config: Config, incident_id: str, facts: Facts, now: datetime) -> None:
    """Raise Refused while a rule forbids to notify people.

    The message names the rule, and the end of the prohibition.
    """
    for clock in clocks(obligations(config), facts, reach(config), now):
        if clock.obligation.recipient not in (Recipient.INDIVIDUALS, Recipient.CUSTOMERS):
            continue
        if clock.state in (ClockState.NOT_OWED, ClockState.NOT_LAW):
            continue
        for block in clock.blocks:
            zone = config.organisation.time_zone
            until = f" until {minute(block.until, zone)}" if block.until else ""
            record_command = (
                f"`standfast deadline notified {incident_id} {block.first} --receipt TEXT`, then "
            )
            raise Refused(
                f"notification is blocked{until}: {block.reason}. After that, run "
                f"{record_command if block.first else ''}`standfast incident retry {incident_id}`."
            )


def _order(clock: Clock) -> tuple[int, str, str]:
    states = list(ClockState)
    due = clock.due.strict.isoformat() if clock.due else ""
    return states.index(clock.state), due, clock.obligation.id


def _refuse_unknown(statement: Statement, known: Sequence[Obligation]) -> None:
    ids = {obligation.id for obligation in known}
    places = {obligation.jurisdiction for obligation in known}
    people = {f"people:{place}" for place in places}
    own_topics = {
        f"{obligation.id}#{n}"
        for obligation in known
        for n in range(1, len(obligation.content) + 1)
    }
    fitting = {
        FactKind.TIME: set(QUESTIONS),
        FactKind.AFFECTED: places,
        FactKind.ANSWER: ids,
        FactKind.THRESHOLD: ids,
        FactKind.NOTIFIED: ids | people,
        FactKind.DELAY: ids | places,
        FactKind.CONTENT: TOPICS.keys() | own_topics,
    }[statement.kind]
    if statement.name not in fitting:
        maybe = nearest_name_hint(statement.name, fitting)
        raise UsageError(f"{statement.name!r}: unknown here; {_where_named(statement.kind)}{maybe}")


def _where_named(kind: FactKind) -> str:
    """Return a sentence with the command that lists the valid names of a kind."""
    obligation_hint = "`standfast deadline list --all` names the obligations"
    places = "`standfast deadline places` lists the places"
    return {
        FactKind.TIME: "`standfast deadline places` lists the facts",
        FactKind.AFFECTED: places,
        FactKind.DELAY: f"{places}, {obligation_hint}",
        FactKind.CONTENT: "`standfast deadline places` lists the topics",
    }.get(kind, obligation_hint)


def _refuse_unreasoned(statement: Statement) -> None:
    """Raise UsageError for the answer "no" without a reason."""
    if statement.kind not in (FactKind.ANSWER, FactKind.THRESHOLD):
        return
    if statement.is_so is False and not statement.reference.strip():
        raise UsageError(
            "reason: missing. The answer `no` ends the obligation, and an authority may ask for "
            "the reason. Add --because TEXT."
        )


def _refuse_withdrawal_of_nothing(
    installation: Installation, incident_id: str, statement: Statement
) -> None:
    """Raise UsageError if the fact to withdraw was never stated."""
    if statement.kind not in (FactKind.NOTIFIED, FactKind.DELAY) or statement.is_so is not False:
        return
    if (
        installation.ledger.facts.of_incident(incident_id).latest(statement.kind, statement.name)
        is None
    ):
        state = "notified" if statement.kind is FactKind.NOTIFIED else "to wait"
        raise UsageError(
            f"{incident_id}: no statement says that {statement.name} was {state}; nothing is "
            f"withdrawn. List the statements with `standfast audit show {incident_id}`."
        )


def _refuse_early_receipt(installation: Installation, incident_id: str, at: datetime) -> None:
    """Raise UsageError if a receipt is older than every event of the incident.

    The time of the receipt is then probably a typing error.
    """
    stated = [
        fact.at
        for fact in installation.ledger.facts.of_incident(incident_id)
        if fact.kind is FactKind.TIME and fact.at is not None
    ]
    first = min([installation.ledger.incidents.get(incident_id).opened_at, *stated])
    if at < first:
        zone = installation.config.organisation.time_zone
        raise UsageError(
            f"--at {minute(at, zone)}: before the first event of {incident_id} "
            f"({minute(first, zone)}). Correct --at. If something had happened by then, state "
            f"that first: `standfast deadline fact {incident_id} NAME --at TIME`."
        )


def _refuse_ineffective_delay(statement: Statement, known: Sequence[Obligation]) -> None:
    """Raise UsageError for a delay that no rule and no stated reason allows."""
    if statement.is_so is False:
        return
    obligation = next((obligation for obligation in known if obligation.id == statement.name), None)
    if obligation is None:
        if not any(
            obligation.may_be_delayed
            for obligation in known
            if obligation.jurisdiction == statement.name
        ):
            raise UsageError(
                f"{statement.name}: no rule of this jurisdiction lets law enforcement delay an "
                "obligation. Nothing was recorded, and each clock continues. If a document delays "
                "one obligation, name that obligation instead of the jurisdiction."
            )
        return
    if obligation.may_be_delayed or statement.is_so:
        return
    rule = f"is {obligation.delay!r}" if obligation.delay else "is empty"
    raise UsageError(
        f"{obligation.id}: its rule mentions no delay by law enforcement; its delay clause {rule}. "
        "Nothing was stated, and its clock continues. If the document delays it nevertheless, "
        "name its author and the reason: --because TEXT."
    )


def _refuse_past_delay(
    installation: Installation, incident_id: str, statement: Statement, now: datetime
) -> None:
    """Raise UsageError if a delay ends in the past.

    A statement that ends the current delay is allowed.
    """
    if statement.at is None or statement.at > now:
        return
    current = installation.ledger.facts.of_incident(incident_id).latest(
        FactKind.DELAY, statement.name
    )
    is_current = (
        current is not None
        and current.is_so is not False
        and (current.at is None or current.at > now)
    )
    if current is not None and is_current and statement.at >= current.recorded_at:
        return
    zone = installation.config.organisation.time_zone
    since = (
        f"; the delay was stated at {minute(current.recorded_at, zone)}"
        if current and is_current
        else ""
    )
    raise UsageError(
        f"--until {minute(statement.at, zone)}: in the past; it would stop nothing{since}. Use "
        "the time that law enforcement named, or omit --until if law enforcement named no end."
    )


def _happened_now(
    installation: Installation, incident_id: str, statement: Statement, now: datetime
) -> Statement:
    """Return the statement with the present time.

    Raise UsageError if the time of this event was stated before.
    """
    stated = installation.ledger.facts.of_incident(incident_id).latest(
        FactKind.TIME, statement.name
    )
    if stated is not None and stated.at is not None:
        raise UsageError(
            f"{statement.name}: stated already, at "
            f"{minute(stated.at, installation.config.organisation.time_zone)}. "
            "Add --at to state it again."
        )
    return replace(statement, at=now)


def _refuse_untested(statement: Statement, known: Sequence[Obligation]) -> None:
    """Raise UsageError for an answer to a question that the obligation lacks.

    The question is the legal test of the obligation or its threshold.
    """
    if statement.kind not in (FactKind.ANSWER, FactKind.THRESHOLD):
        return
    obligation = next(obligation for obligation in known if obligation.id == statement.name)
    threshold = threshold_of(obligation)
    has_test = bool(obligation.risk_test)
    has_threshold = bool(threshold.question)
    if has_test if statement.kind is FactKind.ANSWER else has_threshold:
        return
    if statement.kind is FactKind.ANSWER:
        why = (
            f"{obligation.id}: it has no legal test to answer; it is owed as soon as its clock "
            "starts"
        )
    else:
        why = f"{obligation.id}: its threshold does not depend on the kind of incident"
    ways = []
    if threshold.has_number:
        ways.append(
            f"state the number of people: `standfast deadline affected {obligation.jurisdiction} N`"
        )
    if has_test:
        ways.append("answer its legal test, without --threshold")
    elif has_threshold:
        ways.append("answer whether the incident reaches its threshold, with --threshold")
    ways.append("correct [deadlines] if the obligation does not concern you")
    raise UsageError(f"{why}. Instead: {', or '.join(ways)}.")
