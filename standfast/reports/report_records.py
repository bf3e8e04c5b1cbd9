"""What a page says, as records: the ledger's facts, masked, without any markup.

Rules
- Every moment is aware and UTC; the page shows it in the organisation's zone.
- Nothing here names a customer or an account in clear; `masking` has been there before.
- Lists are whole here; `page` shows the first of a long one and says how many it leaves out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from standfast.records import EffectState, Mode, Proof, StepState


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why so many targets of a step are where they are."""

    state: EffectState
    text: str
    count: int


@dataclass(frozen=True, kw_only=True)
class StepLine:
    """One step of the playbook, or one undo, and what it came to."""

    name: str
    title: str
    state: StepState | None  # None: not reached
    does: str = ""  # the verb; empty for what a person does
    began_at: datetime | None = None
    running_from: datetime | None = None  # after people had their say; None: it never ran
    ended_at: datetime | None = None
    counts: Mapping[EffectState, int] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()
    outcome: str = ""  # an answer, or why it ended as it did

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, kw_only=True)
class NotNotified:
    """Somebody whom a notice did not reach, or not for sure."""

    who: str  # masked
    state: EffectState
    reason: str


@dataclass(frozen=True, kw_only=True)
class NoticeLine:
    """One notice: how many it was for, and what became of each of them."""

    step: str
    title: str
    template: str
    audience: str
    digest: str
    root: str
    by_language: Mapping[str, Mapping[EffectState, int]]
    untold: tuple[NotNotified, ...] = ()

    @property
    def counts(self) -> Mapping[EffectState, int]:
        total: dict[EffectState, int] = {}
        for counts in self.by_language.values():
            for state, count in counts.items():
                total[state] = total.get(state, 0) + count
        return total


@dataclass(frozen=True, kw_only=True)
class AccountLine:
    """One account that the incident meant to lock."""

    who: str  # masked, with its directory
    lock: EffectState
    reason: str = ""
    proof: Proof = Proof.NONE
    is_given_back: bool = False
    undo: EffectState | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What one person said about one step, and when."""

    step: str
    person: str
    what: str  # "approved", "refused", "answered yes"
    at: datetime


@dataclass(frozen=True, kw_only=True)
class EvidenceLine:
    """One source that was frozen, or was not."""

    source: str
    state: EffectState
    files: int = 0
    size_bytes: int = 0
    unread: int = 0
    manifest: str = ""  # SHA-256
    folder: str = ""
    clock: str = ""  # how far the host's was off; empty where it was not recorded
    copied_to: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a drill measured for one service, beside what was promised."""

    service: str
    rto: timedelta | None
    rto_promised: timedelta
    rpo: timedelta | None
    rpo_promised: timedelta
    rpo_basis: str = ""  # what the RPO is counted from
    is_beyond_mtpd: bool = False  # longer than the maximum tolerable period of disruption
    is_checked: bool = True  # a check of the service was made; without one its RTO is not measured

    @property
    def missed(self) -> tuple[str, ...]:
        """Return the promises that were not kept."""
        measured = [("RPO", self.rpo, self.rpo_promised)]
        if self.is_checked:
            measured.insert(0, ("RTO", self.rto, self.rto_promised))
        return tuple(what for what, took, most in measured if took is None or took > most)

    @property
    def is_met(self) -> bool:
        return self.is_checked and not self.missed

    @property
    def verdict(self) -> str:
        """Return what became of the promises: met, or what was missed or not measured."""
        told = [f"{' and '.join(self.missed)} missed"] if self.missed else []
        if not self.is_checked:
            told.append("RTO not measured")
        if self.is_beyond_mtpd:
            told.append("beyond the MTPD")
        return ", ".join(told) or "met"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that a drill tried."""

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
    problem: str = ""  # why it came to nothing that could be measured
    digest: str = ""  # of the signed report
    controls: tuple[str, ...] = ()


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
    """The audit chain as it was verified for this page."""

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
    what: str


@dataclass(frozen=True, kw_only=True)
class Heading:
    """What stands on top of every page."""

    organisation: str
    time_zone: str
    written_at: datetime


@dataclass(frozen=True, kw_only=True)
class DutyLine:
    """Somebody who has to be told, by a law or an agreement."""

    to: str
    rule: str  # where it stands
    standing: str  # "missed", "running", "held"
    due: datetime | None  # the strict end; None: now, no number is named
    is_earliest: bool = False  # `due` is when it may be done, not by when it must be


@dataclass(frozen=True, kw_only=True)
class Duties:
    """The legal clocks of an incident."""

    lines: tuple[DutyLine, ...]  # the missed first, then by what is due next
    questions: tuple[str, ...]  # what would start a clock, or decide one
    not_started: int  # duties whose fact is not known
    trouble: str = ""  # why no clock could be counted

    @property
    def missed(self) -> int:
        return sum(line.standing == "missed" for line in self.lines)

    @property
    def due_now(self) -> int:
        """How many of them run without a number: what is owed "without delay" is owed now."""
        return sum(line.standing == "running" and line.due is None for line in self.lines)

    @property
    def next_due(self) -> datetime | None:
        """When the next one ends that still can be kept."""
        return min(
            (
                line.due
                for line in self.lines
                if line.standing == "running" and line.due and not line.is_earliest
            ),
            default=None,
        )


@dataclass(frozen=True, kw_only=True)
class IncidentReport:
    """Everything that the page of one incident says."""

    heading: Heading
    incident: str
    scenario: str
    title: str
    mode: Mode
    is_open: bool
    is_halted: bool
    opened_at: datetime
    opened_by: str
    closed_at: datetime | None
    next_step: str  # commands stand between backticks
    steps: tuple[StepLine, ...]
    duties: Duties | None = None  # None where no law is configured
    notices: tuple[NoticeLine, ...] = ()
    accounts: tuple[AccountLine, ...] = ()
    decisions: tuple[Decision, ...] = ()
    evidence: tuple[EvidenceLine, ...] = ()
    seal_key: str = ""  # the public key of the seals over it, hex
    ways: Mapping[str, int] = field(default_factory=dict)  # how it ran → runners
    chain: ChainLine | None = None
    events: tuple[EventLine, ...] = ()
    drills: tuple[DrillLine, ...] = ()
    backups: tuple[BackupLine, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OpenIncident:
    """One incident on the page of a place."""

    incident: str
    title: str
    mode: Mode
    opened_at: datetime
    is_open: bool
    next_step: str
    headline: str = ""  # how far it is contained, and whether somebody works on it
    severity: int = 0  # the lowest is the most severe


@dataclass(frozen=True, kw_only=True)
class InstallationReport:
    """Everything that the page of a place says."""

    heading: Heading
    incidents: tuple[OpenIncident, ...] = ()
    services: tuple[str, ...] = ()  # of which something is promised now
    drills: tuple[DrillLine, ...] = ()
    backups: tuple[BackupLine, ...] = ()
    chain: ChainLine | None = None
