"""The clocks of one incident: each duty with where it stands now, when it is due, and what to ask.

`clocks` is the whole of it: data, facts and the time now go in, one `Clock` a duty comes out.

Rules
- A duty stays in view whatever its state; what ends it (a threshold not reached, a test answered
  with no) is said with its author.
- A soft duty has no date: it is due from the moment that its clock starts.
- A delay by law enforcement stops a clock only with its document, and only while it lasts. A clock
  that the delay outlasts is due when the delay ends. One that is stated of a whole place stops only
  the duties there whose own rule gives way to it, and lengthens every hold. Stated after the strict
  end, as it was by then, it moves only the lenient one: it may have been asked for too late.
- A place where somebody is known to be affected is within reach, whatever was configured.
- A day ends where the law is, or where the organisation sits: strict is whichever ends first.
- A notice is blocked while a hold runs, or while another notice that must go first has not gone.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
from standfast.deadlines.obligations import Kind, Obligation, Recipient, is_same_notice
from standfast.deadlines.period_end import Reading, end_of, end_of_year
from standfast.deadlines.working_days import WorkingDays, time_zones_of, working_days


class Standing(StrEnum):
    """Where a duty stands. In the order in which a person wants to see them."""

    MISSED = "missed"  # the strict end is past and nobody was told
    RUNNING = "running"  # started; for a soft duty: due now
    HELD = "held"  # law enforcement asked to wait
    NOT_STARTED = "not_started"  # the fact that starts it is not known
    LATE = "late"  # told, after the strict end
    EARLY = "early"  # told while a hold ran
    MET = "met"
    NOT_OWED = "not_owed"  # a threshold or a test says so
    NOT_LAW = "not_law"  # proposed, or not known to be in force


@dataclass(frozen=True, kw_only=True)
class Question:
    """A fact that would decide something, and how to state it."""

    kind: FactKind
    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Was:
    """A due date that a later fact replaced."""

    due: Reading
    replaced_by: Fact


@dataclass(frozen=True, kw_only=True)
class Block:
    """Why a notice may not go yet. `until` is None while nobody can say.

    `first` is the duty whose receipt lifts it, where one does.
    """

    reason: str
    until: datetime | None = None
    first: str = ""


@dataclass(frozen=True, kw_only=True)
class Clock:
    """One duty in one incident."""

    obligation: Obligation
    standing: Standing
    started_at: datetime | None = None
    started_by: str = ""  # the fact or the notice that started it
    due: Reading | None = None
    because: str = ""  # why it stands so
    questions: tuple[Question, ...] = ()
    was: tuple[Was, ...] = ()
    blocks: tuple[Block, ...] = ()
    told: Fact | None = None
    open_delay: Fact | None = None  # law enforcement asked to wait, and not until when

    def share_gone(self, now: datetime) -> float | None:
        """Give which part of the time is gone, 0 to 1 and beyond; None without a date."""
        if self.due is None or self.started_at is None:
            return None
        whole = (self.due.strict - self.started_at).total_seconds()
        return (now - self.started_at).total_seconds() / whole if whole > 0 else 1.0


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Which duties concern one: the places, the parts one plays, the trades one is in."""

    jurisdictions: frozenset[str]
    parts: frozenset[Part]
    sectors: frozenset[Sector] = frozenset()
    zone: ZoneInfo
    authority_country: str = ""  # of the European authority, for its holidays

    def covers(self, obligation: Obligation) -> bool:
        """Tell whether a duty concerns one at all."""
        return obligation.jurisdiction in self.jurisdictions and (
            obligation.is_agreement or binds(obligation, self.parts, self.sectors)
        )


def clocks(
    obligations: Iterable[Obligation], facts: Facts, reach: Reach, now: datetime
) -> tuple[Clock, ...]:
    """Give a clock for each duty within reach, in the data's order."""
    by_id = {obligation.id: obligation for obligation in obligations}
    reach = replace(reach, jurisdictions=reach.jurisdictions | _affected_places(facts))
    run = _Run(by_id=by_id, reach=reach, now=now)
    return tuple(run.clock(each, facts) for each in by_id.values() if reach.covers(each))


