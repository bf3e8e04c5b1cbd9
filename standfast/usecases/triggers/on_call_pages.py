"""Telling who is on call that a trigger opened an incident: what it would reach, and how to see it.

And, once a stop, that it brought more to an incident which somebody stopped: that waits for people.

Rules
- The ledger says who was told: a run of kind `page`, written before the first message leaves. What
  nobody was told of is found again by any `serve`, so none is forgotten by a process that dies. Of
  several hosts that see it at once, who came first there tells.
- A trigger that opens many incidents sends one message about all, and at most one a minute.
- The plan is made meanwhile, and the page does not wait for a directory that is silent.
- What waits in a stopped incident is told first: that is one message, and a storm never ends.
- A page that reached nobody is tried again after five minutes: told twice is better than never.
- A page names no account: mail is read by others.
"""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from standfast.adapters.factory import Outside
from standfast.errors import ConfigurationError, StandfastError, UnderWay
from standfast.ledger import Ledger
from standfast.ledger.incidents.incident_store import IncidentRow
from standfast.ledger.incidents.trigger_messages import IgnoredTrigger
from standfast.ledger.runs.run_record import RunRecord
from standfast.plurals import counted
from standfast.records import EffectState, Json, JsonObject, Mode
from standfast.usecases.core.incident_visibility import is_visible
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import is_first, recorded
from standfast.usecases.core.staff_messages import notify_each
from standfast.usecases.incidents.plan import PlanReport, plan_incident
from standfast.usecases.playbooks import library
from standfast.usecases.triggers.message_intake import ACTOR, Trigger, reread_inputs

KIND = "page"
TOLD, FAILED, LEFT = "raised", "failed", "done"  # left to another host, or told by one meanwhile
_OPENED, _WAITS = "incident-opened", "incident-waits"
_APART = timedelta(minutes=1)
_AGAIN_AFTER = timedelta(minutes=5)
_LONGEST_TELLING = timedelta(minutes=2)  # what is not told by then, its teller died over
_PLAN_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Page:
    """What nobody knows yet of one trigger: what it opened, or what waits; one of them is empty."""

    trigger: str
    incidents: tuple[IncidentRow, ...] = ()  # oldest first
    waiting: tuple[IgnoredTrigger, ...] = ()  # oldest incident first


@dataclass(frozen=True, kw_only=True)
class _Letter:
    """What people are told, and what the run keeps of it."""

    template: str
    incident: str  # the newest that it is about
    values: JsonObject
    summary: JsonObject


def due(installation: Installation) -> list[Page]:
    """Give the pages that are to be sent now, by trigger."""
    opened: dict[str, list[IncidentRow]] = {}
    for row in installation.ledger.incidents.all(only_open=True):
        if row.opened_by.startswith(ACTOR):
            opened.setdefault(row.opened_by.removeprefix(ACTOR), []).append(row)
    waiting: dict[str, list[IgnoredTrigger]] = {}
    for one in installation.ledger.triggers.waiting():
        if one.source.startswith(ACTOR):
            waiting.setdefault(one.source.removeprefix(ACTOR), []).append(one)
    now, found = installation.clock(), []
    for name in {**waiting, **opened}:
        runs = installation.ledger.runs.all(KIND, name)  # newest first
        page = _news(
            Page(
                trigger=name,
                incidents=tuple(opened.get(name, ())),
                waiting=tuple(waiting.get(name, ())),
            ),
            runs,
        )
        pause = _AGAIN_AFTER if _has_failed(runs) else _APART
        # By whichever clock: one that stood ahead must not keep what is new from everybody.
        if page and (not runs or abs(now - runs[0].started_at) >= pause):
            found.append(page)
    return found


