"""Records that the pages of incidents and the installation display.

Rules
- Every moment has the time zone UTC. The page shows it in the organisation's time zone.
- No record contains the name of a customer or an account in clear: the caller has applied
  `name_masking`.
- Lists are complete here. `html_page` shows the first entries of a long list.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from standfast.records import EffectState, Mode, Proof, StepState


@dataclass(frozen=True, kw_only=True)
class Reason:
    """The number of a step's targets with the same state and the same reason."""

    state: EffectState
    text: str
    count: int


@dataclass(frozen=True, kw_only=True)
class DayScore:
    """The readiness score of one day."""

    day: date
    score: int  # from 0 to 100


@dataclass(frozen=True, kw_only=True)
class StepLine:
    """One step of an incident, or one undo, with its result."""

    name: str
    title: str
    state: StepState | None  # None: not reached
    does: str = ""  # the verb of the action; "" for the work of a person
    began_at: datetime | None = None
    running_from: datetime | None = None  # time after the approvals; None if it was never executed
    ended_at: datetime | None = None
    counts: Mapping[EffectState, int] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()
    outcome: str = ""  # the answer of a person, or the reason why the step ended

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, kw_only=True)
class NotNotified:
    """A person that a notice did not reach, or may not have reached."""

    who: str  # masked
    state: EffectState
    reason: str


@dataclass(frozen=True, kw_only=True)
class NoticeLine:
    """One notice, with the results of its messages."""

    step: str
    title: str
    template: str
    audience: str
    digest: str  # SHA-256 of the approved messages
    root: str  # Merkle root over the digests of the recipients
    by_language: Mapping[str, Mapping[EffectState, int]]
    not_notified: tuple[NotNotified, ...] = ()

    @property
    def counts(self) -> Mapping[EffectState, int]:
        total: dict[EffectState, int] = {}
        for counts in self.by_language.values():
            for state, count in counts.items():
                total[state] = total.get(state, 0) + count
        return total


@dataclass(frozen=True, kw_only=True)
class AccountLine:
    """One account that an incident locks."""

    who: str  # masked, with its directory
    lock: EffectState
    reason: str = ""
    proof: Proof = Proof.NONE
    is_restored: bool = False  # True if the lock was undone
    undo: EffectState | None = None  # state of the undo; None if there is none


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One person's decision about one step."""

    step: str
    person: str
    action: str  # "approved", "refused", "answered yes"
    at: datetime


