"""Pages of the console: sign-in, open incidents, one incident, passkeys.

In the console, people approve steps of an incident and answer questions. `console` decides who may
see the pages.

Rules
- A form names exactly what a person signs: the step, and the digest of the plan that the page
  shows.
- A person without the permission to decide sees the reason, and no form.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from standfast.plurals import counted
from standfast.reports.html_page import Clock, incident_values, render
from standfast.reports.report_records import (
    Heading,
    IncidentObligations,
    IncidentReport,
    OpenIncident,
)

APPROVE, DECIDE, REPORT = "approve", "decide", "report"


@dataclass(frozen=True, kw_only=True)
class Words:
    """The text of a notice in one language."""

    language: str
    subject: str
    text: str


@dataclass(frozen=True, kw_only=True)
class DecisionLine:
    """One request of an incident to people."""

    step: str
    title: str
    does: str  # APPROVE, DECIDE or REPORT
    text: tuple[str, ...]  # the question, the manual work, or the reason for the approval
    who: str  # the roles, or "anybody"
    obstacle: str  # the reason why the reader may not decide; "" if they may
    may_refuse: bool = False  # True if an approval may be refused, even if `obstacle` is set
    facts: tuple[str, ...] = ()  # for DECIDE: what the person should find out before the answer
    options: tuple[str, ...] = ()  # for DECIDE: the possible answers
    digest: str = ""  # hash of the plan; this and the fields up to `needed` are for APPROVE
    reaches: int = 0  # number of targets of the step
    target: str = "target"  # the noun for one target, such as "account"
    left_out: int = 0  # number of targets that the step does not reach
    is_irreversible: bool = False
    tells: str = ""  # a notice and its audience (list of recipients), for a step that sends it
    details: tuple[str, ...] = ()  # for a recovery: recovery points, and the data at the targets
    given: int = 0  # number of approvals until now
    needed: int = 0  # number of required approvals
    challenges: dict[str, str] = field(default_factory=dict)  # for passkeys, by decision
    words: tuple[Words, ...] = ()
    names: tuple[str, ...] = ()  # names of the targets; empty unless the reader requested them

    @property
    def summary(self) -> str:
        """The request in one line: `Approval: Lock the accounts (3 accounts)`."""
        kind = {APPROVE: "Approval", DECIDE: "Answer", REPORT: "Task"}[self.does]
        count = f" ({counted(self.reaches, self.target)})" if self.does == APPROVE else ""
        return f"{kind}: {self.title}{count}"


@dataclass(frozen=True, kw_only=True)
class SignedInReader:
    """The reader of a page, with a token for its forms and the passkeys."""

    person: str
    form_token: str
    site: str  # the site name that devices store
    passkeys: tuple[str, ...]  # the credential ids of the devices


@dataclass(frozen=True, kw_only=True)
class ConsoleLine:
    """One open incident on the first page."""

    incident: OpenIncident
    obligations: IncidentObligations | None
    asks: tuple[str, ...]  # the requests to the reader, as `DecisionLine.summary`


@dataclass(frozen=True, kw_only=True)
class ConsoleReport:
    """The first page."""

    heading: Heading
    lines: tuple[ConsoleLine, ...]


@dataclass(frozen=True, kw_only=True)
class SignInReport:
    """The page for a reader that has not signed in."""

    heading: Heading
    path: str  # the requested page
    problem: str
    site: str
    challenge: str  # for a passkey


@dataclass(frozen=True, kw_only=True)
class PasskeyLine:
    """One passkey of the reader."""

    id: str
    added_at: datetime
    origin: str  # the address for which it signs


@dataclass(frozen=True, kw_only=True)
class PasskeysReport:
    """The page on which a person adds and removes passkeys."""

    heading: Heading
    origin: str  # the origin of this console
    lines: tuple[PasskeyLine, ...]
    challenge: str  # for a new passkey
    handle: str  # the id by which devices distinguish people; it reveals nothing
    algorithms: str


def sign_in_page(report: SignInReport) -> str:
    """Return the sign-in page."""
    return render("console_sign_in.html", Clock(report.heading.time_zone), report=report)


def passkeys_page(
    report: PasskeysReport, reader: SignedInReader, *, result: str, problem: str
) -> str:
    """Return the page with a person's passkeys.

    `result` and `problem` are those of the form that the person sent, or "".
    """
    return render(
        "console_passkeys.html",
        Clock(report.heading.time_zone),
        report=report,
        reader=reader,
        result=result,
        problem=problem,
    )


def first_page(report: ConsoleReport, reader: SignedInReader) -> str:
    """Return the page with the open incidents."""
    return render("console.html", Clock(report.heading.time_zone), report=report, reader=reader)


def console_incident_page(
    report: IncidentReport,
    asked: tuple[DecisionLine, ...],
    reader: SignedInReader,
    *,
    account_lists: Sequence[str],
    is_paging: bool,
    is_unanswered: bool,
    result: str,
    problem: str,
) -> str:
    """Return the page of an incident with its requests to people.

    `result` and `problem` are those of the form that the reader sent, or "". `account_lists` are
    the inputs to which accounts can be added. `is_paging` means that people are paged about the
    incident, and `is_unanswered` means that nobody acknowledged the pages.
    """
    clock = Clock(report.heading.time_zone)
    return render(
        "console_incident.html",
        clock,
        **incident_values(report, clock),
        asked=asked,
        reader=reader,
        account_lists=account_lists,
        is_paging=is_paging,
        is_unanswered=is_unanswered,
        result=result,
        problem=problem,
    )
