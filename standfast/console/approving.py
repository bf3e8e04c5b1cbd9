"""The console: people look at open incidents and say what they are asked for, on a phone.

    GET  /console                    what is open, and what it asks of whoever is signed in
    POST /console/sign-in            with a name and its passphrase
    POST /console/sign-out
    GET  /console/INCIDENT           its page, with a form for each thing that it asks
    POST /console/INCIDENT/decide    approve or refuse: the passphrase signs the digest shown
    POST /console/INCIDENT/answer    a question, or what came of what was done by hand
    POST /console/INCIDENT/names     whom a step would reach; that look is an event
    POST /console/INCIDENT/stop

Rules
- Without a session there is the sign-in and nothing else, whatever was asked for. A name that is
  unknown and a passphrase that is wrong get one answer, after one and the same work.
- Who guesses passphrases keeps nobody out who signed in before in the same browser, and nobody from
  signing: such tries are counted apart.
- A session looks, answers and stops; it signs nothing: each signature takes the passphrase anew,
  and is refused when the step is planned otherwise than the page showed.
- Every form carries its session's word, and comes from our own pages.
- What a rule refuses comes back on the page in its own words. A passphrase is nowhere in a log.
"""

import hmac
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import field, replace
from functools import partial
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from backup.lazy_dataclass import dataclass
from standfast.console.body import read_body
from standfast.console.client import client_of, counted_as
from standfast.console.desk import Desk
from standfast.console.limits import Allowance
from standfast.console.problems import Problem, wait_and_try_again
from standfast.console.same_site import refuse_other_sites
from standfast.console.sessions import LONGEST_SECONDS, Session, Sessions
from standfast.errors import ApprovalRefused, StandfastError, UsageError
from standfast.ledger.approvals import Question
from standfast.operations import decisions
from standfast.operations.asked import asked_of, named
from standfast.operations.incident import stop as halt
from standfast.operations.place import Place
from standfast.operations.report_duties import duties_of
from standfast.operations.reports import heading, incident_report, open_incident_line
from standfast.people.sign_in import try_for_nobody
from standfast.reports.console import (
    ConsoleLine,
    ConsoleReport,
    Seat,
    SignInReport,
    asking_page,
    first_page,
    sign_in_page,
)
from standfast.triggers.suricata import Network

log = logging.getLogger("standfast.serve")

T = TypeVar("T")
Fields = dict[str, str]
Answer = Callable[[Request], Awaitable[Response]]
Work = Callable[[Session, Fields, str], str]  # a form of an incident; gives what came of it

PATH = "/console"
COOKIE = "__Host-standfast"  # the browser sends it by TLS alone, and to this host alone
BROWSER_COOKIE = "__Host-standfast-browser"  # of a browser in which somebody signed in before
_BROWSER_SECONDS = 180 * 86_400
_LARGEST_BYTES = 16 * 1024
_LONGEST = {
    "name": 64,
    "passphrase": 1_000,
    "path": 100,
    "word": 100,
    "step": 100,
    "digest": 64,
    "decision": 10,
    "text": 2_000,
}
_TRIES_A_MINUTE = 6  # of one address or one known browser to sign in, of one person to sign
_TRIES_OF_ALL_A_MINUTE = 30  # of all other browsers; each takes 64 MiB and a tenth of a second
_TRIES_OF_ALL_AT_ONCE = 10
_NONCE_BYTES = 16
_INCIDENT = re.compile(r"inc-[0-9]{4}-[0-9]{4,12}")
_OUR_PAGE = re.compile(rf"/console(/{_INCIDENT.pattern})?")
_NOT_THEIRS = "That name and that passphrase do not belong together."
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def _some_tries() -> Allowance:
    return Allowance(per_minute=_TRIES_A_MINUTE, burst=_TRIES_A_MINUTE)