def send(installation: Installation, page: Page, triggers: Mapping[str, Trigger], way: str) -> str:
    """Tell people; give what came of it, for a log. Another process that is at it is left to it."""
    trigger = triggers.get(page.trigger)
    try:
        with recorded(installation, KIND, page.trigger, way) as run:
            # In this order: who was first, and has told by now, is in what was told.
            is_ours = is_first(installation, run, KIND, page.trigger, _LONGEST_TELLING)
            news = _news(page, installation.ledger.runs.all(KIND, page.trigger))
            if news is None or not is_ours:
                run.ends(LEFT, {})
                return "another host tells people, or has"
            letter = (
                _of_waiting(installation, news) if news.waiting else _of_opened(installation, news)
            )
            row = installation.ledger.incidents.get(letter.incident)
            roles = trigger.page_roles if trigger else ()
            people = [one for one in installation.ledger.people.all(roles) if is_visible(row, one)]
            counts, problem = notify_each(
                installation, letter.template, letter.values, people, run.token
            )
            summary: dict[str, Json] = {
                **letter.summary,
                "people": len(people),
                **{outcome.value: count for outcome, count in sorted(counts.items())},
                **({"problem": problem} if problem else {}),
            }
            run.ends(TOLD if counts[EffectState.DONE] else FAILED, summary)
    except UnderWay:
        return "another process is telling people"
    told = counted(counts[EffectState.DONE], "person was", "people were")
    what = f"what waits in {letter.incident}" if news.waiting else letter.incident
    return f"{told} told of {what}" + (f"; {problem}" if problem else "")


def notification_obstacle(ledger: Ledger, outside: Outside, trigger: Trigger) -> str:
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
    has_failed = _has_failed(ledger.runs.all(KIND, trigger.name))
    return "its last page reached nobody" if has_failed else ""


def _has_failed(runs: Sequence[RunRecord]) -> bool:
    """Did the last page reach nobody? `runs` are the newest first."""
    return next((run.state for run in runs if run.state != LEFT), "") == FAILED


def _news(page: Page, runs: Sequence[RunRecord]) -> Page | None:
    """Leave of a page what nobody was told yet; what waits comes first, and alone."""
    told: set[Json] = set()
    for run in runs:
        if run.state == TOLD:
            told.update(cast("Sequence[str]", run.summary.get("incidents", ())))
            told.update(cast("Sequence[str]", run.summary.get("waiting", ())))
    if waiting := tuple(one for one in page.waiting if _name(one) not in told):
        return Page(trigger=page.trigger, waiting=waiting)
    incidents = tuple(row for row in page.incidents if row.id not in told)
    return Page(trigger=page.trigger, incidents=incidents) if incidents else None


def _name(one: IgnoredTrigger) -> str:
    return f"{one.incident} since {one.stop}"


def _of_opened(installation: Installation, page: Page) -> _Letter:
    plan = _plan(installation, page.incidents[-1])
    return _Letter(
        template=_OPENED,
        incident=page.incidents[-1].id,
        values=_values(installation, page.trigger, page.incidents, plan),
        summary={
            "incidents": [row.id for row in page.incidents],
            **({"plan": plan.digest, "targets": _most(plan)} if plan else {}),
        },
    )


def _of_waiting(installation: Installation, page: Page) -> _Letter:
    newest = page.waiting[-1]
    return _Letter(
        template=_WAITS,
        incident=newest.incident,
        values={
            "trigger": page.trigger,
            "incident_id": newest.incident,
            "incidents_count": len(page.waiting),
            "has_more": len(page.waiting) > 1,
            "what": _title(installation, newest.scenario),
            "command": f"standfast incident status {newest.incident}",
        },
        summary={"waiting": [_name(one) for one in page.waiting]},
    )


def _plan(installation: Installation, incident: IncidentRow) -> PlanReport | None:
    """Plan it, if that can be done in time; what comes later stands in the timeline anyway."""
    if incident.mode is not Mode.PLAN:
        return None
    made: list[PlanReport] = []

    def work() -> None:
        with suppress(StandfastError):
            made.append(plan_incident(installation, incident.scenario, reread_inputs(incident)))

    thread = threading.Thread(target=work, name=f"plan-{incident.id}", daemon=True)
    thread.start()
    thread.join(_PLAN_SECONDS)
    return made[0] if made else None


def _most(plan: PlanReport) -> int:
    """How many targets the widest step reaches: most steps are about the same ones."""
    return max((step.targets for step in plan.steps), default=0)


def _values(
    installation: Installation,
    trigger: str,
    incidents: Sequence[IncidentRow],
    plan: PlanReport | None,
) -> JsonObject:
    newest = incidents[-1]
    found: dict[str, Json] = {
        "trigger": trigger,
        "incident_id": newest.id,
        "incidents_count": len(incidents),
        "has_more": len(incidents) > 1,
        "what": _title(installation, newest.scenario),
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


def _title(installation: Installation, scenario: str) -> str:
    try:
        return library.find(installation.config, scenario).title
    except StandfastError:
        return scenario  # it was changed since; the page goes out all the same
