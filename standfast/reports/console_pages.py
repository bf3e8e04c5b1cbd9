"""The console's pages: signing in, the open incidents, and one of them with what it asks for.

Owns the records that these pages show beside a report. Leaves who may see them to `console`.

Rules
- A form names exactly what is signed: the step, and the digest of the plan that the page shows.
- Whoever may not say something sees why, and no form for it.
"""

from dataclasses import dataclass, field
from datetime import datetime

from standfast.plurals import counted
from standfast.reports.html_page import Clock, incident_values, render
from standfast.reports.report_records import Duties, Heading, IncidentReport, OpenIncident

APPROVE, DECIDE, REPORT = "approve", "decide", "report"


@dataclass(frozen=True, kw_only=True)
class Words:
    """What a notice says, in one language."""

    language: str
    subject: str
    text: str


@dataclass(frozen=True, kw_only=True)
class DecisionLine:
    """One thing that an incident asks of people now."""

    step: str
    title: str
    does: str  # APPROVE, DECIDE or REPORT
    text: tuple[str, ...]  # the question, what is to be done by hand, or why approval is asked
    who: str  # of whom: roles, or "anybody"
    obstacle: str  # why whoever reads this may not say it; empty when they may
    may_refuse: bool = False  # an approval; also where there is an obstacle to giving it
    facts: tuple[str, ...] = ()  # DECIDE: what to find out before
    options: tuple[str, ...] = ()  # DECIDE
    digest: str = ""  # APPROVE, as what follows
    reaches: int = 0
    target: str = "target"  # what is counted, in the singular
    left_out: int = 0
    is_irreversible: bool = False
    tells: str = ""  # the notice and its audience
    given: int = 0
    needed: int = 0
    challenges: dict[str, str] = field(default_factory=dict)  # for a passkey, by decision; DECIDE
    words: tuple[Words, ...] = ()
    names: tuple[str, ...] = ()  # only when they were asked for

    @property
    def summary(self) -> str:
        """Return what is wanted in one line: `Approval: Lock the accounts (3 accounts)`."""
        kind = {APPROVE: "Approval", DECIDE: "Answer", REPORT: "Task"}[self.does]
        count = f" ({counted(self.reaches, self.target)})" if self.does == APPROVE else ""
        return f"{kind}: {self.title}{count}"


@dataclass(frozen=True, kw_only=True)
class Seat:
    """Whose page it is, the word that its forms repeat, and with which passkeys they sign."""

    person: str
    form_word: str
    site: str  # the name under which devices keep them
    passkeys: tuple[str, ...]  # as their devices name them


@dataclass(frozen=True, kw_only=True)
class ConsoleLine:
    """One open incident on the first page."""

    incident: OpenIncident
    duties: Duties | None
    asks: tuple[str, ...]  # what it asks of its reader, each as `DecisionLine.summary`


@dataclass(frozen=True, kw_only=True)
class ConsoleReport:
    """The first page."""

    heading: Heading
    lines: tuple[ConsoleLine, ...]


@dataclass(frozen=True, kw_only=True)
class SignInReport:
    """The page before anything is known of whoever asks."""

    heading: Heading
    path: str  # where they wanted to go
    problem: str
    site: str
    challenge: str  # for a passkey


@dataclass(frozen=True, kw_only=True)
class PasskeyLine:
    """One passkey of whoever reads this."""

    id: str
    added_at: datetime
    origin: str  # the address that it signs for


@dataclass(frozen=True, kw_only=True)
class PasskeysReport:
    """The page on which a person adds and removes passkeys."""

    heading: Heading
    origin: str  # of this console
    lines: tuple[PasskeyLine, ...]
    challenge: str  # for a new one
    handle: str  # by which devices tell people apart; it says nothing
    algorithms: str


def sign_in_page(report: SignInReport) -> str:
    """Give the page on which a person signs in."""
    return render("console_sign_in.html", Clock(report.heading.time_zone), report=report)


def passkeys_page(report: PasskeysReport, seat: Seat, *, said: str, problem: str) -> str:
    """Give the page with a person's passkeys; `said` is what came of a form."""
    return render(
        "console_passkeys.html",
        Clock(report.heading.time_zone),
        report=report,
        seat=seat,
        said=said,
        problem=problem,
    )


def first_page(report: ConsoleReport, seat: Seat) -> str:
    """Give the page with the open incidents."""
    return render("console.html", Clock(report.heading.time_zone), report=report, seat=seat)


def asking_page(
    report: IncidentReport, asked: tuple[DecisionLine, ...], seat: Seat, *, said: str, problem: str
) -> str:
    """Give an incident's page with what it asks of its reader; `said` is what came of a form."""
    clock = Clock(report.heading.time_zone)
    return render(
        "console_incident.html",
        clock,
        **incident_values(report, clock),
        asked=asked,
        seat=seat,
        said=said,
        problem=problem,
    )
