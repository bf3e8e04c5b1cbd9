"""Rules of legal clocks: states, due dates and questions from the facts.

An obligation is a duty to notify somebody of an incident. Its clock is its running deadline. Facts,
which are dated statements of people, start and end the clock. `clocks` is the main function: it
returns one `Clock` for each obligation that may concern the organisation.

Rules
- An obligation stays visible in every state. If a fact ends the obligation, such as a number of
  people below the threshold, the fact is shown with the person that stated it.
- A soft obligation ("without undue delay") has no date: it is due from the start of its clock.
- A notice until the strict date is in time under every interpretation of the rule. The lenient date
  is the latest date of any interpretation.
- A delay by law enforcement stops a clock only while it lasts, and only with a document. If the
  period ends during the delay, the obligation is due at the end of the delay.
- A person can state a delay for a whole jurisdiction. Such a delay stops an obligation only if the
  law allows it. It also extends every hold: a period in which a notice must not be sent.
- If a person states a delay after the strict date, the delay moves only the lenient date, because
  law enforcement may have requested it too late.
- A jurisdiction with affected people is included, even if the configuration does not list it.
- A day ends at midnight in the time zone of the law or of the organisation. The strict date uses
  the earlier midnight, the lenient date the later one.
- A notice must not be sent during a hold, or before another notice that the law wants to be first.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from standfast.deadlines.applicability import Part, Sector, binds, threshold_of
from standfast.deadlines.clock_starts import (
    OUTER_LIMITS,
    QUESTIONS,
    Start,
    people_notices,
    start_of,
)
from standfast.deadlines.incident_facts import Fact, FactKind, Facts
from standfast.deadlines.law_enforcement_delays import apply_delays, delays_of
from standfast.deadlines.obligations import Kind, Obligation, Recipient, is_same_notice
from standfast.deadlines.period_end import Reading, end_of, end_of_year
from standfast.deadlines.working_days import WorkingDays, time_zones_of, working_days


class ClockState(StrEnum):
    """The state of an obligation, in the order of display."""

    MISSED = "missed"  # the strict date has passed without a notification
    RUNNING = "running"  # started; a soft obligation is due now
    HELD = "held"  # law enforcement asked to wait
    NOT_STARTED = "not_started"  # the time of the starting fact is unknown
    LATE = "late"  # notified after the strict date
    EARLY = "early"  # notified during a hold
    MET = "met"
    NOT_OWED = "not_owed"  # a threshold is not reached, or a person judged that nothing is owed
    NOT_LAW = "not_law"  # proposed, or not known to be in force


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question about an unknown fact, with the kind and name of the fact."""

    kind: FactKind
    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ReplacedDate:
    """A due date that a later fact replaced."""

    due: Reading
    replaced_by: Fact


@dataclass(frozen=True, kw_only=True)
class Block:
    """A reason why a notice must not be sent now.

    `until` is the time from which the notice is allowed, or None if unknown. `first` is the id of
    the obligation that must be fulfilled before this notice, or "".
    """

    reason: str
    until: datetime | None = None
    first: str = ""


@dataclass(frozen=True, kw_only=True)
class Clock:
    """State, due dates and open questions of one obligation in one incident."""

    obligation: Obligation
    state: ClockState
    started_at: datetime | None = None
    started_by: str = ""  # name of the fact, or id of the notice, that started it
    due: Reading | None = None
    because: str = ""  # the reason for the state
    questions: tuple[Question, ...] = ()
    was: tuple[ReplacedDate, ...] = ()  # due dates that were valid before a fact was corrected
    blocks: tuple[Block, ...] = ()
    receipt: Fact | None = None  # states that the recipient was notified
    open_delay: Fact | None = None  # a request of law enforcement without an end

    def elapsed_share(self, now: datetime) -> float | None:
        """Return the elapsed share, 1 at the strict date; None without a date."""
        if self.due is None or self.started_at is None:
            return None
        whole = (self.due.strict - self.started_at).total_seconds()
        return (now - self.started_at).total_seconds() / whole if whole > 0 else 1.0


