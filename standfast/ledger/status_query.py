"""A glance at the ledger: the few lines that `status` shows, without SQLAlchemy and without keys.

Owns the plain SQL for it. Leaves the words to `operations/status`, and everything sealed closed.

Rules
- The columns are named again here; `tests/cli/test_glance.py` compares each answer with the one
  that the ledger's own parts give, so the two cannot drift.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from standfast.continuity.clock_skew import horizon
from standfast.ledger.database.read_view import Cursor, open_read_view, rows
from standfast.ledger.runs.run_record import (
    MAX_CLOCK_DIFFERENCE,
    NOWHERE,
    Origin,
    RunRecord,
    is_gone,
)
from standfast.records import canonical, moment, timestamp

_A_WEEK = timedelta(days=7)
_MOST_BACKUPS = 500
HELD_STEP_PREFIX = "held-"  # begins the step that tells one person who was held
# Handed over, and known not to have arrived.
_LOST = (
    "SELECT effect.incident, effect.step, effect.round, COUNT(*) FROM delivery"
    " JOIN effect ON effect.token = delivery.effect JOIN incident ON incident.id = effect.incident"
    " WHERE incident.state = 'open' AND effect.verb = 'notices.send' AND effect.state = 'done'"
    " AND delivery.state IN ('deferred', 'bounced', 'dropped')"
    " GROUP BY effect.incident, effect.step, effect.round"
)
# Of whom is untold, and of whom is held, those whom a step tells apart: it is named after their
# message.
_APART = (
    "SELECT effect.incident, effect.step, effect.round, COUNT(*),"
    " SUM(CASE WHEN effect.state = 'refused' AND effect.is_parked THEN 1 ELSE 0 END)"
    " FROM step JOIN incident ON incident.id = step.incident"
    # Crossed, and by nothing but the token: SQLite would go through every effect otherwise.
    " CROSS JOIN effect LEFT JOIN delivery ON delivery.effect = effect.token"
    " WHERE incident.state = 'open' AND step.name LIKE 'held-____________%'"
    " AND step.state <> 'refused'"
    " AND effect.token >= SUBSTR(step.name, 6, 12)"
    " AND effect.token < SUBSTR(step.name, 6, 12) || 'g'"
    " AND (effect.state <> 'done' OR delivery.state IN ('deferred', 'bounced', 'dropped'))"
    " GROUP BY effect.incident, effect.step, effect.round"
)
# What an incident changed and has not given back, once an undo was begun, as
# `effect_rules.count_held_targets` counts it.
_KEPT = (
    "SELECT effect.incident, COUNT(DISTINCT effect.handle) FROM effect"
    " JOIN incident ON incident.id = effect.incident WHERE incident.state = 'open'"
    " AND effect.verb IN ('accounts.lock', 'run.command', 'http.request', 'service.degrade')"
    " AND effect.state IN ('done', 'submitting', 'unknown')"
    " AND effect.incident IN (SELECT incident FROM step WHERE name LIKE 'undo-%')"
    " AND effect.token NOT IN (SELECT undo.undoes FROM effect AS undo"
    " WHERE undo.incident IN (SELECT incident FROM step WHERE name LIKE 'undo-%')"
    " AND undo.undoes IS NOT NULL AND undo.state = 'done')"
    " GROUP BY effect.incident"
)
# The state of an effect; an undo that another one made up for is done (`is_superseded_undo`).
_REACHED = (
    "CASE WHEN effect.undoes IS NOT NULL AND effect.state IN ('failed', 'refused')"
    " AND effect.undoes IN (SELECT undo.undoes FROM effect AS undo"
    " WHERE undo.undoes IS NOT NULL AND undo.state = 'done') THEN 'done' ELSE effect.state END"
)
_NEVER = "9999-12-31T00:00:00.000000Z"  # `effect_rules.NEVER`, as it is stored


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """When a run of this kind, on this set, last came to this state."""

    kind: str  # backup | drill | verify
    subject: str
    state: str  # running | done | partial | failed
    started_at: datetime
    ended_at: datetime | None
    count: int = 1  # how many there were of this kind, subject and state
    is_of_other_host: bool = False  # of another host's set of the same name
    is_of_other_vault: bool = False


@dataclass(frozen=True, kw_only=True)
class AlarmOverview:
    """One word to people about an alarm: that it was raised, or reached nobody, or is over."""

    subject: str
    state: str  # raised | failed | over
    started_at: datetime
    origin: Origin  # of who told


@dataclass(frozen=True, kw_only=True)
class StepOverview:
    """One round of one step, as far as it stands in clear."""

    name: str
    round: int
    state: str
    due_at: datetime | None
    is_asked: bool
    rung: int
    escalates_at: datetime | None
    opens_at: datetime | None  # ASKING: somebody broke its glass, says the database
    is_accepted: bool
    is_unreviewed: bool  # it ran on one person's word, says the database, and nobody else's
    needs_approvals: int
    digest: str  # of what is planned, which an approval signs
    has_answer: bool
    counts: Mapping[str, int]  # effects by state; pages do not count
    settling: int  # of the unknown ones, those that will be looked up again
    after_canary: int  # of the planned ones, those that follow the first few of a notice
    is_paused: bool
    untold: int  # people whom a notice of this step has not reached, each counted once
    held: int  # of them, those about whom a person has to decide
    joined: int  # how many joined triggers its targets cover


@dataclass(frozen=True, kw_only=True)
class FactOverview:
    """One fact that was stated, without what was written beside it."""

    kind: str
    name: str
    at: datetime | None
    count: int | None
    is_so: bool | None
    author: str
    recorded_at: datetime


@dataclass(frozen=True, kw_only=True)
class IncidentOverview:
    """One open incident; its steps in the order in which they began."""

    id: str
    scenario: str
    mode: str
    is_halted: bool
    opened_at: datetime
    opened_by: str
    playbook: str
    steps: tuple[StepOverview, ...]
    facts: tuple[FactOverview, ...] = ()  # in the order in which they were stated
    kept: int = 0  # once an undo was begun: targets that still are as the incident left them
    joined: int = 0  # how many triggers brought it more targets since it was opened
    is_carried: bool = True  # a runner works on it, or a `serve` looks for what is to be done

    @property
    def untold(self) -> int:
        """How many people a notice has been planned for and not reached."""
        return sum(step.untold for step in self.steps)

    @property
    def held(self) -> int:
        """About how many of them a person has to decide."""
        return sum(step.held for step in self.steps)


@dataclass(frozen=True, kw_only=True)
class ClosedIncidentOverview:
    """A live incident that is closed and of which facts are stated: its clocks may go on."""

    id: str
    scenario: str
    opened_at: datetime
    facts: tuple[FactOverview, ...]


@dataclass(frozen=True, kw_only=True)
class LedgerOverview:
    """What the ledger shows at one moment."""

    last_runs: tuple[LastRun, ...]
    incidents: tuple[IncidentOverview, ...]  # the open ones, oldest first
    closed: tuple[ClosedIncidentOverview, ...]  # oldest first
    events: int  # sequence of the newest event
    signed_events: int  # sequence that the newest signed head covers
    signed_at: datetime | None
    serve_hosts: frozenset[str]  # where `standfast serve` runs, as far as its lease holds
    backups: tuple[RunRecord, ...] = ()  # those of the last week, newest first
    alarms: tuple[AlarmOverview, ...] = ()  # newest first


def glance(url: str, password: str | None, now: datetime, own: Origin = NOWHERE) -> LedgerOverview:
    """Look at a ledger by its absolute address; `own` is which host's and vault's runs are ours.

    Raises ConfigurationError when there is none of this schema, Unavailable when it does not
    answer, Damaged when it cannot be read.
    """
    finds = "strpos" if url.startswith("postgresql") else "instr"
    other_host = _is_other(finds, "host", own.host)
    other_vault = _is_other(finds, "vault", own.vault)
    with open_read_view(url, password) as cursor:
        last_runs = tuple(
            LastRun(
                kind=kind,
                subject=subject,
                state=state,
                started_at=moment(started),
                ended_at=moment(ended) if ended else None,
                count=count,
                is_of_other_host=bool(is_other_host),
                is_of_other_vault=bool(is_other_vault),
            )
            for kind, subject, state, is_other_host, is_other_vault, started, ended, count in rows(
                cursor,
                # What a clock that stood ahead began would hide what came since.
                f"SELECT kind, subject, state, {other_host} AS by_other, {other_vault} AS in_other,"  # noqa: S608 - a time, and names that are quoted
                " MAX(started_at), MAX(ended_at), COUNT(*) FROM run"
                f" WHERE started_at <= '{timestamp(horizon(now))}'"
                " GROUP BY kind, subject, state, by_other, in_other ORDER BY kind, subject, state",
            )
        )
        alarms = tuple(_alarms(cursor, now))
        backups = tuple(_backups(cursor, now))
        facts = _facts(cursor)
        if url.startswith("postgresql"):  # leases are by its clock, where several hosts have them
            (found,) = rows(cursor, "SELECT clock_timestamp()")
            now = found[0].astimezone(UTC) if abs(found[0] - now) <= MAX_CLOCK_DIFFERENCE else now
        alive = [
            (incident, host)
            for incident, alive_until, host, pid in rows(
                cursor, "SELECT incident, alive_until, host, pid FROM runner WHERE ended_at IS NULL"
            )
            if alive_until >= timestamp(now) and not is_gone(host, pid)
        ]
        incidents = _incidents(cursor, facts, [incident for incident, _ in alive])
        closed = tuple(
            ClosedIncidentOverview(
                id=row[0], scenario=row[1], opened_at=moment(row[2]), facts=tuple(facts[row[0]])
            )
            for row in rows(
                cursor,
                "SELECT id, scenario, opened_at FROM incident WHERE state = 'closed'"
                " AND mode = 'live' ORDER BY opened_at",
            )
            if row[0] in facts
        )
        (events,) = rows(cursor, "SELECT COALESCE(MAX(sequence), 0) FROM audit_event")
        heads = rows(
            cursor, "SELECT sequence, signed_at FROM audit_head ORDER BY sequence DESC LIMIT 1"
        )
    return LedgerOverview(
        last_runs=last_runs,
        incidents=incidents,
        closed=closed,
        events=events[0],
        signed_events=heads[0][0] if heads else 0,
        signed_at=moment(heads[0][1]) if heads else None,
        serve_hosts=frozenset(host for incident, host in alive if incident is None),
        backups=backups,
        alarms=alarms,
    )


def _is_other(finds: str, name: str, own: str) -> str:
    """Say in SQL whether a run that is told of by set or vault says that it is another's.

    By its text: a row that somebody changed must not keep all the others from being shown.
    """
    if not own:
        return "0"
    key = f'"{name}":"'
    value = f'"{name}":{canonical(own).decode()}'.replace("'", "''")
    return (
        "CASE WHEN kind IN ('backup', 'drill', 'verify', 'keep')"
        f" AND {finds}(summary, '{key}') > 0 AND {finds}(summary, '{value}') = 0 THEN 1 ELSE 0 END"
    )


def _alarms(cursor: Cursor, now: datetime) -> Iterator[AlarmOverview]:
    for subject, state, started, summary in rows(
        cursor,
        "SELECT subject, state, started_at, summary FROM run WHERE kind = 'alarm'"  # noqa: S608 - a time
        f" AND state IN ('raised', 'failed', 'over') AND started_at <= '{timestamp(horizon(now))}'"
        " ORDER BY started_at DESC",
    ):
        with suppress(ValueError):  # as above
            yield AlarmOverview(
                subject=subject,
                state=state,
                started_at=moment(started),
                origin=Origin.of(dict(json.loads(summary))),
            )


def _backups(cursor: Cursor, now: datetime) -> Iterator[RunRecord]:
    for id_, subject, way, state, started, ended, summary in rows(
        cursor,
        "SELECT id, subject, way, state, started_at, ended_at, summary FROM run"  # noqa: S608 - times
        f" WHERE kind = 'backup' AND started_at BETWEEN '{timestamp(now - _A_WEEK)}'"
        f" AND '{timestamp(horizon(now))}' ORDER BY started_at DESC LIMIT {_MOST_BACKUPS}",
    ):
        with suppress(ValueError):  # what somebody changed; `audit verify` names it
            yield RunRecord(
                id=id_,
                kind="backup",
                subject=subject,
                way=way,
                state=state,
                started_at=moment(started),
                ended_at=moment(ended) if ended else None,
                summary=dict(json.loads(summary)),
            )


def _incidents(
    cursor: Cursor,
    facts: Mapping[str, Sequence[FactOverview]],
    runners: Collection[str | None],
) -> tuple[IncidentOverview, ...]:
    counts: dict[tuple[str, str, int], dict[str, int]] = {}
    settling: dict[tuple[str, str, int], int] = {}
    untold: dict[tuple[str, str, int], int] = {}
    held: dict[tuple[str, str, int], int] = {}
    waiting: dict[tuple[str, str, int], int] = {}
    for incident, step, round_, verb, state, is_parked, number, after_canary in rows(
        cursor,
        f"SELECT effect.incident, effect.step, effect.round, effect.verb, {_REACHED} AS reached,"  # noqa: S608 - ours
        " effect.is_parked, COUNT(*),"
        " SUM(CASE WHEN effect.state = 'planned'"
        " AND effect.not_before = '9999-12-31T00:00:00.000000Z' THEN 1 ELSE 0 END)"
        " FROM effect JOIN incident ON incident.id = effect.incident"
        " WHERE incident.state = 'open' AND effect.verb <> 'people.page'"
        " GROUP BY effect.incident, effect.step, effect.round, effect.verb, reached,"
        " effect.is_parked",
    ):
        key = (incident, step, round_)
        of_step = counts.setdefault(key, {})
        of_step[state] = of_step.get(state, 0) + number
        waiting[key] = waiting.get(key, 0) + int(after_canary)
        if state == "unknown" and not is_parked:
            settling[key] = settling.get(key, 0) + number
        if verb == "notices.send" and state != "done":
            untold[key] = untold.get(key, 0) + number
            if state == "refused" and is_parked:
                held[key] = held.get(key, 0) + number
    for incident, step, round_, number in rows(cursor, _LOST):
        untold[incident, step, round_] = untold.get((incident, step, round_), 0) + number
    for incident, step, round_, number, parked in rows(cursor, _APART):
        untold[incident, step, round_] -= number
        held[incident, step, round_] = held.get((incident, step, round_), 0) - parked
    steps: dict[str, list[StepOverview]] = {}
    for row in rows(
        cursor,
        "SELECT step.incident, step.name, step.round, step.state, step.due_at, step.is_asked,"
        " step.is_accepted, step.needs_approvals, step.sealed_answer IS NOT NULL, step.rung,"
        " step.escalates_at, step.runs_from, step.digest, step.joined,"
        " (SELECT count(*) FROM approval WHERE approval.incident = step.incident"
        " AND approval.step = step.name AND approval.round = step.round"
        " AND approval.decision = 'break-glass'),"
        " (SELECT count(*) FROM approval WHERE approval.incident = step.incident"
        " AND approval.step = step.name AND approval.round = step.round"
        " AND approval.decision <> 'break-glass')"
        " FROM step JOIN incident ON incident.id = step.incident WHERE incident.state = 'open'"
        " ORDER BY step.started_at, step.name, step.round",
    ):
        key, broken, others = (row[0], row[1], row[2]), row[14], row[15]
        steps.setdefault(row[0], []).append(
            StepOverview(
                name=row[1],
                round=row[2],
                state=row[3],
                due_at=moment(row[4]) if row[4] else None,
                is_asked=bool(row[5]),
                rung=row[9],
                escalates_at=moment(row[10]) if row[10] else None,
                opens_at=moment(row[11]) if broken and row[11] and row[3] == "asking" else None,
                is_unreviewed=bool(broken and not others) and row[3] not in ("asking", "refused"),
                is_accepted=bool(row[6]),
                needs_approvals=row[7],
                digest=row[12],
                has_answer=bool(row[8]),
                counts=counts.get(key, {}),
                settling=settling.get(key, 0),
                after_canary=waiting.get(key, 0),
                is_paused=row[11] == _NEVER and row[3] == "running",
                untold=untold.get(key, 0),
                held=held.get(key, 0),
                joined=row[13],
            )
        )
    kept = {incident: int(number) for incident, number in rows(cursor, _KEPT)}
    return tuple(
        IncidentOverview(
            id=row[0],
            scenario=row[1],
            mode=row[2],
            is_halted=bool(row[3]),
            opened_at=moment(row[4]),
            playbook=row[5],
            opened_by=row[6],
            steps=tuple(_each_once(steps.get(row[0], ()))),
            facts=tuple(facts.get(row[0], ())),
            kept=kept.get(row[0], 0),
            joined=row[7],
            is_carried=None in runners or row[0] in runners,
        )
        for row in rows(
            cursor,
            "SELECT id, scenario, mode, is_halted, opened_at, playbook, opened_by, joined"
            " FROM incident WHERE state = 'open' ORDER BY opened_at",
        )
    )


def _facts(cursor: Cursor) -> dict[str, list[FactOverview]]:
    found: dict[str, list[FactOverview]] = {}
    for incident, kind, name, at, count, is_so, author, recorded_at in rows(
        cursor,
        "SELECT fact.incident, fact.kind, fact.name, fact.at, fact.people, fact.is_so,"
        " fact.author, fact.recorded_at FROM incident_fact AS fact"
        " JOIN incident ON incident.id = fact.incident"
        " WHERE incident.state = 'open' OR incident.mode = 'live'"
        " ORDER BY fact.incident, fact.number",
    ):
        found.setdefault(incident, []).append(
            FactOverview(
                kind=kind,
                name=name,
                at=moment(at) if at else None,
                count=count,
                is_so=None if is_so is None else bool(is_so),
                author=author,
                recorded_at=moment(recorded_at),
            )
        )
    return found


def _each_once(steps: Sequence[StepOverview]) -> Iterator[StepOverview]:
    """Let nobody count twice, as `operations/accounting` counts them.

    Who was asked about anew counts in the newer round, and whom an approver refused to tell by a
    step of their own, where they did before.
    """
    latest: dict[str, int] = {}
    for one in steps:
        latest[one.name] = max(latest.get(one.name, 0), one.round)
    for one in steps:
        is_apart = one.name.startswith(HELD_STEP_PREFIX)
        if one.state == "refused" and (is_apart or one.round < latest[one.name]):
            yield replace(one, untold=0, held=0)
        else:
            yield one
