"""Overview of incidents for `status`: order, next step, legal clocks.

A legal clock is the running deadline of a duty to notify somebody. Facts (dated statements, such as
the time of awareness) start the clocks.

Rules
- Incidents that act on real systems come first. Then come incidents that a trigger (such as a
  webhook) opened and that are only planned, then exercises. In each group, the most severe incident
  is first (`Severity`). An incident with a missed legal clock is as severe as an incident that
  waits for a person.
- A closed incident is listed while one of its legal clocks is missed or running, because closing an
  incident ends no legal duty. It is also listed if its clocks cannot be counted.
- The next step is the sentence that `standfast incident status` prints, except the number of
  letters to post. This number is encrypted, and the overview decrypts nothing.
- Legal clocks are counted only for incidents on real systems, and only if a law or a contract is
  configured. The reference of a fact (such as a receipt) stays encrypted, because no clock depends
  on it.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from standfast.config import Config, load
from standfast.deadlines.incident_facts import Fact, FactKind, Facts
from standfast.deadlines.legal_clocks import ClockState, clocks
from standfast.deadlines.obligations import Kind
from standfast.errors import ConfigurationError
from standfast.ledger.status_overview import (
    ClosedIncidentOverview,
    FactOverview,
    IncidentOverview,
    LedgerOverview,
)
from standfast.playbook.parser.playbook_file import load as load_playbook
from standfast.playbook.run_state import State, StepView, merged
from standfast.playbook.status.headline import Severity
from standfast.playbook.status.next_step import LegalClocks, summarise_status, when_closed
from standfast.records import Json, JsonObject, Mode, timestamp
from standfast.usecases.deadlines.obligations import obligations, reach

LIVE, PLAN, EXERCISE = "live", "plan", "exercise"
_ORDER = (LIVE, PLAN, EXERCISE)
_SEALED = "sealed"  # replaces the encrypted reference of a fact


@dataclass(frozen=True, kw_only=True)
class ClockSummary:
    """The legal clocks of an incident in numbers, and the next due date."""

    missed: int
    due_now: int = 0  # running clocks that are due "without delay"
    running: int = 0  # running clocks with a fixed end
    next_due: datetime | None

    def as_json(self) -> JsonObject:
        """Return the JSON form, as in `incident status`."""
        due = None if self.next_due is None else timestamp(self.next_due)
        return {"missed": self.missed, "due_now": self.due_now, "next_due": due}

    @property
    def legal(self) -> LegalClocks:
        """The legal clocks as input for the choice of the next step."""
        return LegalClocks(missed=self.missed, due_now=self.due_now, next_due=self.next_due)


@dataclass(frozen=True, kw_only=True)
class IncidentStatus:
    """An open incident, or a closed one with a legal clock."""

    id: str
    scenario: str
    mode: str
    opened_at: datetime
    not_notified: int
    held: int  # people in `not_notified` about whom a person must decide
    uncounted: tuple[str, ...] = ()  # notices that have unreadable audiences (lists of recipients)
    headline: str
    severity: int  # a value of `Severity`; the lowest value is the most severe
    next_step: str
    is_closed: bool = False
    # None for planned incidents and exercises, without a configured law, or if not countable.
    clocks: ClockSummary | None
    lacks_clocks: bool = False  # True if clocks are configured, but cannot be counted

    @property
    def is_live(self) -> bool:
        return self.mode == LIVE

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        clocks: Json = None if self.clocks is None else self.clocks.as_json()
        return {
            "incident": self.id,
            "scenario": self.scenario,
            "mode": self.mode,
            "is_closed": self.is_closed,
            "opened_at": timestamp(self.opened_at),
            "not_notified": self.not_notified,
            "held": self.held,
            "uncounted": [*self.uncounted],
            "clocks": clocks,
            "lacks_clocks": self.lacks_clocks,
            "headline": self.headline,
            "severity": self.severity,
            "next_step": self.next_step,
        }


def incidents_of(
    seen: LedgerOverview, config_file: Path, raw: Mapping[str, Any], zone: str, now: datetime
) -> tuple[IncidentStatus, ...]:
    """Return the incidents, most urgent first.

    `raw` is the parsed TOML file of the configuration, and `zone` the time zone for texts.
    """
    table = raw.get("deadlines")
    is_counted = bool(
        raw.get("contracts") or (isinstance(table, Mapping) and table.get("jurisdictions"))
    )
    config: Config | None = None
    if is_counted and (seen.closed or any(incident.mode == LIVE for incident in seen.incidents)):
        with suppress(ConfigurationError):  # `standfast check` reports the error
            config = load(config_file)
    found: list[IncidentStatus] = []
    for incident in seen.incidents:
        clocks = _clocks(incident, config, now)
        lacks_clocks = is_counted and incident.mode == LIVE and clocks is None
        found.append(_incident_status(incident, clocks, zone, lacks_clocks=lacks_clocks))
    for closed in seen.closed:
        clocks = count_clocks(closed.facts, config, now)
        if is_counted and (clocks is None or clocks.legal.has_open_obligations):
            found.append(_closed_status(closed, clocks, zone))
    return tuple(sorted(found, key=_urgency))


def _urgency(incident: IncidentStatus) -> tuple[int, int, bool]:
    return _ORDER.index(incident.mode), incident.severity, incident.is_closed


def _clocks(seen: IncidentOverview, config: Config | None, now: datetime) -> ClockSummary | None:
    return None if seen.mode != LIVE else count_clocks(seen.facts, config, now)


def count_clocks(
    facts: Sequence[FactOverview], config: Config | None, now: datetime
) -> ClockSummary | None:
    """Return the legal clocks of an incident; None if they cannot be counted."""
    if config is None:
        return None
    if not facts:
        return ClockSummary(missed=0, next_due=None)  # no clock runs without a fact
    try:
        known, reached = obligations(config), reach(config)
    except ConfigurationError:
        return None
    found = clocks(known, Facts(map(_fact, facts)), reached, now)
    running = [clock for clock in found if clock.state is ClockState.RUNNING]
    ends = [
        clock.due.strict
        for clock in running
        if clock.due and clock.obligation.limit.kind is not Kind.NOT_BEFORE
    ]
    return ClockSummary(
        missed=sum(clock.state is ClockState.MISSED for clock in found),
        due_now=sum(clock.due is None for clock in running),
        running=len(ends),
        next_due=min(ends, default=None),
    )


def _fact(seen: FactOverview) -> Fact:
    return Fact(
        kind=FactKind(seen.kind),
        name=seen.name,
        at=seen.at,
        count=seen.count,
        is_so=seen.is_so,
        reference=_SEALED,
        author=seen.author,
        recorded_at=seen.recorded_at,
    )


def _closed_status(
    seen: ClosedIncidentOverview, clocks: ClockSummary | None, zone: str
) -> IncidentStatus:
    is_missed = clocks is not None and clocks.missed > 0
    unknown = "Closed; its legal clocks cannot be counted: run `standfast check` to see why."
    return IncidentStatus(
        id=seen.id,
        scenario=seen.scenario,
        mode=LIVE,
        opened_at=seen.opened_at,
        not_notified=0,
        held=0,
        next_step=when_closed(seen.id, clocks.legal, zone) if clocks else unknown,
        headline="closed",
        severity=Severity.WAITING if is_missed else Severity.FINISHED,
        is_closed=True,
        clocks=clocks,
        lacks_clocks=clocks is None,
    )


def _incident_status(
    seen: IncidentOverview, clocks: ClockSummary | None, zone: str, *, lacks_clocks: bool
) -> IncidentStatus:
    playbook = load_playbook(seen.playbook, seen.scenario)
    names = {step.name for step in playbook.steps}
    rounds: dict[str, list[StepView]] = {}
    for view in sorted(seen.steps, key=lambda view: view.round):
        rounds.setdefault(view.step, []).append(view)
    state = State(
        playbook=playbook,
        mode=Mode(seen.mode),
        steps={name: merged(found) for name, found in rounds.items() if name in names},
        extra=tuple(view for view in seen.steps if view.step not in names),
        is_stopped_or_closed=seen.is_stopped,
        unrestored_count=seen.unrestored_count,
        joined=seen.joined,
        has_runner=seen.has_runner,
        incident=seen.id,
        time_zone=zone,
    )
    found = summarise_status(state) if clocks is None else summarise_status(state, clocks.legal)
    return IncidentStatus(
        id=seen.id,
        scenario=seen.scenario,
        mode=seen.mode,
        opened_at=seen.opened_at,
        not_notified=seen.not_notified,
        held=seen.held,
        uncounted=state.uncounted,
        headline=found.headline,
        severity=found.severity,
        next_step=found.next_step,
        clocks=clocks,
        lacks_clocks=lacks_clocks,
    )
