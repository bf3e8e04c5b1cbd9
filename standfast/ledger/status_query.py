"""SQL for `standfast status`: runs, steps, counts, facts, alarms.

    overview = query_status(url, now, own)   # a LedgerOverview

These are queries of the ledger (the database) without SQLAlchemy, because its import takes 0.2 s:
`status` may take 0.5 s of processor time, of which start-up and configuration take 0.3 s.

Rules
- Read only: nothing is written, no lock is taken and no encryption key is read.
- Columns and conditions of other modules are repeated here. `tests/cli/health/test_status_query.py`
  compares the results with the results of these modules.
- Stored approvals are counted without verification. `audit verify` verifies them, and so does each
  command that acts on an approval.
- A backup or alarm with an unreadable row is left out, so that the other rows are still shown.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from standfast.continuity.clock_skew import latest_plausible
from standfast.ledger.database.read_view import Cursor, open_read_view, rows
from standfast.ledger.runs.run_record import (
    MAX_CLOCK_DIFFERENCE,
    NOWHERE,
    Origin,
    RunRecord,
    is_gone,
)
from standfast.ledger.status_overview import (
    AlarmOverview,
    ClosedIncidentOverview,
    FactOverview,
    IncidentOverview,
    LastRun,
    LedgerOverview,
)
from standfast.playbook.actions import verbs_where
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.actions.people_page import PAGE
from standfast.playbook.run_state import Counts, StepView
from standfast.records import StepState, canonical, moment, timestamp

_BACKUP_WINDOW = timedelta(days=7)
_MAX_BACKUPS = 500
_NEVER = "9999-12-31T00:00:00.000000Z"  # `effect_conditions.NEVER` as it is stored

_INCIDENTS = """
    SELECT id, scenario, mode, is_halted, opened_at, opened_by, playbook, joined
    FROM incident WHERE state = 'open' ORDER BY opened_at
"""
_CLOSED_INCIDENTS = """
    SELECT id, scenario, opened_at, playbook FROM incident WHERE state = 'closed' AND mode = 'live'
    AND id IN (SELECT incident FROM incident_fact) ORDER BY opened_at
"""
_FACTS = """
    SELECT fact.incident, fact.kind, fact.name, fact.at, fact.people, fact.is_so, fact.author,
        fact.recorded_at
    FROM incident_fact AS fact JOIN incident ON incident.id = fact.incident
    WHERE incident.state = 'open' OR incident.mode = 'live' ORDER BY fact.incident, fact.number
"""
_RESTORABLE = ", ".join(
    f"'{verb}'" for verb in sorted(verbs_where(lambda action: action.keeps_prior_state))
)
_STEPS = """
    SELECT step.incident, step.name, step.round, step.state, step.due_at, step.is_asked, step.rung,
        step.escalates_at, step.runs_from, step.joined, step.is_accepted, step.needs_approvals,
        step.digest, step.sealed_answer IS NOT NULL,
        (SELECT COUNT(*) FROM approval WHERE approval.incident = step.incident
            AND approval.step = step.name AND approval.round = step.round
            AND approval.decision = 'break-glass'),
        (SELECT COUNT(*) FROM approval WHERE approval.incident = step.incident
            AND approval.step = step.name AND approval.round = step.round
            AND approval.decision <> 'break-glass')
    FROM step JOIN incident ON incident.id = step.incident
    WHERE incident.state = 'open' ORDER BY step.started_at, step.name, step.round
"""
# As in `effect_counts.count_by_step`, a failed undo that another undo replaced counts as done.
_COUNTS = f"""
    SELECT effect.incident, effect.step, effect.round,
        CASE WHEN effect.undoes IS NOT NULL AND effect.state IN ('failed', 'refused')
            AND effect.undoes IN (SELECT undo.undoes FROM effect AS undo
                WHERE undo.undoes IS NOT NULL AND undo.state = 'done')
            THEN 'done' ELSE effect.state END AS reached,
        effect.is_parked, COUNT(*),
        SUM(CASE WHEN effect.state = 'planned' AND effect.not_before = '{_NEVER}'
            THEN 1 ELSE 0 END)
    FROM effect JOIN incident ON incident.id = effect.incident
    WHERE incident.state = 'open' AND effect.verb <> '{PAGE}'
    GROUP BY effect.incident, effect.step, effect.round, reached, effect.is_parked