@dataclass(frozen=True, kw_only=True)
class Reach:
    """The jurisdictions, data roles and sectors of the organisation."""

    jurisdictions: frozenset[str]
    parts: frozenset[Part]
    sectors: frozenset[Sector] = frozenset()
    zone: ZoneInfo
    authority_country: str = ""  # country of the lead authority in Europe, for its holidays

    def covers(self, obligation: Obligation) -> bool:
        """Return whether an obligation may concern the organisation."""
        return obligation.jurisdiction in self.jurisdictions and (
            obligation.is_agreement or binds(obligation, self.parts, self.sectors)
        )


def clocks(
    obligations: Iterable[Obligation], facts: Facts, reach: Reach, now: datetime
) -> tuple[Clock, ...]:
    """Return a clock for each obligation that may concern the organisation.

    The clocks are in the order of the obligations.
    """
    by_id = {obligation.id: obligation for obligation in obligations}
    reach = replace(reach, jurisdictions=reach.jurisdictions | _affected_places(facts))
    run = _Run(by_id=by_id, reach=reach, now=now)
    return tuple(
        run.clock(obligation, facts) for obligation in by_id.values() if reach.covers(obligation)
    )


@dataclass(frozen=True, kw_only=True)
class _Run:
    by_id: Mapping[str, Obligation]
    reach: Reach
    now: datetime

    def clock(self, obligation: Obligation, facts: Facts) -> Clock:
        receipt = self._receipt_of_notice(obligation, facts)
        if not obligation.is_law:
            because = f"{obligation.status.replace('_', ' ')}; not applied"
            return Clock(obligation=obligation, state=ClockState.NOT_LAW, because=because)
        if not_owed := _why_not_owed(obligation, facts) or self._why_superseded(obligation, facts):
            return Clock(
                obligation=obligation, state=ClockState.NOT_OWED, because=not_owed, receipt=receipt
            )
        start = start_of(obligation, self.by_id)
        begun = _begun(start, facts)
        due = None if begun is None else self._due(obligation, start, begun.at)
        delays = delays_of(obligation, facts)
        delay = delays[-1] if delays else None
        if due is not None and delays:
            is_hold = obligation.limit.kind is Kind.NOT_BEFORE
            due = apply_delays(due, delays, is_hold=is_hold)
        state, because = self._state(obligation, begun, due, delay, receipt)
        return Clock(
            obligation=obligation,
            state=state,
            started_at=None if begun is None else begun.at,
            started_by="" if begun is None else begun.by,
            due=due,
            because=because,
            questions=tuple(_questions(obligation, start, begun, facts)),
            was=tuple(self._replaced_dates(obligation, start, facts)),
            blocks=tuple(self._blocks(obligation, facts, due, delay)) if receipt is None else (),
            receipt=receipt,
            open_delay=delay
            if state is ClockState.HELD and delay is not None and delay.at is None
            else None,
        )

    def _state(
        self,
        obligation: Obligation,
        begun: "_Begun | None",
        due: Reading | None,
        delay: Fact | None,
        receipt: Fact | None,
    ) -> tuple[ClockState, str]:
        is_hold = obligation.limit.kind is Kind.NOT_BEFORE
        if receipt is not None and receipt.at is not None:
            if due is None:
                return ClockState.MET, receipt.reference
            if is_hold:
                return (
                    ClockState.EARLY if receipt.at < due.strict else ClockState.MET
                ), receipt.reference
            return (
                ClockState.LATE if receipt.at > due.strict else ClockState.MET
            ), receipt.reference
        if begun is None:
            return ClockState.NOT_STARTED, ""
        if delay is not None and (delay.at is None or delay.at > self.now):
            return ClockState.HELD, delay.reference
        if due is not None and not is_hold and self.now > due.strict:
            return ClockState.MISSED, ""
        return ClockState.RUNNING, ""

    def _receipt_of_notice(self, obligation: Obligation, facts: Facts) -> Fact | None:
        """Return the fact that states when the notice was given, or None.

        If one notice fulfils several obligations, its receipt is valid for all of them.
        """
        same = [
            other.id
            for other in self.by_id.values()
            if other is obligation or is_same_notice(obligation, other)
        ]
        found = [fact for name in same if (fact := _receipt(facts, name)) is not None]
        return min(found, key=lambda fact: fact.at or fact.recorded_at) if found else None

    def _why_superseded(self, obligation: Obligation, facts: Facts) -> str:
        """Return why another limit applies (see `OUTER_LIMITS`), or ""."""
        later = OUTER_LIMITS.get(obligation.id)
        if later is None:
            return ""
        start = start_of(obligation, self.by_id)
        begun, fact = _begun(start, facts), facts.latest(FactKind.TIME, later)
        due = None if begun is None else self._due(obligation, start, begun.at)
        if due is None or fact is None or fact.at is None or fact.at <= due.strict:
            return ""
        return f"{later} came only after this limit, so another limit applies"

    def _due(self, obligation: Obligation, start: Start, begun: datetime) -> Reading | None:
        limit = obligation.limit
        if limit.kind in (Kind.RELATIVE, Kind.BEFORE):
            return Reading(strict=begun, lenient=begun)
        if limit.value is None or limit.unit is None:
            return None
        days, country = self._days(obligation), self.reach.authority_country
        ends = [
            end_of_year(limit.value, begun, zone, days)
            if start.from_year_end
            else end_of(limit.value, limit.unit, begun, zone, days)
            for zone in {self.reach.zone, *time_zones_of(obligation.jurisdiction, country)}
        ]
        soonest, latest = min(end.strict for end in ends), max(end.lenient for end in ends)
        if limit.kind is Kind.NOT_BEFORE:
            return Reading(strict=latest, lenient=soonest)
        return Reading(strict=soonest, lenient=latest)

    def _days(self, obligation: Obligation) -> WorkingDays:
        return working_days(obligation.jurisdiction, self.reach.authority_country)

    def _replaced_dates(
        self, obligation: Obligation, start: Start, facts: Facts
    ) -> Iterator[ReplacedDate]:
        """Yield each due date that changed because a person corrected the start."""
        subjects = [(FactKind.TIME, name) for name in start.facts]
        subjects += [(FactKind.NOTIFIED, name) for name in start.notices]
        for fact in facts:
            if (fact.kind, fact.name) not in subjects:
                continue
            earlier = _begun(start, facts.facts_before(fact))
            later = _begun(start, facts.facts_through(fact))
            if earlier is None or later is None or earlier.at == later.at:
                continue
            due = self._due(obligation, start, earlier.at)
            if due is not None:
                yield ReplacedDate(due=due, replaced_by=fact)

    def _blocks(
        self, obligation: Obligation, facts: Facts, due: Reading | None, delay: Fact | None
    ) -> Iterator[Block]:
        """Yield the reasons why a notice must not be sent now.

        `due` is the end of a hold; `delay` moves this end.
        """
        limit = obligation.limit
        if limit.kind is Kind.NOT_BEFORE:
            held = f"held by {obligation.citation}"
            if due is None:
                notices = start_of(obligation, self.by_id).notices
                yield Block(
                    reason=f"not before {limit.start}, which has not happened",
                    first=next(iter(notices), ""),
                )
            elif delay is not None and delay.at is None:
                yield Block(reason=f"{held}, until law enforcement withdraws its request")
            elif self.now < due.strict:
                yield Block(reason=held, until=due.strict)
        if obligation.recipient is not Recipient.INDIVIDUALS:
            return
        for other in self.by_id.values():
            if (
                other.limit.kind is Kind.BEFORE
                and other.is_law
                and self.reach.covers(other)
                and obligation.id in people_notices(other.jurisdiction, self.by_id)
                and not _why_not_owed(other, facts)
                and _receipt(facts, other.id) is None
            ):
                yield Block(
                    reason=f"{other.recipient_name} must be notified first ({other.citation})",
                    first=other.id,
                )