@dataclass(kw_only=True)
class Approving:
    """The pages for people; `begin_work` is told of an incident that may go on."""

    place: Place
    desk: Desk
    trusted: tuple[Network, ...]
    begin_work: Callable[[str], None]
    sessions: Sessions = field(default_factory=Sessions)
    _by_address: Allowance = field(default_factory=_some_tries)
    _by_browser: Allowance = field(default_factory=_some_tries)
    _by_person: Allowance = field(default_factory=_some_tries)
    _by_all: Allowance = field(
        default_factory=lambda: Allowance(
            per_minute=_TRIES_OF_ALL_A_MINUTE, burst=_TRIES_OF_ALL_AT_ONCE, most=1
        )
    )

    def routes(self, guarded: Callable[[Answer], Answer]) -> list[Route]:
        """Give the paths, each wrapped by `guarded`."""
        forms: dict[str, Answer] = {
            "/sign-in": self.sign_in,
            "/sign-out": self.sign_out,
            "/{incident}/decide": partial(self._take, self._decide),
            "/{incident}/answer": partial(self._take, self._answer),
            "/{incident}/names": self.names,
            "/{incident}/stop": partial(self._take, self._stop),
        }
        return [
            Route(PATH, guarded(self.first), methods=["GET"]),
            *(Route(PATH + path, guarded(do), methods=["POST"]) for path, do in forms.items()),
            Route(PATH + "/{incident}", guarded(self.incident), methods=["GET"]),
        ]

    async def first(self, request: Request) -> Response:
        """Show what is open."""
        session = await self._session(request)
        if session is None:
            return await self._to_sign_in(PATH)
        return _page(await self._ask(partial(self._first, session)))

    async def incident(self, request: Request) -> Response:
        """Show one incident."""
        session = await self._session(request)
        if session is None:
            return await self._to_sign_in(_page_of(request))
        return await self._shown(request, session)

    async def sign_in(self, request: Request) -> Response:
        """Let somebody in who has a name here and its passphrase."""
        refuse_other_sites(request)
        given = _fields(await read_body(request, _LARGEST_BYTES))
        name, path = given.get("name", ""), given.get("path", "")
        path = path if _OUR_PAGE.fullmatch(path) else PATH
        if wait := self._too_soon(request, name):
            return await self._to_sign_in(path, _too_often(wait), HTTPStatus.TOO_MANY_REQUESTS)
        if not await self._ask(partial(self._is_theirs, name, given.get("passphrase", ""))):
            log.warning("console: a sign-in was refused")
            return await self._to_sign_in(path, _NOT_THEIRS, HTTPStatus.FORBIDDEN)
        log.info("console: somebody signed in")
        self.sessions.end(request.cookies.get(COOKIE, ""))
        nonce = secrets.token_urlsafe(_NONCE_BYTES)
        answer = RedirectResponse(path, HTTPStatus.SEE_OTHER, headers=_HEADERS)
        for cookie, value, seconds in (
            (COOKIE, self.sessions.begin(name), LONGEST_SECONDS),
            (BROWSER_COOKIE, f"{nonce}.{self._seal(nonce, name)}", _BROWSER_SECONDS),
        ):
            answer.set_cookie(
                cookie, value, int(seconds), secure=True, httponly=True, samesite="strict"
            )
        return answer

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        refuse_other_sites(request)
        given = _fields(await read_body(request, _LARGEST_BYTES))
        cookie = request.cookies.get(COOKIE, "")
        session = self.sessions.find(cookie)
        if session is not None and session.is_own(given.get("word", "")):
            self.sessions.end(cookie)
        answer = RedirectResponse(PATH, HTTPStatus.SEE_OTHER, headers=_HEADERS)
        answer.delete_cookie(COOKIE, secure=True, httponly=True, samesite="strict")
        return answer

    async def names(self, request: Request) -> Response:
        """Show whom a step names."""
        session, given = await self._form(request)
        if session is None:
            return await self._to_sign_in(_page_of(request))
        return await self._shown(request, session, names_of=given.get("step", ""))

    async def _take(self, work: Work, request: Request) -> Response:
        """Do what a form asks for, let a runner go on, and show what came of it."""
        session, given = await self._form(request)
        if session is None:
            return await self._to_sign_in(_page_of(request))
        incident, said, problem = _incident_of(request), "", ""
        try:
            said = await self.desk.do(partial(work, session, given, incident))
            log.info("console: %s: a form was taken", incident)
            self.begin_work(incident)
        except (UsageError, ApprovalRefused) as error:
            problem = str(error)
        except StandfastError as error:
            log.warning("console: %s: %s", incident, error)
            problem = str(error)
        return await self._shown(request, session, said=said, problem=problem)

    def _decide(self, session: Session, given: Fields, incident: str) -> str:
        """Sign an approval or a refusal of what the page showed."""
        if wait := self._by_person.take(session.person):
            raise ApprovalRefused(_too_often(wait))
        decision = given.get("decision", "")
        if decision not in ("approve", "refuse") or not (given.get("step") and given.get("digest")):
            raise UsageError("the form did not arrive whole; nothing was signed")
        asked = decisions.decide(
            self.place,
            incident,
            given["step"],
            session.person,
            given.get("passphrase", ""),
            approves=decision == "approve",
            as_shown=given["digest"],
        )
        return _decided(asked, approves=decision == "approve")

    def _answer(self, session: Session, given: Fields, incident: str) -> str:
        """Answer a question, or report on what was done by hand."""
        step, text = given.get("step", ""), given.get("text", "")
        decisions.answer(self.place, incident, step, text, by=session.person)
        return f"`{step}`: noted."

    def _stop(self, session: Session, given: Fields, incident: str) -> str:
        halt(replace(self.place, actor=session.person), incident)
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
        html = await self._ask(partial(self._asking, session, incident, said, problem, names_of))
        return _page(html, HTTPStatus.CONFLICT if problem else HTTPStatus.OK)

    def _first(self, session: Session) -> str:
        there = self.place.ledger.incidents.all(only_open=True)
        lines = [
            ConsoleLine(
                incident=open_incident_line(self.place, row),
                duties=duties_of(self.place, row.id, row.mode),
                asks=tuple(
                    one.title
                    for one in asked_of(self.place, row.id, session.person)
                    if not one.obstacle
                ),
            )
            for row in reversed(there)
        ]
        lines.sort(key=lambda line: not line.asks)
        return first_page(
            ConsoleReport(heading=heading(self.place), lines=tuple(lines)), _seat(session)
        )

    def _asking(
        self, session: Session, incident: str, said: str, problem: str, names_of: str
    ) -> str:
        try:
            report = incident_report(self.place, incident, is_verified=False)
        except UsageError:
            raise Problem(HTTPStatus.NOT_FOUND) from None
        asked = tuple(
            named(self.place, incident, session.person, one) if one.step == names_of else one
            for one in asked_of(self.place, incident, session.person)
        )
        return asking_page(report, asked, _seat(session), said=said, problem=problem)

    def _is_theirs(self, name: str, passphrase: str) -> bool:
        try:
            decisions.known_person(self.place, name, passphrase)
        except UsageError:  # there is nobody of that name
            try_for_nobody(passphrase)
            return False
        except ApprovalRefused:
            return False
        return True

    def _too_soon(self, request: Request, name: str) -> float:
        """Count a try to sign in; give how long it must wait, if it must."""
        nonce, _, seal = request.cookies.get(BROWSER_COOKIE, "").partition(".")
        if hmac.compare_digest(seal.encode(), self._seal(nonce, name).encode()):
            return self._by_browser.take(nonce)
        address = counted_as(client_of(request, self.trusted))
        return self._by_address.take(address) or self._by_all.take()

    def _seal(self, nonce: str, name: str) -> str:
        return self.place.ledger.vault.mac("console browser", [nonce, name])

    async def _to_sign_in(
        self, path: str, problem: str = "", status: HTTPStatus = HTTPStatus.OK
    ) -> Response:
        def work() -> str:
            return sign_in_page(
                SignInReport(heading=heading(self.place), path=path, problem=problem)
            )

        return _page(await self._ask(work), status)

    async def _form(self, request: Request) -> tuple[Session | None, Fields]:
        """Give who sent a form, and what; no session where it is over, or the form is not its."""
        refuse_other_sites(request)
        given = _fields(await read_body(request, _LARGEST_BYTES))
        session = await self._session(request)
        if session is None or not session.is_own(given.get("word", "")):
            return None, {}
        return session, given

    async def _session(self, request: Request) -> Session | None:
        """Give the session of who asks; it ends when its person is removed."""
        cookie = request.cookies.get(COOKIE, "")
        session = self.sessions.find(cookie)
        if session is not None and await self._ask(partial(self._is_removed, session)):
            self.sessions.end(cookie)
            return None
        return session

    def _is_removed(self, session: Session) -> bool:
        return bool(self.place.ledger.people.objection(session.person, (), self.place.clock()))

    async def _ask(self, work: Callable[[], T]) -> T:
        try:
            return await self.desk.do(work)
        except StandfastError as error:
            log.warning("console: %s", error)
            raise wait_and_try_again(
                30, HTTPStatus.SERVICE_UNAVAILABLE, "the ledger does not answer; ask again"
            ) from None


