"""The console: people look at open incidents and say what they are asked for, on a phone.

    GET  /console                    what is open, and what it asks of whoever is signed in
    GET  /console/INCIDENT           its page, with a form for each thing that it asks
    POST /console/INCIDENT/decide    approve or refuse: passphrase or passkey signs what was shown
    POST /console/INCIDENT/answer    a question, or what came of what was done by hand
    POST /console/INCIDENT/names     whom a step would reach; that look is an event
    POST /console/INCIDENT/stop

Rules
- A quiet incident that its reader may not see is a page that does not exist (`quiet_incidents`).
- A session looks, reports and stops. An answer decides which steps are skipped, so it takes the
  passphrase or the device again, as an approval does. An approval is refused when the step is
  planned otherwise than the page showed.
- Who guesses passphrases keeps nobody from signing: such tries are counted apart.
- What a rule refuses comes back on the page in its own words. A passphrase is nowhere in a log.
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
from standfast.reports.console_pages import (
    DECIDE,
    ConsoleLine,
    ConsoleReport,
    asking_page,
    first_page,
)
from standfast.usecases.approvals import step_decisions
from standfast.usecases.approvals.pending_requests import is_report, named, pending_requests
from standfast.usecases.core.incident_visibility import is_visible
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import stop as halt
from standfast.usecases.people.passkeys import refuse_other_console
from standfast.usecases.reports.legal_duties import duties_of
from standfast.usecases.reports.result_pages import heading, incident_report, open_incident_line

log = logging.getLogger("standfast.serve")

Work = Callable[[Session, Fields, str], str]  # a form of an incident; gives what came of it


@dataclass(kw_only=True)
class ApprovalPages:
    """The pages for people; `begin_work` is told of an incident that may go on."""

    installation: Installation
    door: SignInPages
    begin_work: Callable[[str], None]
    _by_person: Allowance = field(default_factory=sign_in_allowance)

    def routes(self, guarded: Callable[[Answer], Answer]) -> list[Route]:
        """Give the paths, each wrapped by `guarded`."""
        forms: dict[str, Answer] = {
            "decide": partial(self._take, self._decide),
            "answer": partial(self._take, self._answer),
            "names": self.names,
            "stop": partial(self._take, self._stop),
        }
        one = PATH + "/{incident}"
        return [
            Route(PATH, guarded(self.first), methods=["GET"]),
            *(Route(f"{one}/{path}", guarded(do), methods=["POST"]) for path, do in forms.items()),
            Route(one, guarded(self.incident), methods=["GET"]),
        ]

    async def first(self, request: Request) -> Response:
        """Show what is open."""
        session = await self.door.session(request)
        if session is None:
            return await self.door.to_sign_in(PATH)
        return page(await self.door.ask(partial(self._first, session)))

    async def incident(self, request: Request) -> Response:
        """Show one incident."""
        session = await self.door.session(request)
        if session is None:
            return await self.door.to_sign_in(_path_of(request))
        return await self._shown(request, session)

    async def names(self, request: Request) -> Response:
        """Show whom a step names."""
        session, given = await self.door.form(request)
        if session is None:
            return await self.door.to_sign_in(_path_of(request))
        return await self._shown(request, session, names_of=given.get("step", ""))

    async def _take(self, work: Work, request: Request) -> Response:
        """Do what a form asks for, let a runner go on, and show what came of it."""
        session, given = await self.door.form(request)
        if session is None:
            return await self.door.to_sign_in(_path_of(request), SIGNED_OUT)
        incident, said, problem = _incident_of(request), "", ""
        try:
            said = await self.door.desk.do(partial(self._work, work, session, given, incident))
            log.info("console: %s: a form was taken", incident)
            self.begin_work(incident)
        except (UsageError, ApprovalRefused) as error:
            problem = str(error)
        except StandfastError as error:
            log.warning("console: %s: %s", incident, error)
            problem = str(error)
        return await self._shown(request, session, said=said, problem=problem)

    def _work(self, work: Work, session: Session, given: Fields, incident: str) -> str:
        self._refuse_hidden(session, incident)
        return work(session, given, incident)

    def _refuse_hidden(self, session: Session, incident: str) -> None:
        """Answer as for an unknown incident where the person may not see this one."""
        try:
            row = self.installation.ledger.incidents.get(incident)
        except UsageError:
            raise Problem(HTTPStatus.NOT_FOUND) from None
        if not is_visible(row, self.installation.ledger.people.get(session.person)):
            raise Problem(HTTPStatus.NOT_FOUND)

    def _decide(self, session: Session, given: Fields, incident: str) -> str:
        """Keep an approval or a refusal of what the page showed."""
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
        return _decided(asked, approves=decision == "approve")

    def _answer(self, session: Session, given: Fields, incident: str) -> str:
        """Answer a question, which takes a sign-in, or report on what was done by hand."""
        step, text = given.get("step", ""), given.get("text", "")
        if not is_report(self.installation, incident, step):
            if wait := self._by_person.take(session.person):
                raise ApprovalRefused(too_often(wait))
            self.door.sign_in_again(session, given, _answer_to(incident, step))
            self._by_person.put_back(session.person)
        step_decisions.answer(self.installation, incident, step, text, by=session.person)
        return f"`{step}`: noted."

    def _stop(self, session: Session, given: Fields, incident: str) -> str:
        halt(self.installation, incident, by=session.person)
        return "Stopped: nothing more of it begins."

    async def _shown(
        self,
        request: Request,
        session: Session,
        *,
        said: str = "",
        problem: str = "",
        names_of: str = "",
    ) -> Response:
        incident = _incident_of(request)
        html = await self.door.ask(
            partial(self._asking, session, incident, said, problem, names_of)
        )
        return page(html, HTTPStatus.CONFLICT if problem else HTTPStatus.OK)

    def _first(self, session: Session) -> str:
        reader = self.installation.ledger.people.get(session.person)
        there = self.installation.ledger.incidents.all(only_open=True)
        lines = [
            ConsoleLine(
                incident=open_incident_line(self.installation, row),
                duties=duties_of(self.installation, row.id, row.mode),
                asks=tuple(
                    one.summary
                    for one in pending_requests(self.installation, row.id, session.person)
                    if not one.obstacle
                ),
            )
            for row in reversed(there)
            if is_visible(row, reader)
        ]
        lines.sort(key=lambda line: (not line.asks, line.incident.severity))
        return first_page(
            ConsoleReport(heading=heading(self.installation), lines=tuple(lines)),
            self.door.seat(session),
        )

    def _asking(
        self, session: Session, incident: str, said: str, problem: str, names_of: str
    ) -> str:
        self._refuse_hidden(session, incident)
        report = incident_report(self.installation, incident, is_verified=False)
        asked = tuple(
            named(self.installation, incident, session.person, one) if one.step == names_of else one
            for one in pending_requests(self.installation, incident, session.person)
        )
        asked = tuple(
            replace(one, challenges={DECIDE: self.door.challenge(_answer_to(incident, one.step))})
            if one.does == DECIDE
            else one
            for one in asked
        )
        return asking_page(report, asked, self.door.seat(session), said=said, problem=problem)


def _answer_to(incident: str, step: str) -> str:
    """Return what a passkey's challenge is for, when it answers a question."""
    return f"answer {incident} {step}"


def _incident_of(request: Request) -> str:
    """Give the incident of a path; what cannot be one reaches neither the ledger nor a log."""
    incident = str(request.path_params["incident"])
    if not INCIDENT.fullmatch(incident):
        raise Problem(HTTPStatus.NOT_FOUND)
    return incident


def _path_of(request: Request) -> str:
    return f"{PATH}/{request.path_params['incident']}"


def _decided(asked: Question, *, approves: bool) -> str:
    if not approves:
        return f"`{asked.step}`: refused. Nothing of it is done."
    told = f"`{asked.step}`: signed, {asked.given} of {asked.needed}."
    if asked.given < asked.needed or not asked.hold_seconds:
        return told
    return (
        f"{told} It begins in {asked.hold_seconds} s; to stop it until then, the button is below."
    )