@dataclass(frozen=True, kw_only=True)
class _Begun:
    at: datetime
    by: str


def _begun(start: Start, facts: Facts) -> _Begun | None:
    """Return the start of a clock; None while it is unknown."""
    found: list[_Begun] = []
    for kind, names in ((FactKind.TIME, start.facts), (FactKind.NOTIFIED, start.notices)):
        for name in names:
            fact = facts.latest(kind, name)
            if fact is not None and fact.at is not None:
                found.append(_Begun(at=fact.at, by=name))
    if not found or (start.needs_all and len(found) < len(start.facts)):
        return None
    return (max if start.needs_all else min)(found, key=lambda begun: begun.at)


def _why_not_owed(obligation: Obligation, facts: Facts) -> str:
    """Return why an obligation is not owed, or "" while it may be owed."""
    risk = facts.latest(FactKind.ANSWER, obligation.id)
    if obligation.risk_test and risk is not None and risk.is_so is False:
        return f"{risk.author} judged that it is not owed: {obligation.risk_test}"
    threshold = threshold_of(obligation)
    judged = facts.latest(FactKind.THRESHOLD, obligation.id)
    if judged is not None and judged.is_so:
        return ""
    affected = facts.latest(FactKind.AFFECTED, obligation.jurisdiction)
    if threshold.has_number:
        if affected is None or affected.count is None or threshold.admits(affected.count):
            return ""
        if threshold.question and judged is None:
            return ""
        return (
            f"below the threshold ({obligation.threshold}): {affected.author} stated"
            f" {affected.count:,} affected people"
        )
    if threshold.question and judged is not None:
        return f"{obligation.threshold}: not met, by the judgement of {judged.author}"
    return ""


