"""Mails about incidents that triggers opened, one to each person to page.

A trigger is a configured way to open incidents from outside, such as a webhook. A page is here one
mail to each enrolled person (with a passphrase or passkey) that has a role of the trigger. A page
is also sent when a trigger adds alerts to a stopped incident, where nothing runs. In contrast,
`on_call/call_outs` pages one person after another until somebody acknowledges.

Rules
- The ledger (the database of incidents and runs) records each page as a run (a record with a state
  and a result) of kind `page`, before the first message is sent. Every `standfast serve` searches
  for unsent pages, so no page is lost when a process dies. If several hosts find the same page,
  each records a run; the host with the first record sends the page.
- If a trigger opens many incidents, one page is about all of them. A trigger has at most one page a
  minute.
- If the incident is a plan (which changes nothing), the page contains the number of its targets.
  The number is computed in a thread, which reads the account directories (systems that store
  accounts). If the thread needs longer than `PLAN_SECONDS`, the page is sent without the number.
- Alerts that wait in a stopped incident are paged before new incidents, in a separate page.
  Otherwise a flood of new incidents could delay them without end.
- A page that reached nobody is sent again after five minutes, even if somebody may then receive it
  twice.
- A page names no account, because people other than the recipient may read the mail.
"""

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from standfast.adapters.factory import Adapters
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
from standfast.usecases.triggers.message_intake import ACTOR, Trigger, inputs_as_message

KIND = "page"
NOTIFIED, FAILED, LEFT = "raised", "failed", "done"  # LEFT: another host has sent the page
_OPENED, _WAITS = "incident-opened", "incident-waits"
_APART = timedelta(minutes=1)  # between the pages of a trigger
_AGAIN_AFTER = timedelta(minutes=5)
_LONGEST_SENDING = timedelta(minutes=2)  # a process that sends for longer is treated as dead
PLAN_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Page:
    """The page of one trigger, about opened incidents and waiting alerts."""

    trigger: str
    incidents: tuple[IncidentRow, ...] = ()  # oldest first
    waiting: tuple[IgnoredTrigger, ...] = ()  # oldest incident first

    @property
    def subjects(self) -> tuple[str, ...]:
        """The names of the incidents, then of the waiting alerts.

        A waiting alert has the name `INCIDENT since STOP`. STOP is the number of the audit event
        that stopped the incident.
        """
        return (*(row.id for row in self.incidents), *map(_name, self.waiting))


@dataclass(frozen=True, kw_only=True)
class _PageContent:
    """The content of a page, and the summary that its run stores."""

    template: str
    incident: str  # the newest of its incidents
    values: JsonObject
    summary: JsonObject


def all_pages(installation: Installation) -> list[Page]:
    """Return the page of each trigger, with sent and unsent subjects."""
    opened: dict[str, list[IncidentRow]] = {}
    for row in installation.ledger.incidents.all(only_open=True):
        if row.opened_by.startswith(ACTOR):
            opened.setdefault(row.opened_by.removeprefix(ACTOR), []).append(row)
    waiting: dict[str, list[IgnoredTrigger]] = {}
    for alert in installation.ledger.triggers.waiting():
        if alert.source.startswith(ACTOR):
            waiting.setdefault(alert.source.removeprefix(ACTOR), []).append(alert)
    return [
        Page(
            trigger=name,
            incidents=tuple(opened.get(name, ())),
            waiting=tuple(waiting.get(name, ())),
        )
        for name in {**waiting, **opened}
    ]


def due(installation: Installation) -> list[Page]:
    """Return the pages to send now, by trigger."""
    now, found = installation.clock(), []
    for every in all_pages(installation):
        runs = installation.ledger.runs.all(KIND, every.trigger)  # newest first
        page = _without_sent(every, runs)
        pause = _AGAIN_AFTER if _has_failed(runs) else _APART
        # `abs`: a page that a fast clock dated in the future must not delay a new page.
        if page and (not runs or abs(now - runs[0].started_at) >= pause):
            found.append(page)
    return found


