"""Records that the query for `status` returns, without encrypted values.

A run is, for example, a backup or a drill (a measured test restore). A fact is a dated statement
about an incident, such as the time of awareness; it may start a legal time limit.
"""

from dataclasses import dataclass
from datetime import datetime

from standfast.ledger.runs.run_record import Origin, RunRecord
from standfast.playbook.run_state import StepView


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """The newest run of one kind, subject and state."""

    kind: str  # such as backup, drill or verify
    subject: str  # such as the backup set
    state: str  # such as running, done, partial or failed
    started_at: datetime
    ended_at: datetime | None
    count: int = 1  # number of runs of this kind, subject and state
    is_of_other_host: bool = False  # a run of another host, whose set has the same name
    is_of_other_vault: bool = False


@dataclass(frozen=True, kw_only=True)
class AlarmOverview:
    """One notification of an alarm."""

    subject: str
    state: str  # raised | failed | over
    started_at: datetime
    origin: Origin  # origin of the host that sent it


@dataclass(frozen=True, kw_only=True)
class FactOverview:
    """One stated fact, without its encrypted reference."""

    kind: str
    name: str
    at: datetime | None
    count: int | None
    is_so: bool | None
    author: str
    recorded_at: datetime


@dataclass(frozen=True, kw_only=True)
class IncidentOverview:
    """One open incident, with its steps in the order of their beginning."""

    id: str
    scenario: str
    mode: str
    is_stopped: bool
    opened_at: datetime
    opened_by: str
    playbook: str
    steps: tuple[
        StepView, ...
    ]  # answers are encrypted, so an answer is an empty text in these views
    facts: tuple[FactOverview, ...] = ()  # in the order in which they were stated
    not_notified: int = 0  # recipients that no notice has reached
    held: int = 0  # the part of `not_notified` that a person must decide about
    unrestored_count: int = 0  # targets that an undo has not restored
    joined: int = 0  # how often targets were added, by triggers or people
    has_runner: bool = True  # a process executes the incident, or a live `serve` will


@dataclass(frozen=True, kw_only=True)
class ClosedIncidentOverview:
    """A closed live incident with facts: its legal time limits may still run."""

    id: str
    scenario: str
    opened_at: datetime
    playbook: str
    facts: tuple[FactOverview, ...]


@dataclass(frozen=True, kw_only=True)
class LedgerOverview:
    """The state of the database at one moment, without encrypted values."""

    last_runs: tuple[LastRun, ...]
    incidents: tuple[IncidentOverview, ...]  # open incidents, oldest first
    closed: tuple[ClosedIncidentOverview, ...]  # oldest first
    events: int  # sequence of the newest event
    signed_events: int  # sequence of the newest event that a signature covers
    signed_at: datetime | None
    serve_hosts: frozenset[str]  # hosts with a `standfast serve` whose lease has not expired
    backups: tuple[RunRecord, ...] = ()  # backups of the last week, newest first
    alarms: tuple[AlarmOverview, ...] = ()  # newest first