@dataclass(frozen=True, kw_only=True)
class EvidenceLine:
    """One source of evidence, and the result of copying and sealing it."""

    source: str
    state: EffectState
    files: int = 0
    size_bytes: int = 0
    unread: int = 0  # number of items that were not read, or only in part
    manifest: str = ""  # SHA-256
    folder: str = ""
    clock: str = ""  # the offset of the host's clock, in words; "" if not recorded
    copied_to: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """The measured times of one service in a drill, with its objectives."""

    service: str
    rto: timedelta | None
    rto_promised: timedelta
    rpo: timedelta | None
    rpo_promised: timedelta
    rpo_basis: str = ""  # the moment from which the lost work is counted, in words
    is_beyond_mtpd: bool = False  # longer than the maximum tolerable period of disruption
    is_checked: bool = True  # False if no check of the service was executed: RTO not measured

    @property
    def missed(self) -> tuple[str, ...]:
        """The missed objectives."""
        measured = [("RPO", self.rpo, self.rpo_promised)]
        if self.is_checked:
            measured.insert(0, ("RTO", self.rto, self.rto_promised))
        return tuple(name for name, took, most in measured if took is None or took > most)

    @property
    def is_met(self) -> bool:
        return self.is_checked and not self.missed

    @property
    def verdict(self) -> str:
        """The result: met, or what was missed or not measured."""
        parts = [f"{' and '.join(self.missed)} missed"] if self.missed else []
        if not self.is_checked:
            parts.append("RTO not measured")
        if self.is_beyond_mtpd:
            parts.append("beyond the MTPD")
        return ", ".join(parts) or "met"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check of a drill."""

    name: str
    state: str  # "passed", "failed", "skipped"
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class DrillLine:
    """One drill (test restore) of a backup set or of services."""

    at: datetime
    set_name: str
    point: str
    state: str
    way: str  # how it was started
    files: int = 0
    size_bytes: int = 0
    took: timedelta | None = None
    measures: tuple[Measure, ...] = ()
    checks: tuple[Check, ...] = ()
    is_destroyed: bool | None = None
    problem: str = ""  # the reason why nothing could be measured, or ""
    digest: str = ""  # SHA-256 of the signed report
    controls: tuple[str, ...] = ()  # clauses of standards that the report supports


@dataclass(frozen=True, kw_only=True)
class PredictionLine:
    """The recovery time of one service, predicted from past drills."""

    service: str
    expected: timedelta | None  # None if a set of the service was never drilled
    shortest: timedelta | None
    longest: timedelta | None
    drills: int
    rto: timedelta
    verdict: str  # likely, at risk, unlikely, unknown


@dataclass(frozen=True, kw_only=True)
class BackupLine:
    """One backup run."""

    at: datetime
    set_name: str
    point: str
    state: str
    way: str
    files: int = 0
    read_bytes: int = 0
    stored_bytes: int = 0
    unread: int = 0
    took: timedelta | None = None
    has_jumped: bool = False  # True if far more of the data changed than usual


@dataclass(frozen=True, kw_only=True)
class ChainLine:
    """The audit chain, verified for this page.

    In the audit chain, each event contains the hash of the event before it. A head is a signature
    over the newest event.
    """

    events: int
    rows: int
    heads: int  # number of signed heads
    witnessed: int  # number of heads in the witness, a copy on another machine
    signed_to: int  # number of the newest event that a signed head covers
    head: str  # hash of this event
    findings: tuple[str, ...] = ()
    key: str = ""  # the public key of the heads, hex


@dataclass(frozen=True, kw_only=True)
class EventLine:
    """One line of the timeline."""

    at: datetime
    actor: str
    action: str


@dataclass(frozen=True, kw_only=True)
class AffectedLines:
    """The affected people of an incident, in numbers."""

    people: int
    cannot_be_notified: int
    held: int  # people about whom a person must decide
    fields: Mapping[str, int]  # number of people by exposed data
    places: Mapping[str, int]  # number of people by jurisdiction
    lists: tuple[tuple[int, str], ...]  # number and SHA-256 of each list


@dataclass(frozen=True, kw_only=True)
class NoteLine:
    """One note of a person, with numbers and addresses masked."""

    at: datetime
    author: str
    text: str
    files: int
    folder: str


@dataclass(frozen=True, kw_only=True)
class Heading:
    """The top of every page."""

    organisation: str
    time_zone: str
    written_at: datetime


@dataclass(frozen=True, kw_only=True)
class ObligationLine:
    """One notice that a law or contract requires, and its deadline."""

    to: str
    rule: str  # its citation
    state: str  # "missed", "running" or "held" (a notice must not be sent yet)
    due: datetime | None  # None: due immediately, without a fixed period
    is_earliest: bool = False  # True: `due` is the earliest time instead of the latest


@dataclass(frozen=True, kw_only=True)
class IncidentObligations:
    """The legal clocks (running deadlines) of an incident."""

    lines: tuple[ObligationLine, ...]  # missed ones first, then by due date
    questions: tuple[str, ...]  # questions with answers that start a clock or decide about it
    not_started: int  # number of obligations that wait for an unknown fact
    trouble: str = ""  # the reason why no clock could be counted, or ""

    @property
    def missed(self) -> int:
        return sum(line.state == "missed" for line in self.lines)

    @property
    def due_now(self) -> int:
        """The number of running obligations that are due immediately."""
        return sum(line.state == "running" and line.due is None for line in self.lines)

    @property
    def next_due(self) -> datetime | None:
        """The end of the next clock that can still be met."""
        return min(
            (
                line.due
                for line in self.lines
                if line.state == "running" and line.due and not line.is_earliest
            ),
            default=None,
        )


@dataclass(frozen=True, kw_only=True)
class IncidentReport:
    """The content of an incident's page."""

    heading: Heading
    incident: str
    scenario: str
    title: str
    mode: Mode
    is_open: bool
    is_stopped: bool
    opened_at: datetime
    opened_by: str
    closed_at: datetime | None
    next_step: str  # with commands in backticks
    steps: tuple[StepLine, ...]
    obligations: IncidentObligations | None = None  # None if no law is configured
    affected: AffectedLines | None = None  # None if there is no list of affected people
    notices: tuple[NoticeLine, ...] = ()
    accounts: tuple[AccountLine, ...] = ()
    decisions: tuple[Decision, ...] = ()
    evidence: tuple[EvidenceLine, ...] = ()
    notes: tuple[NoteLine, ...] = ()
    seal_key: str = ""  # public key that verifies the evidence, in hex
    ways: Mapping[str, int] = field(default_factory=dict)  # number of processes, by kind of start
    chain: ChainLine | None = None
    events: tuple[EventLine, ...] = ()
    drills: tuple[DrillLine, ...] = ()
    backups: tuple[BackupLine, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OpenIncident:
    """One incident on the page of an installation."""

    incident: str
    title: str
    mode: Mode
    opened_at: datetime
    is_open: bool
    next_step: str
    headline: str = ""  # whether the intruder is stopped, and whether somebody works on it
    severity: int = 0  # the lowest value is the most severe


@dataclass(frozen=True, kw_only=True)
class InstallationReport:
    """The content of an installation's page."""

    heading: Heading
    incidents: tuple[OpenIncident, ...] = ()
    services: tuple[str, ...] = ()  # services with a configured objective
    drills: tuple[DrillLine, ...] = ()
    predictions: tuple[PredictionLine, ...] = ()
    backups: tuple[BackupLine, ...] = ()
    chain: ChainLine | None = None