"""  # noqa: S608 - a constant
# Recipients that no notice has reached, and those among them that wait for a person's decision (the
# held recipients). A recipient with an individual message counts in the step of that message; the
# name of this step contains the token of the replaced message. A refused individual message does
# not count, and neither does a refused round that was planned again.
_UNREACHED = f"""
    SELECT effect.incident, COUNT(*),
        SUM(CASE WHEN effect.state = 'refused' AND effect.is_parked THEN 1 ELSE 0 END)
    FROM effect JOIN incident ON incident.id = effect.incident
    JOIN step ON step.incident = effect.incident AND step.name = effect.step
        AND step.round = effect.round
    WHERE incident.state = 'open' AND effect.verb = '{SEND}'
    AND (effect.state <> 'done' OR effect.token IN
        (SELECT effect FROM delivery WHERE state IN ('deferred', 'bounced', 'dropped')))
    AND SUBSTR(effect.token, 1, 12) NOT IN (SELECT SUBSTR(individual.name, 6, 12)
        FROM step AS individual WHERE individual.name LIKE 'held-%'
        AND individual.state <> 'refused')
    AND NOT (step.state = 'refused' AND (step.name LIKE 'held-%' OR EXISTS
        (SELECT 1 FROM step AS newer WHERE newer.incident = step.incident
            AND newer.name = step.name AND newer.round > step.round)))
    GROUP BY effect.incident
"""  # noqa: S608 - a constant
# Like `effect_conditions.count_unrestored_targets`, but only for incidents with an undo step.
_KEPT = f"""
    SELECT effect.incident, COUNT(DISTINCT effect.handle)
    FROM effect JOIN incident ON incident.id = effect.incident
    WHERE incident.state = 'open'
    AND effect.verb IN ({_RESTORABLE})
    AND effect.state IN ('done', 'submitting', 'unknown')
    AND effect.incident IN (SELECT incident FROM step WHERE name LIKE 'undo-%')
    AND effect.token NOT IN (SELECT undo.undoes FROM effect AS undo
        WHERE undo.incident IN (SELECT incident FROM step WHERE name LIKE 'undo-%')
        AND undo.undoes IS NOT NULL AND undo.state = 'done')
    GROUP BY effect.incident
"""  # noqa: S608 - constants


def query_status(url: str, now: datetime, own: Origin = NOWHERE) -> LedgerOverview:
    """Return what `status` shows; `own` is the origin of this host's runs.

    Raises ConfigurationError if there is no ledger with the present schema, Unavailable if the
    database does not answer, and Damaged if it cannot be read.
    """
    is_postgresql = url.startswith("postgresql")
    with open_read_view(url) as cursor:
        alive = _live_runners(cursor, _server_time(cursor, now) if is_postgresql else now)
        facts = _facts(cursor)
        heads = rows(
            cursor, "SELECT sequence, signed_at FROM audit_head ORDER BY sequence DESC LIMIT 1"
        )
        ((events,),) = rows(cursor, "SELECT COALESCE(MAX(sequence), 0) FROM audit_event")
        return LedgerOverview(
            last_runs=tuple(_last_runs(cursor, now, own, is_postgresql=is_postgresql)),
            incidents=tuple(_open_incidents(cursor, facts, {incident for incident, _ in alive})),
            closed=tuple(
                ClosedIncidentOverview(
                    id=id_,
                    scenario=scenario,
                    opened_at=moment(opened_at),
                    playbook=playbook,
                    facts=facts[id_],
                )
                for id_, scenario, opened_at, playbook in rows(cursor, _CLOSED_INCIDENTS)
            ),
            events=events,
            signed_events=heads[0][0] if heads else 0,
            signed_at=moment(heads[0][1]) if heads else None,
            serve_hosts=frozenset(host for incident, host in alive if incident is None),
            backups=tuple(_backups(cursor, now)),
            alarms=tuple(_alarms(cursor, now)),
        )


def count_rows(url: str) -> dict[str, int]:
    """Return the number of rows of each table."""
    # This import is slow, and `status` does not need it.
    from standfast.ledger.schema.tables import metadata

    with open_read_view(url) as cursor:
        return {
            name: rows(cursor, f"SELECT COUNT(*) FROM {name}")[0][0]  # noqa: S608 - our table
            for name in sorted(metadata.tables)
        }


def _server_time(cursor: Cursor, now: datetime) -> datetime:
    """Return the server's time, or `now` if their difference is too large."""
    ((server,),) = rows(cursor, "SELECT clock_timestamp()")
    return server.astimezone(UTC) if abs(server - now) <= MAX_CLOCK_DIFFERENCE else now


