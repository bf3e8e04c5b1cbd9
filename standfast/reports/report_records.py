"""Content of pages as records: masked facts, without markup.

Rules
- Every moment has the time zone UTC; the page shows it in the organisation's time zone.
- No record names a customer or an account in clear; `name_masking` was applied before.
- Lists are complete here; `html_page` shows the first entries and the number of the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from standfast.records import EffectState, Mode, Proof, StepState


@dataclass(frozen=True, kw_only=True)
class Reason:
    """The number of a step's targets in one state, with the reason."""

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
    """One step of the playbook, or one undo, with its result."""

    name: str
    title: str
    state: StepState | None  # None: not reached
    does: str = ""  # the verb; "" for work of a person
    began_at: datetime | None = None
    running_from: datetime | None = None  # after approvals; None: it never ran
    ended_at: datetime | None = None
    counts: Mapping[EffectState, int] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()
    outcome: str = ""  # an answer, or the reason of the end

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
    digest: str
    root: str
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
    """One account to be locked."""

    who: str  # masked, with its directory
    lock: EffectState
    reason: str = ""
    proof: Proof = Proof.NONE
    is_restored: bool = False
    undo: EffectState | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One person's decision about one step."""

    step: str
    person: str
    action: str  # "approved", "refused", "answered yes"
    at: datetime


@dataclass(frozen=True, kw_only=True)
class EvidenceLine:
    """One evidence source, frozen or not."""

    source: str
    state: EffectState
    files: int = 0
    size_bytes: int = 0
    unread: int = 0  # items that were not read, or not in full
    manifest: str = ""  # SHA-256
    folder: str = ""
    clock: str = ""  # the offset of the host's clock; "" if not recorded
    copied_to: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """The measures of one service in a drill, with its objectives."""

    service: str
    rto: timedelta | None
    rto_promised: timedelta
    rpo: timedelta | None
    rpo_promised: timedelta
    rpo_basis: str = ""  # the start of the RPO
    is_beyond_mtpd: bool = False  # longer than the maximum tolerable period of disruption
    is_checked: bool = True  # a check of the service ran; without one the RTO is not measured

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
    """One restore drill."""

    at: datetime
    set_name: str
    point: str
    state: str
    way: str
    files: int = 0
    size_bytes: int = 0
    took: timedelta | None = None
    measures: tuple[Measure, ...] = ()
    checks: tuple[Check, ...] = ()
    is_destroyed: bool | None = None
    problem: str = ""  # why nothing could be measured
    digest: str = ""  # SHA-256 of the signed report
    controls: tuple[str, ...] = ()


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
    has_jumped: bool = False  # far more of the set changed than usual


@dataclass(frozen=True, kw_only=True)
class ChainLine:
    """The audit chain, as verified for this page."""

    events: int
    rows: int
    heads: int
    witnessed: int
    signed_to: int  # the newest event that a signed head covers
    head: str  # its hash
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
    held: int
    fields: Mapping[str, int]  # people by exposed data
    places: Mapping[str, int]  # people by jurisdiction
    lists: tuple[tuple[int, str], ...]  # number and SHA-256 of each frozen list


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
    """A recipient to be notified by law or contract."""

    to: str
    rule: str  # its citation
    state: str  # "missed", "running", "held"
    due: datetime | None  # the strict date; None: at once, without a fixed period
    is_earliest: bool = False  # `due` is the earliest time instead of the latest


@dataclass(frozen=True, kw_only=True)
class IncidentObligations:
    """The legal clocks of an incident."""

    lines: tuple[ObligationLine, ...]  # missed ones first, then by due date
    questions: tuple[str, ...]  # answers would start or decide a clock
    not_started: int  # obligations whose fact is unknown
    trouble: str = ""  # why no clock could be counted

    @property
    def missed(self) -> int:
        return sum(line.state == "missed" for line in self.lines)

    @property
    def due_now(self) -> int:
        """The number of running obligations that are due without a period."""
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
    obligations: IncidentObligations | None = None  # None where no law is configured
    affected: AffectedLines | None = None  # None without a list of affected people
    notices: tuple[NoticeLine, ...] = ()
    accounts: tuple[AccountLine, ...] = ()
    decisions: tuple[Decision, ...] = ()
    evidence: tuple[EvidenceLine, ...] = ()
    notes: tuple[NoteLine, ...] = ()
    seal_key: str = ""  # the public key of the seals of the evidence, in hex
    ways: Mapping[str, int] = field(default_factory=dict)  # number of runners by kind
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
    headline: str = ""  # the degree of containment, and whether somebody works on it
    severity: int = 0  # the lowest is the most severe


@dataclass(frozen=True, kw_only=True)
class InstallationReport:
    """The content of an installation's page."""

    heading: Heading
    incidents: tuple[OpenIncident, ...] = ()
    services: tuple[str, ...] = ()  # services with a current objective
    drills: tuple[DrillLine, ...] = ()
    predictions: tuple[PredictionLine, ...] = ()
    backups: tuple[BackupLine, ...] = ()
    chain: ChainLine | None = None
