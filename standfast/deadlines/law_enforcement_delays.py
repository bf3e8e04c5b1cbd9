"""Delays of an obligation that law enforcement requested.

An obligation is a duty to notify somebody of an incident. A notice until the strict date is in time
under every interpretation of the rule. The lenient date is the latest one of any interpretation.
"""

from collections.abc import Sequence
from datetime import datetime

from standfast.deadlines.incident_facts import Fact, FactKind, Facts
from standfast.deadlines.obligations import Obligation
from standfast.deadlines.period_end import Reading


def delays_of(obligation: Obligation, facts: Facts) -> list[Fact]:
    """Return the requests of law enforcement that are valid, the newest last."""
    names = [obligation.id]
    if obligation.may_be_delayed:
        names.append(obligation.jurisdiction)
    found: list[Fact] = []
    for fact in facts:
        if fact.kind is FactKind.DELAY and fact.name in names:
            if fact.is_so is False:  # withdrawn
                found = [delay for delay in found if delay.name != fact.name]
            else:
                found.append(fact)
    return found


def apply_delays(due: Reading, delays: Sequence[Fact], *, is_hold: bool) -> Reading:
    """Return the due dates after the delays that were requested.

    A delay moves the strict date only if a person recorded it before this date. A hold (a period in
    which no notice must be sent) has no such condition. `delays` must not be empty.
    """
    strict: datetime | None = due.strict  # None while the delay has no end
    for delay in delays:
        if is_hold or strict is None or delay.recorded_at <= strict:
            strict = None if delay.at is None else max(due.strict, delay.at)
    until = delays[-1].at
    if until is None:
        return due  # `Clock.open_delay` shows a delay without an end instead of this date
    return Reading(strict=strict or due.strict, lenient=max(due.lenient, until))
