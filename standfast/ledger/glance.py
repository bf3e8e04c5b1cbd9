"""A glance at the ledger: the few lines that `status` shows, without SQLAlchemy and without keys.

Owns the plain SQL for it. Leaves the words to `operations/status`, and everything sealed closed.

Rules
- Read only, one consistent view, nothing written and no lock taken; it imports only a driver.
- The columns are named again here; `tests/cli/test_glance.py` compares each answer with the one
  that the ledger's own parts give, so the two cannot drift.
"""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import quote

from standfast.errors import ConfigurationError, Damaged, ExtraMissing, Unavailable
from standfast.records import moment, timestamp

_BUSY_SECONDS = 5
_NO_LEDGER = "`standfast init` makes one"


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """When a run of this kind, on this set, last came to this state."""

    kind: str  # backup | drill | verify
    subject: str
    state: str  # running | done | partial | failed
    started_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class StepGlance:
    """One round of one step, as far as it stands in clear."""

    name: str
    round: int
    state: str
    due_at: datetime | None
    is_asked: bool
    is_accepted: bool
    needs_approvals: int
    has_answer: bool
    counts: Mapping[str, int]  # effects by state; pages do not count
    settling: int  # of the unknown ones, those that will be looked up again
    untold: int  # people whom a notice of this step has not reached


@dataclass(frozen=True, kw_only=True)
class IncidentGlance:
    """One open incident; its steps in the order in which they began."""

    id: str
    scenario: str
    mode: str
    is_halted: bool
    opened_at: datetime
    playbook: str
    steps: tuple[StepGlance, ...]

    @property
    def untold(self) -> int:
        """How many people a notice has been planned for and not reached."""
        return sum(step.untold for step in self.steps)


@dataclass(frozen=True, kw_only=True)
class Glance:
    """What the ledger shows at one moment."""

    last_runs: tuple[LastRun, ...]
    incidents: tuple[IncidentGlance, ...]  # the open ones, oldest first
    events: int  # sequence of the newest event
    signed_events: int  # sequence that the newest signed head covers
    signed_at: datetime | None
    serves: int  # `standfast serve` processes whose lease holds


def glance(url: str, password: str | None, now: datetime) -> Glance:
    """Look at a ledger by its absolute address.

    Raises ConfigurationError when there is none of this schema, Unavailable when it does not
    answer, Damaged when it cannot be read.
    """
    with _cursor(url, password) as cursor:
        last_runs = tuple(
            LastRun(
                kind=kind,
                subject=subject,
                state=state,
                started_at=moment(started),
                ended_at=moment(ended) if ended else None,
            )
            for kind, subject, state, started, ended in _rows(
                cursor,
                "SELECT kind, subject, state, MAX(started_at), MAX(ended_at) FROM run"
                " GROUP BY kind, subject, state ORDER BY kind, subject, state",
            )
        )
        incidents = _incidents(cursor)
        (events,) = _rows(cursor, "SELECT COALESCE(MAX(sequence), 0) FROM audit_event")
        heads = _rows(
            cursor, "SELECT sequence, signed_at FROM audit_head ORDER BY sequence DESC LIMIT 1"
        )
        leases = _rows(
            cursor,
            "SELECT alive_until FROM runner WHERE incident IS NULL AND ended_at IS NULL",
        )
    return Glance(
        last_runs=last_runs,
        incidents=incidents,
        events=events[0],
        signed_events=heads[0][0] if heads else 0,
        signed_at=moment(heads[0][1]) if heads else None,
        serves=sum(alive_until >= timestamp(now) for (alive_until,) in leases),
    )