def _live_runners(cursor: Cursor, now: datetime) -> list[tuple[str | None, str]]:
    return [
        (incident, host)
        for incident, alive_until, host, pid in rows(
            cursor,
            "SELECT incident, alive_until, host, pid FROM runner"
            " WHERE ended_at IS NULL AND (incident IS NOT NULL OR way = 'serve')",
        )
        if alive_until >= timestamp(now) and not is_gone(host, pid)
    ]


def _last_runs(
    cursor: Cursor, now: datetime, own: Origin, *, is_postgresql: bool
) -> Iterator[LastRun]:
    position = "strpos" if is_postgresql else "instr"
    other_host = _names_other(position, "host", own.host)
    other_vault = _names_other(position, "vault", own.vault)
    # Leave out runs with a date in the future: they would hide newer runs.
    statement = f"""
        SELECT kind, subject, state, {other_host} AS by_other, {other_vault} AS in_other,
            MAX(started_at), MAX(ended_at), COUNT(*)
        FROM run WHERE started_at <= '{timestamp(latest_plausible(now))}'
        GROUP BY kind, subject, state, by_other, in_other ORDER BY kind, subject, state
    """  # noqa: S608 - a time, and names that are quoted
    for kind, subject, state, by_other, in_other, started, ended, count in rows(cursor, statement):
        yield LastRun(
            kind=kind,
            subject=subject,
            state=state,
            started_at=moment(started),
            ended_at=_optional(ended),
            count=count,
            is_of_other_host=bool(by_other),
            is_of_other_vault=bool(in_other),
        )


def _names_other(position: str, name: str, own: str) -> str:
    """Return the SQL condition of a run of another host or vault.

    The condition searches the text of the JSON, because parsing one invalid row would fail the
    query.
    """
    if not own:
        return "0"
    key = f'"{name}":"'
    value = f'"{name}":{canonical(own).decode()}'.replace("'", "''")
    return (
        "CASE WHEN kind IN ('backup', 'drill', 'verify', 'keep')"
        f" AND {position}(summary, '{key}') > 0 AND {position}(summary, '{value}') = 0"
        " THEN 1 ELSE 0 END"
    )


def _alarms(cursor: Cursor, now: datetime) -> Iterator[AlarmOverview]:
    is_alarm = "kind = 'alarm' AND state IN ('raised', 'failed', 'over')"
    newest = f"started_at <= '{timestamp(latest_plausible(now))}' ORDER BY started_at DESC"
    for run in _readable_runs(cursor, f"{is_alarm} AND {newest}"):
        yield AlarmOverview(
            subject=run.subject,
            state=run.state,
            started_at=run.started_at,
            origin=Origin.of(run.summary),
        )


def _backups(cursor: Cursor, now: datetime) -> Iterator[RunRecord]:
    first, last = timestamp(now - _BACKUP_WINDOW), timestamp(latest_plausible(now))
    yield from _readable_runs(
        cursor,
        f"kind = 'backup' AND started_at BETWEEN '{first}' AND '{last}'"
        f" ORDER BY started_at DESC LIMIT {_MAX_BACKUPS}",
    )