def _questions(
    obligation: Obligation, start: Start, begun: _Begun | None, facts: Facts
) -> Iterator[Question]:
    if begun is None:
        for name in start.facts:
            if facts.latest(FactKind.TIME, name) is None:
                yield Question(kind=FactKind.TIME, name=name, text=QUESTIONS[name])
        for name in start.notices:
            yield Question(kind=FactKind.NOTIFIED, name=name, text=f"When was {name} given?")
    threshold = threshold_of(obligation)
    affected = facts.latest(FactKind.AFFECTED, obligation.jurisdiction)
    if threshold.has_number and affected is None:
        yield Question(
            kind=FactKind.AFFECTED,
            name=obligation.jurisdiction,
            text=f"How many people in {obligation.jurisdiction} are affected?",
        )
    is_within = affected is not None and threshold.admits(affected.count or 0)
    if (
        threshold.question
        and not (threshold.has_number and is_within)
        and facts.latest(FactKind.THRESHOLD, obligation.id) is None
    ):
        yield Question(kind=FactKind.THRESHOLD, name=obligation.id, text=threshold.question)
    if obligation.risk_test and facts.latest(FactKind.ANSWER, obligation.id) is None:
        yield Question(
            kind=FactKind.ANSWER,
            name=obligation.id,
            text=f"Is it owed? The test: {obligation.risk_test}",
        )


def _receipt(facts: Facts, name: str) -> Fact | None:
    """Return the fact that a notice was given; None if missing or withdrawn."""
    fact = facts.latest(FactKind.NOTIFIED, name)
    return fact if fact is not None and fact.at is not None else None


def _affected_places(facts: Facts) -> frozenset[str]:
    places = {fact.name for fact in facts if fact.kind is FactKind.AFFECTED}
    return frozenset(
        place
        for place in places
        if (fact := facts.latest(FactKind.AFFECTED, place)) is not None and fact.count
    )