def send(installation: Installation, page: Page, triggers: Mapping[str, Trigger], way: str) -> str:
    """Send a page, unless another process does; return the result in words."""
    trigger = triggers.get(page.trigger)
    try:
        with recorded(installation, KIND, page.trigger, way) as run:
            # Read the pages after `is_first`: another host may have recorded this page before.
            is_ours = is_first(installation, run, KIND, page.trigger, _LONGEST_SENDING)
            unsent = _without_sent(page, installation.ledger.runs.all(KIND, page.trigger))
            if unsent is None or not is_ours:
                run.ends(LEFT, {})
                return "another host sends the page, or has sent it"
            content = (
                _waiting_content(installation, unsent)
                if unsent.waiting
                else _opened_content(installation, unsent)
            )
            row = installation.ledger.incidents.get(content.incident)
            roles = trigger.page_roles if trigger else ()
            people = [
                person
                for person in installation.ledger.people.all(roles)
                if is_visible(row, person)
            ]
            counts, problem = notify_each(
                installation, content.template, content.values, people, run.token
            )
            summary: dict[str, Json] = {
                **content.summary,
                "people": len(people),
                **{outcome.value: count for outcome, count in sorted(counts.items())},
                **({"problem": problem} if problem else {}),
            }
            run.ends(NOTIFIED if counts[EffectState.DONE] else FAILED, summary)
    except UnderWay:
        return "another process is sending the page"
    reached = counted(counts[EffectState.DONE], "person was", "people were")
    subject = f"alerts that wait in {content.incident}" if unsent.waiting else content.incident
    return f"{reached} notified of {subject}" + (f"; {problem}" if problem else "")


def notification_obstacle(ledger: Ledger, adapters: Adapters, trigger: Trigger) -> str:
    """Return the reason if the pages of a trigger reach nobody, else "".

    The causes are: nobody is enrolled for the pages, no sender is configured, or the last page
    failed. `adapters` is used to find a sender (the adapter of a message channel, such as SMTP); no
    connection is opened.
    """
    if not ledger.people.all(trigger.page_roles):
        group = f" with the role {' or '.join(trigger.page_roles)}" if trigger.page_roles else ""
        return f"nobody{group} is enrolled to be paged"
    try:
        adapters.default_sender()
    except ConfigurationError as error:
        return f"no page can be sent: {error}"
    has_failed = _has_failed(ledger.runs.all(KIND, trigger.name))
    return "its last page reached nobody" if has_failed else ""


def _has_failed(runs: Sequence[RunRecord]) -> bool:
    """Return whether the last page reached nobody; `runs` are newest first."""
    return next((run.state for run in runs if run.state != LEFT), "") == FAILED


def _without_sent(page: Page, runs: Sequence[RunRecord]) -> Page | None:
    """Return the unsent part of a page; waiting alerts come before incidents."""
    sent: set[Json] = set()
    for run in runs:
        if run.state == NOTIFIED:
            sent.update(cast("Sequence[str]", run.summary.get("incidents", ())))
            sent.update(cast("Sequence[str]", run.summary.get("waiting", ())))
    if waiting := tuple(alert for alert in page.waiting if _name(alert) not in sent):
        return Page(trigger=page.trigger, waiting=waiting)
    incidents = tuple(row for row in page.incidents if row.id not in sent)
    return Page(trigger=page.trigger, incidents=incidents) if incidents else None


def _name(alert: IgnoredTrigger) -> str:
    return f"{alert.incident} since {alert.stop}"


def _opened_content(installation: Installation, page: Page) -> _PageContent:
    plan = _plan(installation, page.incidents[-1])
    return _PageContent(
        template=_OPENED,
        incident=page.incidents[-1].id,
        values=_values(installation, page.trigger, page.incidents, plan),
        summary={
            "incidents": [row.id for row in page.incidents],
            **({"plan": plan.digest, "targets": _largest_step_size(plan)} if plan else {}),
        },
    )


def _waiting_content(installation: Installation, page: Page) -> _PageContent:
    newest = page.waiting[-1]
    return _PageContent(
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
        summary={"waiting": [_name(alert) for alert in page.waiting]},
    )


def _plan(installation: Installation, incident: IncidentRow) -> PlanReport | None:
    """Return the plan of an incident if it is ready in time, else None."""
    if incident.mode is not Mode.PLAN:
        return None
    made: list[PlanReport] = []

    def work() -> None:
        with suppress(StandfastError):
            made.append(plan_incident(installation, incident.scenario, inputs_as_message(incident)))

    thread = threading.Thread(target=work, name=f"plan-{incident.id}", daemon=True)
    thread.start()
    thread.join(PLAN_SECONDS)
    return made[0] if made else None


def _largest_step_size(plan: PlanReport) -> int:
    """Return the number of targets of the largest step."""
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
            "targets": _largest_step_size(plan),
            "refused": max((sum(step.refused.values()) for step in plan.steps), default=0),
            "is_impossible": any(step.impossible for step in plan.steps),
        }
    return found


def _title(installation: Installation, scenario: str) -> str:
    try:
        return library.find(installation.config, scenario).title
    except StandfastError:
        return scenario  # the playbook has changed; the page is sent nevertheless