def _readable_runs(cursor: Cursor, which: str) -> Iterator[RunRecord]:
    for id_, kind, subject, way, state, started, ended, summary in rows(
        cursor,
        "SELECT id, kind, subject, way, state, started_at, ended_at, summary"  # noqa: S608 - ours
        f" FROM run WHERE {which}",
    ):
        with suppress(ValueError):  # skip a manipulated row, which `audit verify` reports
            yield RunRecord(
                id=id_,
                kind=kind,
                subject=subject,
                way=way,
                state=state,
                started_at=moment(started),
                ended_at=_optional(ended),
                summary=dict(json.loads(summary)),
            )


def _facts(cursor: Cursor) -> dict[str, tuple[FactOverview, ...]]:
    found: dict[str, tuple[FactOverview, ...]] = {}
    for incident, kind, name, at, count, is_so, author, recorded_at in rows(cursor, _FACTS):
        fact = FactOverview(
            kind=kind,
            name=name,
            at=_optional(at),
            count=count,
            is_so=None if is_so is None else bool(is_so),
            author=author,
            recorded_at=moment(recorded_at),
        )
        found[incident] = (*found.get(incident, ()), fact)
    return found


def _open_incidents(
    cursor: Cursor, facts: Mapping[str, tuple[FactOverview, ...]], runners: Collection[str | None]
) -> Iterator[IncidentOverview]:
    steps: dict[str, list[StepView]] = {}
    counts = _step_counts(cursor)
    for row in rows(cursor, _STEPS):
        steps.setdefault(row[0], []).append(_step(row, counts.get(row[:3], {})))
    unreached = {
        incident: (not_notified, held) for incident, not_notified, held in rows(cursor, _UNREACHED)
    }
    unrestored_counts = dict(rows(cursor, _KEPT))
    for id_, scenario, mode, is_halted, opened_at, opened_by, playbook, joined in rows(
        cursor, _INCIDENTS
    ):
        not_notified, held = unreached.get(id_, (0, 0))
        yield IncidentOverview(
            id=id_,
            scenario=scenario,
            mode=mode,
            is_stopped=bool(is_halted),
            opened_at=moment(opened_at),
            opened_by=opened_by,
            playbook=playbook,
            steps=tuple(steps.get(id_, ())),
            facts=facts.get(id_, ()),
            not_notified=not_notified,
            held=held,
            unrestored_count=unrestored_counts.get(id_, 0),
            joined=joined,
            has_runner=None in runners or id_ in runners,
        )


def _step_counts(cursor: Cursor) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Return the StepView fields from effects, by incident, step and round."""
    found: dict[tuple[str, str, int], dict[str, Any]] = {}
    for incident, step, round_, state, is_parked, number, after_canary in rows(cursor, _COUNTS):
        fields = found.setdefault(
            (incident, step, round_), {"counts": {}, "settling": 0, "after_canary": 0}
        )
        fields["counts"][state] = fields["counts"].get(state, 0) + number
        fields["after_canary"] += after_canary
        if state == "unknown" and not is_parked:
            fields["settling"] += number
    return {key: {**fields, "counts": Counts(**fields["counts"])} for key, fields in found.items()}


def _step(row: tuple[Any, ...], counts: Mapping[str, Any]) -> StepView:
    (_, name, round_, state, due_at, is_asked, level, escalates_at, runs_from, joined) = row[:10]
    (is_accepted, needs_approvals, digest, has_answer, broken, others) = row[10:]
    is_asking = state == StepState.ASKING
    return StepView(
        step=name,
        round=round_,
        state=StepState(state),
        is_paused=runs_from == _NEVER and state == StepState.RUNNING,
        answer="" if has_answer else None,  # only the presence of an encrypted answer is known
        due_at=_optional(due_at),
        is_asked=bool(is_asked),
        level=level,
        joined=joined,
        escalates_at=_optional(escalates_at),
        opens_at=_optional(runs_from) if is_asking and broken else None,
        digest=digest if is_asking else "",
        approvals_needed=needs_approvals,
        is_refused=state == StepState.REFUSED,
        is_accepted=bool(is_accepted),
        is_unreviewed=bool(broken and not others)
        and state not in (StepState.ASKING, StepState.REFUSED),
        **counts,
    )


def _optional(text: str | None) -> datetime | None:
    return moment(text) if text else None