def _incident_of(request: Request) -> str:
    """Give the incident of a path; what cannot be one reaches neither the ledger nor a log."""
    incident = str(request.path_params["incident"])
    if not _INCIDENT.fullmatch(incident):
        raise Problem(HTTPStatus.NOT_FOUND)
    return incident


def _page_of(request: Request) -> str:
    path = f"{PATH}/{request.path_params['incident']}"
    return path if _OUR_PAGE.fullmatch(path) else PATH


def _seat(session: Session) -> Seat:
    return Seat(person=session.person, form_word=session.form_word)


def _decided(asked: Question, *, approves: bool) -> str:
    if not approves:
        return f"`{asked.step}`: refused. Nothing of it is done."
    told = f"`{asked.step}`: signed, {asked.given} of {asked.needed}."
    if asked.given < asked.needed or not asked.hold_seconds:
        return told
    return (
        f"{told} It begins in {asked.hold_seconds} s; to stop it until then, the button is below."
    )


def _too_often(seconds: float) -> str:
    return f"Too many tries; the next in {max(1, round(seconds))} s."


def _page(html: str, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return HTMLResponse(html, status_code=status, headers=_HEADERS)


def _fields(body: bytes) -> Fields:
    """Read the fields of a form, cut to their length; what is no form is an empty one."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=12)
    except ValueError:
        return {}
    found: Fields = {}
    if any("\0" in value for _, value in pairs):
        return {}  # no browser sends one, and PostgreSQL takes none
    for name, value in pairs:
        if name in _LONGEST and name not in found:
            found[name] = value[: _LONGEST[name]]
    return found