def _incidents(cursor: "_Cursor") -> tuple[IncidentGlance, ...]:
    counts: dict[tuple[str, str, int], dict[str, int]] = {}
    settling: dict[tuple[str, str, int], int] = {}
    untold: dict[tuple[str, str, int], int] = {}
    for incident, step, round_, verb, state, is_parked, number in _rows(
        cursor,
        "SELECT effect.incident, effect.step, effect.round, effect.verb, effect.state,"
        " effect.is_parked, COUNT(*) FROM effect JOIN incident ON incident.id = effect.incident"
        " WHERE incident.state = 'open' AND effect.verb <> 'people.page'"
        " GROUP BY effect.incident, effect.step, effect.round, effect.verb, effect.state,"
        " effect.is_parked",
    ):
        key = (incident, step, round_)
        of_step = counts.setdefault(key, {})
        of_step[state] = of_step.get(state, 0) + number
        if state == "unknown" and not is_parked:
            settling[key] = settling.get(key, 0) + number
        if verb == "notices.send" and state != "done":
            untold[key] = untold.get(key, 0) + number
    steps: dict[str, list[StepGlance]] = {}
    for row in _rows(
        cursor,
        "SELECT step.incident, step.name, step.round, step.state, step.due_at, step.is_asked,"
        " step.is_accepted, step.needs_approvals, step.sealed_answer IS NOT NULL"
        " FROM step JOIN incident ON incident.id = step.incident WHERE incident.state = 'open'"
        " ORDER BY step.started_at, step.name, step.round",
    ):
        key = (row[0], row[1], row[2])
        steps.setdefault(row[0], []).append(
            StepGlance(
                name=row[1],
                round=row[2],
                state=row[3],
                due_at=moment(row[4]) if row[4] else None,
                is_asked=bool(row[5]),
                is_accepted=bool(row[6]),
                needs_approvals=row[7],
                has_answer=bool(row[8]),
                counts=counts.get(key, {}),
                settling=settling.get(key, 0),
                untold=untold.get(key, 0),
            )
        )
    return tuple(
        IncidentGlance(
            id=row[0],
            scenario=row[1],
            mode=row[2],
            is_halted=bool(row[3]),
            opened_at=moment(row[4]),
            playbook=row[5],
            steps=tuple(steps.get(row[0], ())),
        )
        for row in _rows(
            cursor,
            "SELECT id, scenario, mode, is_halted, opened_at, playbook FROM incident"
            " WHERE state = 'open' ORDER BY opened_at",
        )
    )


class _Cursor(Protocol):
    """What both drivers' cursors have in common (PEP 249)."""

    def execute(self, statement: str, /) -> object: ...

    def fetchall(self) -> Sequence[tuple[Any, ...]]: ...


def _rows(cursor: _Cursor, statement: str) -> Sequence[tuple[Any, ...]]:
    cursor.execute(statement)
    return cursor.fetchall()


@contextmanager
def _cursor(url: str, password: str | None) -> Iterator[_Cursor]:
    if url.startswith("sqlite:///"):
        with _sqlite(Path(url.removeprefix("sqlite:///"))) as cursor:
            yield cursor
    else:
        with _postgresql(url, password) as cursor:
            yield cursor


@contextmanager
def _sqlite(path: Path) -> Iterator[_Cursor]:
    if not path.is_file():
        raise ConfigurationError(f"there is no ledger at {path}; {_NO_LEDGER}")
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
        )
        try:
            connection.execute("BEGIN")
            yield connection.cursor()
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if "no such" in str(error):
            raise ConfigurationError(f"{path} is no ledger of this version; {_NO_LEDGER}") from None
        raise Unavailable(
            f"the ledger {path} cannot be read now: {error}; see that it is yours to read"
        ) from None
    except sqlite3.DatabaseError:
        raise Damaged(
            f"{path} is not readable as a ledger; take a copy of it, then run `standfast check`"
        ) from None


@contextmanager
def _postgresql(url: str, password: str | None) -> Iterator[_Cursor]:
    try:
        import psycopg
    except ImportError:
        raise ExtraMissing(
            "a ledger on PostgreSQL needs the extra: pip install 'standfast[postgresql]'"
        ) from None
    scheme, _, rest = url.partition("://")
    conninfo = f"{scheme.partition('+')[0]}://{rest}"
    try:
        with (
            psycopg.connect(conninfo, password=password, connect_timeout=_BUSY_SECONDS) as open_,
            open_.cursor() as cursor,
        ):
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield cast("_Cursor", cursor)
    except psycopg.errors.UndefinedTable:
        raise ConfigurationError(
            f"there is no ledger of this version in that database; {_NO_LEDGER}"
        ) from None
    except psycopg.Error:
        # Its message may quote the address with a user's name.
        raise Unavailable(
            "the ledger's PostgreSQL does not answer; see that it runs and that ledger.url is right"
        ) from None
