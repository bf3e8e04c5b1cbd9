"""Status of a recovery: milestones of sets, RTO and RPO of services.

A milestone is the time when a recovery completed a phase, such as "data complete".

Rules
- The status is read from the ledger (the installation's database), where each recovered set is an
  effect: one change outside Standfast. Thus every machine reports the same status.
- A service is usable when all its backup sets are usable. If the incident also recovers services on
  which this service depends, these services must be usable too.
- The RTO of a service is measured only if a check of this service passed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from standfast.continuity.recovery_objectives import ObjectiveResult, milliseconds
from standfast.continuity.service_order import recovery_order
from standfast.ledger.effects.effect_rows import EffectRow
from standfast.playbook.actions.service_recover import RECOVER, RETURN
from standfast.records import EffectState, JsonObject, moment
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.drill_clocks import DrillClock
from standfast.usecases.drills.outcome import judged, not_recovered
from standfast.usecases.recovery.set_plan import SetPlan


@dataclass(frozen=True, kw_only=True)
class SetStatus:
    """The recovery of one set."""

    set_name: str
    state: str  # state of the effect, such as "done", or "returned" after an undo
    reason: str
    plan: SetPlan | None  # None in an exercise (simulated), or if the set was refused
    clocks_ms: Mapping[str, int]  # milliseconds from the opening of the incident
    set_aside: tuple[str, ...]  # new names of the data that was replaced
    rpo_ms: int | None
    passed: Mapping[str, Sequence[str]]  # names of checks by service
    skipped: Mapping[str, Mapping[str, str]]  # reasons by service and name of the check

    @property
    def usable_ms(self) -> int | None:
        return self.clocks_ms.get(DrillClock.USABLE)

    def as_json(self) -> JsonObject:
        return {
            "set": self.set_name,
            "state": self.state,
            "reason": self.reason,
            "plan": self.plan.as_json() if self.plan else None,
            "clocks_ms": dict(self.clocks_ms),
            "set_aside": list(self.set_aside),
            "rpo_ms": self.rpo_ms,
            "passed": {service: list(names) for service, names in self.passed.items()},
            "skipped": {service: dict(checks) for service, checks in self.skipped.items()},
        }


@dataclass(frozen=True, kw_only=True)
class RecoveryStatus:
    """The recovery of all sets and services of an incident."""

    sets: tuple[SetStatus, ...]
    services: tuple[ObjectiveResult, ...]  # only services whose sets are all recovered

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "sets": [status.as_json() for status in self.sets],
            "services": [judged(service) for service in self.services],
        }


def recovery_status(installation: Installation, incident_id: str) -> RecoveryStatus:
    """Return the status of an incident's recovery; empty if it has none."""
    rows = installation.ledger.effects.of_incident(incident_id)
    returned = {row.undoes for row in rows if row.verb == RETURN and row.state is EffectState.DONE}
    opened_at = installation.ledger.incidents.get(incident_id).opened_at
    found: dict[str, SetStatus] = {}
    for row in rows:
        if row.verb == RECOVER:  # the last row of a set replaces those of its earlier plans
            status = _set_status(incident_id, row, is_returned=row.token in returned)
            clocks = cast("Mapping[str, str]", row.facts.get("clocks") or {})
            times = {
                clock.value: milliseconds(moment(clocks[clock]) - opened_at)
                for clock in DrillClock
                if clock in clocks
            }
            found[status.set_name] = replace(status, clocks_ms=times)
    services = tuple(_judge(installation, found)) if found else ()
    return RecoveryStatus(sets=tuple(found.values()), services=services)


def _set_status(incident_id: str, row: EffectRow, *, is_returned: bool) -> SetStatus:
    facts = row.facts
    return SetStatus(
        set_name=row.as_order().target,
        state="returned" if is_returned else row.state.value,
        reason=row.reason,
        plan=SetPlan.of_effect(row.details, incident_id),
        clocks_ms={},
        set_aside=tuple(cast("Sequence[str]", facts.get("set_aside") or ())),
        rpo_ms=cast("int | None", facts.get("rpo_ms")),
        passed=cast("Mapping[str, Sequence[str]]", facts.get("passed") or {}),
        skipped=cast("Mapping[str, Mapping[str, str]]", facts.get("skipped") or {}),
    )


def _judge(installation: Installation, sets: Mapping[str, SetStatus]) -> Iterable[ObjectiveResult]:
    """Yield the result of each completely recovered service."""
    services = installation.config.services
    usable_ms: dict[str, int] = {}
    unusable: set[str] = set()
    for name in (name for wave in recovery_order(services) for name in wave):
        service = services[name]
        parts = [sets[set_name] for set_name in service.sets if set_name in sets]
        is_recovered = bool(parts) and len(parts) == len(service.sets)
        times = [part.usable_ms for part in parts]
        if None in times or not unusable.isdisjoint(service.depends_on):
            unusable.add(name)
            continue
        known_times = [time for time in times if time is not None]
        known_times += [usable_ms[other] for other in service.depends_on]
        usable_ms[name] = max(known_times, default=0)
        if not is_recovered:
            continue
        losses = [part.rpo_ms for part in parts]
        known = [loss for loss in losses if loss is not None]
        is_checked = any(name in part.passed for part in parts)
        yield replace(
            not_recovered(name, service),
            rto_actual_ms=usable_ms[name] if is_checked else None,
            rpo_actual_ms=max(known) if len(known) == len(losses) else None,
            is_checked=is_checked,
        )