@dataclass(frozen=True, kw_only=True)
class _Run:
    by_id: Mapping[str, Obligation]
    reach: Reach
    now: datetime

    def clock(self, obligation: Obligation, facts: Facts) -> Clock:
        told = self._told(obligation, facts)
        if not obligation.is_law:
            because = f"{obligation.status.replace('_', ' ')}; not applied"
            return Clock(obligation=obligation, standing=Standing.NOT_LAW, because=because)
        if not_owed := _why_not_owed(obligation, facts) or self._gave_way(obligation, facts):
            return Clock(
                obligation=obligation, standing=Standing.NOT_OWED, because=not_owed, told=told
            )
        start = start_of(obligation, self.by_id)
        begun = _begun(start, facts)
        due = None if begun is None else self._due(obligation, start, begun.at)
        delays = _delays(obligation, facts)
        delay = delays[-1] if delays else None
        if due is not None and delays:
            is_hold = obligation.limit.kind is Kind.NOT_BEFORE
            due = _put_off(due, delays, is_hold=is_hold)
        standing, because = self._standing(obligation, begun, due, delay, told)
        return Clock(
            obligation=obligation,
            standing=standing,
            started_at=None if begun is None else begun.at,
            started_by="" if begun is None else begun.by,
            due=due,
            because=because,
            questions=tuple(_questions(obligation, start, begun, facts)),
            was=tuple(self._was(obligation, start, facts)),
            blocks=tuple(self._blocks(obligation, facts, due, delay)) if told is None else (),
            told=told,
            open_delay=delay
            if standing is Standing.HELD and delay is not None and delay.at is None
            else None,
        )

    def _standing(
        self,
        obligation: Obligation,
        begun: "_Begun | None",
        due: Reading | None,
        delay: Fact | None,
        told: Fact | None,
    ) -> tuple[Standing, str]:
        is_hold = obligation.limit.kind is Kind.NOT_BEFORE
        if told is not None and told.at is not None:
            if due is None:
                return Standing.MET, told.reference
            if is_hold:
                return (Standing.EARLY if told.at < due.strict else Standing.MET), told.reference
            return (Standing.LATE if told.at > due.strict else Standing.MET), told.reference
        if begun is None:
            return Standing.NOT_STARTED, ""
        if delay is not None and (delay.at is None or delay.at > self.now):
            return Standing.HELD, delay.reference
        if due is not None and not is_hold and self.now > due.strict:
            return Standing.MISSED, ""
        return Standing.RUNNING, ""

    def _told(self, obligation: Obligation, facts: Facts) -> Fact | None:
        """Give the receipt; limits that bind one and the same notice share it."""
        same = [
            other.id
            for other in self.by_id.values()
            if other is obligation or is_same_notice(obligation, other)
        ]
        found = [fact for name in same if (fact := _receipt(facts, name)) is not None]
        return min(found, key=lambda fact: fact.at or fact.recorded_at) if found else None

    def _gave_way(self, obligation: Obligation, facts: Facts) -> str:
        """Say why an outer limit does not bind, where a fact that came later sets another."""
        later = OUTER_LIMITS.get(obligation.id)
        if later is None:
            return ""
        start = start_of(obligation, self.by_id)
        begun, fact = _begun(start, facts), facts.latest(FactKind.TIME, later)
        due = None if begun is None else self._due(obligation, start, begun.at)
        if due is None or fact is None or fact.at is None or fact.at <= due.strict:
            return ""
        return f"{later} came only after it, and sets the limit"

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

    def _was(self, obligation: Obligation, start: Start, facts: Facts) -> Iterator[Was]:
        """Give the dates that held until a fact about the start was stated anew."""
        subjects = [(FactKind.TIME, name) for name in start.facts]
        subjects += [(FactKind.TOLD, name) for name in start.notices]
        for fact in facts:
            if (fact.kind, fact.name) not in subjects:
                continue
            earlier = _begun(start, facts.as_before(fact))
            later = _begun(start, facts.until(fact))
            if earlier is None or later is None or earlier.at == later.at:
                continue
            due = self._due(obligation, start, earlier.at)
            if due is not None:
                yield Was(due=due, replaced_by=fact)

    def _blocks(
        self, obligation: Obligation, facts: Facts, due: Reading | None, delay: Fact | None
    ) -> Iterator[Block]:
        """Give what forbids to tell: `due` is the end of a hold, with the `delay` of it."""
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
                yield Block(reason=f"{held}, until who asked to wait says otherwise")
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
                    reason=f"{other.recipient_name} must be told first ({other.citation})",
                    first=other.id,
                )


