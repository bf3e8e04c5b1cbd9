"""Telling who is on call that a trigger opened an incident: what it would reach, and how to see it.

Rules
- The ledger says who was told: a run of kind `page`, written before the first message leaves. What
  nobody was told of is found again by any `serve`, so none is forgotten by a process that dies.
- A trigger that opens many incidents sends one message about all, and at most one a minute.
- The plan is made meanwhile, and the page does not wait for a directory that is silent.
- A page that reached nobody is tried again after five minutes: told twice is better than never.
- A page names no account: mail is read by others.
"""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import cast

from backup.lazy_dataclass import dataclass
from standfast.counted import counted
from standfast.errors import ConfigurationError, StandfastError, UnderWay
from standfast.ledger import Ledger
from standfast.ledger.incidents import IncidentRow
from standfast.ledger.run_row import RunRow
from standfast.operations import playbooks
from standfast.operations.place import Place
from standfast.operations.planning import PlanReport, plan_incident
from standfast.operations.run_record import recorded
from standfast.operations.telling import tell_each
from standfast.operations.triggers import ACTOR, Trigger, inputs_again
from standfast.outside import Outside
from standfast.records import EffectState, Json, JsonObject, Mode

KIND = "page"
TOLD, FAILED = "raised", "failed"
_TEMPLATE = "incident-opened"
_APART = timedelta(minutes=1)
_AGAIN_AFTER = timedelta(minutes=5)
_PLAN_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Page:
    """What one trigger opened and nobody knows yet; never empty."""

    trigger: str
    incidents: tuple[IncidentRow, ...]  # oldest first


def due(place: Place) -> list[Page]:
    """Give the pages that are to be sent now, by trigger."""
    opened: dict[str, list[IncidentRow]] = {}
    for row in place.ledger.incidents.all(only_open=True):
        if row.opened_by.startswith(ACTOR):
            opened.setdefault(row.opened_by.removeprefix(ACTOR), []).append(row)
    now, found = place.clock(), []
    for name, rows in opened.items():
        runs = place.ledger.runs.all(KIND, name)  # newest first
        news = _not_told(rows, runs)
        pause = _AGAIN_AFTER if runs and runs[0].state == FAILED else _APART
        if news and (not runs or now - runs[0].started_at >= pause):
            found.append(Page(trigger=name, incidents=news))
    return found


def send(place: Place, page: Page, triggers: Mapping[str, Trigger], way: str) -> str:
    """Tell people; give what came of it, for a log. Another process that is at it is left to it."""
    trigger = triggers.get(page.trigger)
    try:
        with recorded(place, KIND, page.trigger, way) as run:
            news = _not_told(page.incidents, place.ledger.runs.all(KIND, page.trigger))
            if not news:
                run.ends(TOLD, {"incidents": []})
                return "another process told people meanwhile"
            plan = _plan(place, news[-1])
            people = place.ledger.people.all(trigger.page_roles if trigger else ())
            values = _values(place, page.trigger, news, plan)
            counts, problem = tell_each(place, _TEMPLATE, values, people, run.token)
            summary: dict[str, Json] = {
                "incidents": [row.id for row in news],
                "people": len(people),
                **{outcome.value: count for outcome, count in sorted(counts.items())},
                **({"plan": plan.digest, "targets": _most(plan)} if plan else {}),
                **({"problem": problem} if problem else {}),
            }
            run.ends(TOLD if counts[EffectState.DONE] else FAILED, summary)
    except UnderWay:
        return "another process is telling people"
    told = counted(counts[EffectState.DONE], "person was", "people were")
    return f"{told} told of {news[-1].id}" + (f"; {problem}" if problem else "")


def why_untold(ledger: Ledger, outside: Outside, trigger: Trigger) -> str:
    """Say what keeps its pages from anybody, as far as that is known before one leaves; or nothing.

    `outside` is asked for a sender only; nothing is connected to.
    """
    if not ledger.people.all(trigger.page_roles):
        who = f" with the role {' or '.join(trigger.page_roles)}" if trigger.page_roles else ""
        return f"nobody{who} is enrolled whom it could page"
    try:
        outside.default_sender()
    except ConfigurationError as error:
        return f"no page can go out: {error}"
    runs = ledger.runs.all(KIND, trigger.name)  # newest first
    return "its last page reached nobody" if runs and runs[0].state == FAILED else ""


def _not_told(rows: Sequence[IncidentRow], runs: Sequence[RunRow]) -> tuple[IncidentRow, ...]:
    told: set[Json] = set()
    for run in runs:
        if run.state == TOLD:
            told.update(cast("Sequence[str]", run.summary.get("incidents", ())))
    return tuple(row for row in rows if row.id not in told)


def _plan(place: Place, incident: IncidentRow) -> PlanReport | None:
    """Plan it, if that can be done in time; what comes later stands in the timeline anyway."""
    if incident.mode is not Mode.PLAN:
        return None
    made: list[PlanReport] = []

    def work() -> None:
        with suppress(StandfastError):
            made.append(plan_incident(place, incident.scenario, inputs_again(incident)))

    thread = threading.Thread(target=work, name=f"plan-{incident.id}", daemon=True)
    thread.start()
    thread.join(_PLAN_SECONDS)
    return made[0] if made else None


def _most(plan: PlanReport) -> int:
    """How many targets the widest step reaches: most steps are about the same ones."""
    return max((step.targets for step in plan.steps), default=0)


def _values(
    place: Place, trigger: str, incidents: Sequence[IncidentRow], plan: PlanReport | None
) -> JsonObject:
    newest = incidents[-1]
    try:
        title = playbooks.find(place.config, newest.scenario).title
    except StandfastError:
        title = newest.scenario  # it was changed since; the page goes out all the same
    found: dict[str, Json] = {
        "trigger": trigger,
        "incident_id": newest.id,
        "incidents_count": len(incidents),
        "has_more": len(incidents) > 1,
        "what": title,
        "is_plan": newest.mode is Mode.PLAN,
        "command": f"standfast incident status {newest.id}",
    }
    if plan is not None:
        found |= {
            "has_plan": True,
            "targets": _most(plan),
            "refused": max((sum(step.refused.values()) for step in plan.steps), default=0),
            "is_impossible": any(step.impossible for step in plan.steps),
        }
    return found
