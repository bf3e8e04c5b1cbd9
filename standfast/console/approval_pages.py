"""Console pages on incidents: decisions, notes, accounts, stop.

The pages are also usable on a phone. A step is one part of an incident's playbook, and its plan
lists the exact targets and settings.

    GET  /console                    open incidents and their requests to the signed-in person
    GET  /console/INCIDENT           one incident, with a form for each request
    POST /console/INCIDENT/decide    approve or refuse; passphrase or passkey signs the shown plan
    POST /console/INCIDENT/answer    answer a question, or report on manual work
    POST /console/INCIDENT/names     show the targets of a step; the access is recorded
    POST /console/INCIDENT/note      add a note
    POST /console/INCIDENT/add       add accounts to the incident
    POST /console/INCIDENT/acknowledge   stop paging people on call about the incident
    POST /console/INCIDENT/stop

Rules
- A quiet incident is hidden from most people (`incident_visibility`). For a person that may not see
  it, its pages return 404.
- A signed-in person can read, report on manual work, add notes, stop the paging and stop an
  incident. An answer decides which steps are skipped, and added accounts are locked. Therefore an
  answer needs the passphrase or the device again, as an approval does, and adding accounts needs
  the passphrase.
- An approval is refused if the plan has changed since the page was shown.
- Guesses of passphrases at the sign-in do not prevent a person from signing: attempts to sign are
  counted separately.
- The page shows a refusal with its reason. No log contains a passphrase.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from standfast.console.http.problem_details import Problem
from standfast.console.http.rate_limits import Allowance
from standfast.console.sign_in.sessions import Session
from standfast.console.sign_in.sign_in_pages import (
    INCIDENT,
    LONGEST_ACCOUNTS,
    NOT_WHOLE,
    PATH,
    SIGNED_OUT,
    Answer,
    Fields,
    SignInPages,
    page,
    sign_in_allowance,
    too_often,
)
from standfast.errors import ApprovalRefused, StandfastError, UsageError
from standfast.ledger.approvals.two_person_rule import Question
from standfast.ledger.runs.call_outs import CallOutState
from standfast.plurals import counted
from standfast.records import Mode
from standfast.reports.console_pages import (
    DECIDE,
    ConsoleLine,
    ConsoleReport,
    console_incident_page,
    first_page,
)
from standfast.usecases.approvals import step_decisions
from standfast.usecases.approvals.pending_requests import (
    is_report,
    pending_requests,
    with_target_names,
)
from standfast.usecases.core.incident_visibility import is_visible
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.incident_notes import add_note
from standfast.usecases.incidents.lifecycle import account_lists, add_to_incident
from standfast.usecases.incidents.lifecycle import stop as halt
from standfast.usecases.on_call.call_outs import acknowledge, unacknowledged_call_outs
from standfast.usecases.people.passkeys import refuse_other_console
from standfast.usecases.reports.legal_obligations import incident_obligations
from standfast.usecases.reports.result_pages import heading, incident_report, open_incident_line
from standfast.usecases.triggers.message_intake import triggers_of

log = logging.getLogger("standfast.serve")

Work = Callable[[Session, Fields, str], str]  # processes a form; returns the result in words


@dataclass(kw_only=True)
class ApprovalPages:
    """The console's pages about incidents.

    `begin_work` is called with the id of each incident that a processed form may continue.
    """

    installation: Installation
    sign_in_pages: SignInPages
    begin_work: Callable[[str], None]
    _by_person: Allowance = field(default_factory=sign_in_allowance)

    def routes(self, guarded: Callable[[Answer], Answer]) -> list[Route]:
        """Return the routes, each wrapped by `guarded`."""
        forms: dict[str, Answer] = {
            "decide": partial(self._process_form, self._decide),
            "answer": partial(self._process_form, self._answer),
            "names": self.names,
            "note": partial(self._process_form, self._note),
            "add": partial(self._process_form, self._add),
            "acknowledge": partial(self._process_form, self._acknowledge),
            "stop": partial(self._process_form, self._stop),
        }
        incident_path = PATH + "/{incident}"
        return [
            Route(PATH, guarded(self.first), methods=["GET"]),
            *(
                Route(f"{incident_path}/{path}", guarded(do), methods=["POST"])
                for path, do in forms.items()
            ),
            Route(incident_path, guarded(self.incident), methods=["GET"]),
        ]

    async def first(self, request: Request) -> Response:
        """Show the open incidents."""
        session = await self.sign_in_pages.session(request)
        if session is None:
            return await self.sign_in_pages.to_sign_in(PATH)
        return page(await self.sign_in_pages.ask(partial(self._first_html, session)))

    async def incident(self, request: Request) -> Response:
        """Show one incident."""
        session = await self.sign_in_pages.session(request)
        if session is None:
            return await self.sign_in_pages.to_sign_in(_path_of(request))
        return await self._incident_page(request, session)

    async def names(self, request: Request) -> Response:
        """Show the targets of a step."""
        session, given = await self.sign_in_pages.form(request)
        if session is None:
            return await self.sign_in_pages.to_sign_in(_path_of(request))
        return await self._incident_page(request, session, names_of=given.get("step", ""))

    async def _process_form(self, work: Work, request: Request) -> Response:
        """Process a form, continue the incident, and show the result."""
        session, given = await self.sign_in_pages.form(request)
        if session is None:
            return await self.sign_in_pages.to_sign_in(_path_of(request), SIGNED_OUT)
        incident, result, problem = incident_of(request), "", ""
        try:
            result = await self.sign_in_pages.queue.do(
                partial(self._work, work, session, given, incident)
            )
            log.info("console: %s: a form was processed", incident)
            self.begin_work(incident)
        except (UsageError, ApprovalRefused) as error:
            problem = str(error)
        except StandfastError as error:
            log.warning("console: %s: %s", incident, error)
            problem = str(error)
        return await self._incident_page(request, session, result=result, problem=problem)

    def _work(self, work: Work, session: Session, given: Fields, incident: str) -> str:
        self.refuse_hidden(session, incident)
        return work(session, given, incident)

    def refuse_hidden(self, session: Session, incident: str) -> None:
        """Raise 404 if the incident is unknown, or hidden from the person."""
        try:
            row = self.installation.ledger.incidents.get(incident)
        except UsageError:
            raise Problem(HTTPStatus.NOT_FOUND) from None
        if not is_visible(row, self.installation.ledger.people.get(session.person)):
            raise Problem(HTTPStatus.NOT_FOUND)

    def _decide(self, session: Session, given: Fields, incident: str) -> str:
        """Store an approval or a refusal of the plan that the page showed."""
        if wait := self._by_person.take(session.person):
            raise ApprovalRefused(too_often(wait))
        decision = given.get("decision", "")
        if decision not in ("approve", "refuse") or not (given.get("step") and given.get("digest")):
            raise UsageError(NOT_WHOLE)
        if given.get("passkey"):
            refuse_other_console(self.installation, given["passkey"])
        asked = step_decisions.decide(
            self.installation,
            incident,
            given["step"],
            session.person,
            given.get("passphrase", ""),
            approves=decision == "approve",
            as_shown=given["digest"],
            passkey=given.get("passkey", ""),
        )
        self._by_person.put_back(session.person)
        return _decision_text(asked, approves=decision == "approve")

    def _answer(self, session: Session, given: Fields, incident: str) -> str:
        """Answer a question after a new sign-in, or report on manual work."""
        step, text = given.get("step", ""), given.get("text", "")
        if not is_report(self.installation, incident, step):
            self.sign_in_again(session, given, _answer_to(incident, step))
        step_decisions.answer(self.installation, incident, step, text, by=session.person)
        return f"`{step}`: recorded."

    def sign_in_again(self, session: Session, given: Fields, purpose: str) -> None:
        """Verify the person again; ApprovalRefused also after too many attempts."""
        if wait := self._by_person.take(session.person):
            raise ApprovalRefused(too_often(wait))
        self.sign_in_pages.sign_in_again(session, given, purpose)
        self._by_person.put_back(session.person)

    def _add(self, session: Session, given: Fields, incident: str) -> str:
        """Add accounts after a new sign-in."""
        text = given.get("accounts", "")
        accounts = text.replace(",", " ").split()
        if not accounts or len(text) >= LONGEST_ACCOUNTS:
            raise UsageError(
                "accounts: none is named, or there are too many. Name at least one and at most a "
                "few hundred"
            )
        self.sign_in_again(session, given, f"add to {incident}")
        inputs = {given.get("input", ""): accounts}
        added = add_to_incident(self.installation, incident, inputs, by=session.person)
        return (
            f"{counted(added, 'account')} added."
            if added
            else "The incident already has these accounts."
        )

    def _note(self, session: Session, given: Fields, incident: str) -> str:
        added = add_note(self.installation, incident, given.get("text", ""), by=session.person)
        return f"Note {added.note.number} is recorded."

    def _acknowledge(self, session: Session, given: Fields, incident: str) -> str:
        triggers = triggers_of(self.installation.config)
        done = acknowledge(self.installation, triggers, incident, session.person)
        if done.ended and done.ended == done.late:
            return "Acknowledged late: the pages had ended without an answer."
        return "Acknowledged: nobody else is paged." if done.ended else "Nobody is being paged."

    def _stop(self, session: Session, given: Fields, incident: str) -> str:
        halt(self.installation, incident, by=session.person)
        return "Stopped: no further act begins."

    async def _incident_page(
        self,
        request: Request,
        session: Session,
        *,
        result: str = "",
        problem: str = "",
        names_of: str = "",
    ) -> Response:
        incident = incident_of(request)
        html = await self.sign_in_pages.ask(
            partial(self._incident_html, session, incident, result, problem, names_of)
        )
        return page(html, HTTPStatus.CONFLICT if problem else HTTPStatus.OK)

    def _first_html(self, session: Session) -> str:
        reader = self.installation.ledger.people.get(session.person)
        rows = self.installation.ledger.incidents.all(only_open=True)
        lines = [
            ConsoleLine(
                incident=open_incident_line(self.installation, row),
                obligations=incident_obligations(self.installation, row.id, row.mode),
                asks=tuple(
                    request.summary
                    for request in pending_requests(self.installation, row.id, session.person)
                    if not request.obstacle
                ),
            )
            for row in reversed(rows)
            if is_visible(row, reader)
        ]
        lines.sort(key=lambda line: (not line.asks, line.incident.severity))
        return first_page(
            ConsoleReport(heading=heading(self.installation), lines=tuple(lines)),
            self.sign_in_pages.reader(session),
        )

    def _incident_html(
        self, session: Session, incident: str, result: str, problem: str, names_of: str
    ) -> str:
        self.refuse_hidden(session, incident)
        report = incident_report(self.installation, incident, must_verify=False)
        may_grow = report.is_open and report.mode is not Mode.PLAN
        triggers = triggers_of(self.installation.config)
        call_outs = [
            call_out
            for call_out, _ in unacknowledged_call_outs(self.installation, triggers, incident)
        ]
        asked = tuple(
            with_target_names(self.installation, incident, session.person, line)
            if line.step == names_of
            else line
            for line in pending_requests(self.installation, incident, session.person)
        )
        asked = tuple(
            replace(
                line,
                challenges={DECIDE: self.sign_in_pages.challenge(_answer_to(incident, line.step))},
            )
            if line.does == DECIDE
            else line
            for line in asked
        )
        return console_incident_page(
            report,
            asked,
            self.sign_in_pages.reader(session),
            account_lists=account_lists(self.installation, incident) if may_grow else (),
            is_paging=any(found.state is CallOutState.OPEN for found in call_outs),
            is_unanswered=any(found.state is CallOutState.UNANSWERED for found in call_outs),
            result=result,
            problem=problem,
        )


def _answer_to(incident: str, step: str) -> str:
    """Return the purpose of a passkey's challenge for an answer."""
    return f"answer {incident} {step}"


def incident_of(request: Request) -> str:
    """Return the incident of a path.

    An invalid id reaches neither the ledger nor a log.
    """
    incident = str(request.path_params["incident"])
    if not INCIDENT.fullmatch(incident):
        raise Problem(HTTPStatus.NOT_FOUND)
    return incident


def _path_of(request: Request) -> str:
    return f"{PATH}/{request.path_params['incident']}"


def _decision_text(asked: Question, *, approves: bool) -> str:
    if not approves:
        return f"`{asked.step}`: refused."
    text = f"`{asked.step}`: signed, {asked.given} of {asked.needed}."
    if asked.given < asked.needed or not asked.hold_seconds:
        return text
    return (
        f"{text} It starts in {asked.hold_seconds} s; until then, the button at the top stops it."
    )