@dataclass(frozen=True, kw_only=True)
class _Begun:
    at: datetime
    by: str


def _begun(start: Start, facts: Facts) -> _Begun | None:
    """Find what started a clock; None while it is not known."""
    found: list[_Begun] = []
    for kind, names in ((FactKind.TIME, start.facts), (FactKind.TOLD, start.notices)):
        for name in names:
            fact = facts.latest(kind, name)
            if fact is not None and fact.at is not None:
                found.append(_Begun(at=fact.at, by=name))
    if not found or (start.needs_all and len(found) < len(start.facts)):
        return None
    return (max if start.needs_all else min)(found, key=lambda begun: begun.at)


def _why_not_owed(obligation: Obligation, facts: Facts) -> str:
    """Say why a duty is not owed, or nothing while it may be."""
    risk = facts.latest(FactKind.ANSWER, obligation.id)
    if obligation.risk_test and risk is not None and risk.is_so is False:
        return f"judged not owed by {risk.author}: {obligation.risk_test}"
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
        return f"{affected.count:,} affected, by {affected.author}: {obligation.threshold}"
    if threshold.question and judged is not None:
        return f"{obligation.threshold}: judged not so by {judged.author}"
    return ""


def _questions(
    obligation: Obligation, start: Start, begun: _Begun | None, facts: Facts
) -> Iterator[Question]:
    if begun is None:
        for name in start.facts:
            if facts.latest(FactKind.TIME, name) is None:
                yield Question(kind=FactKind.TIME, name=name, text=QUESTIONS[name])
        for name in start.notices:
            yield Question(kind=FactKind.TOLD, name=name, text=f"When was {name} given?")
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


def _delays(obligation: Obligation, facts: Facts) -> list[Fact]:
    """Give law enforcement's requests that concern this duty, the one that holds now last."""
    names = [obligation.id]
    if obligation.may_be_delayed:
        names.append(obligation.jurisdiction)
    found: list[Fact] = []
    for fact in facts:
        if fact.kind is FactKind.DELAY and fact.name in names:
            if fact.is_so is False:  # nobody asked, after all
                found = [one for one in found if one.name != fact.name]
            else:
                found.append(fact)
    return found


def _put_off(due: Reading, delays: Sequence[Fact], *, is_hold: bool) -> Reading:
    """Give the end with the delays: the strict one moves by what was stated before it was over.

    Over as it was by then: a delay that lasts may be ended, or made longer, when the first end has
    long gone by.
    """
    strict: datetime | None = due.strict  # None while nobody knows until when
    for delay in delays:
        if is_hold or strict is None or delay.recorded_at <= strict:
            strict = None if delay.at is None else max(due.strict, delay.at)
    until = delays[-1].at
    if until is None:
        return due  # it has no date, and is not shown by one
    return Reading(strict=strict or due.strict, lenient=max(due.lenient, until))


def _receipt(facts: Facts, name: str) -> Fact | None:
    """Give the receipt that stands; None where there is none, or it was taken back."""
    fact = facts.latest(FactKind.TOLD, name)
    return fact if fact is not None and fact.at is not None else None


def _affected_places(facts: Facts) -> frozenset[str]:
    places = {fact.name for fact in facts if fact.kind is FactKind.AFFECTED}
    return frozenset(
        place
        for place in places
        if (fact := facts.latest(FactKind.AFFECTED, place)) is not None and fact.count
    )
