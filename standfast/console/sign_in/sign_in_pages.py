"""Who is at the console: signing in by passphrase or passkey, sessions, and the forms of a session.

    POST /console/sign-in            with a name and its passphrase, or by a passkey
    POST /console/sign-out

Owns what each page and form of the console asks first. Leaves the pages to their own modules.

Rules
- Without a session there is the sign-in and nothing else, whatever was asked for. A name that is
  unknown and a passphrase that is wrong get one answer, after one and the same work.
- Who guesses passphrases keeps nobody out who signed in before in the same browser, and nobody who
  has a passkey: such tries are counted apart.
- Every form carries its session's word, and comes from our own pages.
"""

import hmac
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from standfast.console.http.client_address import client_of, counted_as
from standfast.console.http.problem_details import wait_and_try_again
from standfast.console.http.rate_limits import Allowance
from standfast.console.http.request_body import read_body
from standfast.console.http.same_origin import refuse_other_sites
from standfast.console.http.work_queue import Desk
from standfast.console.sign_in.passkey_challenges import Challenges
from standfast.console.sign_in.sessions import LONGEST_SECONDS, Session, Sessions
from standfast.errors import ApprovalRefused, StandfastError, UsageError
from standfast.people.passphrase_keys import simulate_sign_in
from standfast.reports.console_pages import Seat, SignInReport, sign_in_page
from standfast.triggers.suricata import Network
from standfast.usecases.approvals import step_decisions
from standfast.usecases.core.installation import Installation
from standfast.usecases.people.passkeys import console_origin, known_by_passkey
from standfast.usecases.reports.result_pages import heading
from standfast.webauthn import site_of

log = logging.getLogger("standfast.serve")

T = TypeVar("T")
Fields = dict[str, str]
Answer = Callable[[Request], Awaitable[Response]]

PATH = "/console"
COOKIE = "__Host-standfast"  # the browser sends it by TLS alone, and to this host alone
BROWSER_COOKIE = "__Host-standfast-browser"  # of a browser in which somebody signed in before
INCIDENT = re.compile(r"inc-[0-9]{4}-[0-9]{4,12}")
TRIES_A_MINUTE = 6  # of one address or one known browser to sign in, of one person to sign
REFRESH = "refresh"  # the query of a page that refreshes itself
SIGNED_OUT = "You were signed out meanwhile; nothing was done."
NOT_WHOLE = "the form did not arrive whole; nothing was signed"

_BROWSER_SECONDS = 180 * 86_400
_LARGEST_BYTES = 32 * 1024
_LONGEST = {
    "name": 64,
    "passphrase": 1_000,
    "passkey": 8_192,
    "challenge": 200,
    "id": 64,
    "path": 100,
    "word": 100,
    "step": 100,
    "digest": 64,
    "decision": 10,
    "text": 2_000,
}
_TRIES_OF_ALL_A_MINUTE = 30  # of all other browsers; each takes 64 MiB and a tenth of a second
_TRIES_OF_ALL_AT_ONCE = 10
_NONCE_BYTES = 16
_OUR_PAGE = re.compile(rf"/console(/{INCIDENT.pattern}|/passkeys)?")
_NOT_THEIRS = "That name and that passphrase do not belong together."
_SIGNING_IN = "sign-in"  # what a challenge is for
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def sign_in_allowance() -> Allowance:
    """Give what one person, address or browser may try."""
    return Allowance(per_minute=TRIES_A_MINUTE, burst=TRIES_A_MINUTE)


@dataclass(frozen=True, kw_only=True)
class Who:
    """Somebody who signs in."""

    person: str
    passkey: str = ""  # the id of that by which; empty where it was the passphrase


_NOBODY = Who(person="")


@dataclass(kw_only=True)
class SignInPages:
    """The door of the console."""

    installation: Installation
    desk: Desk
    trusted: tuple[Network, ...]
    sessions: Sessions = field(default_factory=Sessions)
    challenges: Challenges = field(default_factory=Challenges)
    _by_address: Allowance = field(default_factory=sign_in_allowance)
    _by_browser: Allowance = field(default_factory=sign_in_allowance)
    _by_all: Allowance = field(
        default_factory=lambda: Allowance(
            per_minute=_TRIES_OF_ALL_A_MINUTE, burst=_TRIES_OF_ALL_AT_ONCE, most=1
        )
    )

    def routes(self, guarded: Callable[[Answer], Answer]) -> list[Route]:
        """Give the paths, each wrapped by `guarded`."""
        return [
            Route(f"{PATH}/sign-in", guarded(self.sign_in), methods=["POST"]),
            Route(f"{PATH}/sign-out", guarded(self.sign_out), methods=["POST"]),
        ]

    async def sign_in(self, request: Request) -> Response:
        """Let somebody in who has a name here and its passphrase, or a passkey."""
        refuse_other_sites(request)
        given = _fields(await read_body(request, _LARGEST_BYTES))
        path = given.get("path", "")
        path = path if _OUR_PAGE.fullmatch(path) else PATH
        if wait := self._too_soon(request, given):
            return await self.to_sign_in(path, too_often(wait), HTTPStatus.TOO_MANY_REQUESTS)
        who, problem = await self.ask(partial(self._who, given))
        if problem:
            log.warning("console: a sign-in was refused")
            return await self.to_sign_in(path, problem, HTTPStatus.FORBIDDEN)
        log.info("console: somebody signed in")
        self.sessions.end(request.cookies.get(COOKIE, ""))
        nonce = secrets.token_urlsafe(_NONCE_BYTES)
        answer = RedirectResponse(path, HTTPStatus.SEE_OTHER, headers=_HEADERS)
        for cookie, value, seconds in (
            (COOKIE, self.sessions.begin(who.person, who.passkey), LONGEST_SECONDS),
            (BROWSER_COOKIE, f"{nonce}.{self._seal(nonce, who.person)}", _BROWSER_SECONDS),
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

    async def to_sign_in(
        self, path: str, problem: str = "", status: HTTPStatus = HTTPStatus.OK
    ) -> Response:
        """Show the sign-in, which leads to `path`; to the first page where that is none of ours."""

        def work() -> str:
            return sign_in_page(
                SignInReport(
                    heading=heading(self.installation),
                    path=path if _OUR_PAGE.fullmatch(path) else PATH,
                    problem=problem,
                    site=site_of(console_origin(self.installation)),
                    challenge=self.challenges.give(_SIGNING_IN),
                )
            )

        return page(await self.ask(work), status)

    async def form(self, request: Request) -> tuple[Session | None, Fields]:
        """Give who sent a form, and what; no session where it is over, or the form is not its."""
        refuse_other_sites(request)
        given = _fields(await read_body(request, _LARGEST_BYTES))
        session = await self.session(request)
        if session is None or not session.is_own(given.get("word", "")):
            return None, {}
        return session, given

    async def session(self, request: Request) -> Session | None:
        """Give the session of who asks; it ends when its person is removed, or its passkey.

        A page that refreshes itself (`?refresh`) is no sign of life.
        """
        cookie = request.cookies.get(COOKIE, "")
        session = self.sessions.find(cookie, is_asked=REFRESH not in request.query_params)
        if session is not None and await self.ask(partial(self._is_over, session)):
            self.sessions.end(cookie)
            return None
        return session

    def challenge(self, purpose: str) -> str:
        """Return a challenge for a passkey that signs in again for one purpose."""
        return self.challenges.give(purpose)

    def sign_in_again(self, session: Session, given: Fields, purpose: str) -> None:
        """Verify passphrase or passkey of the session's person; ApprovalRefused otherwise."""
        if not given.get("passkey"):
            step_decisions.authenticated_person(
                self.installation, session.person, given.get("passphrase", "")
            )
            return
        challenge = self.challenges.read(purpose, given.get("challenge", ""))
        found = known_by_passkey(self.installation, given["passkey"], challenge)
        self.challenges.use(challenge)
        if found.person != session.person:
            raise ApprovalRefused(f"this passkey is not one of {session.person!r}")

    def seat(self, session: Session) -> Seat:
        """Give what the pages of a session say of its person."""
        origin = console_origin(self.installation)
        there = self.installation.ledger.passkeys.of(session.person)
        return Seat(
            person=session.person,
            form_word=session.form_word,
            site=site_of(origin),
            passkeys=tuple(one.credential for one in there if one.origin == origin),
        )

    async def ask(self, work: Callable[[], T]) -> T:
        """Have work done at the desk; who asks is told to come again where the ledger is away."""
        try:
            return await self.desk.do(work)
        except StandfastError as error:
            log.warning("console: %s", error)
            raise wait_and_try_again(
                30, HTTPStatus.SERVICE_UNAVAILABLE, "the ledger does not answer; ask again"
            ) from None

    def _is_over(self, session: Session) -> bool:
        if self.installation.ledger.people.objection(session.person, (), self.installation.clock()):
            return True
        if not session.passkey:
            return False
        there = self.installation.ledger.passkeys.of(session.person)
        return all(one.id != session.passkey for one in there)

    def _who(self, given: Fields) -> tuple[Who, str]:
        """Give whose passkey or passphrase this is, or why it is nobody's."""
        if given.get("passkey"):
            try:
                challenge = self.challenges.read(_SIGNING_IN, given.get("challenge", ""))
                found = known_by_passkey(self.installation, given["passkey"], challenge)
                self.challenges.use(challenge)
            except ApprovalRefused as error:
                return _NOBODY, f"{error}."
            return Who(person=found.person, passkey=found.id), ""
        name, passphrase = given.get("name", ""), given.get("passphrase", "")
        try:
            return Who(
                person=step_decisions.authenticated_person(self.installation, name, passphrase)
            ), ""
        except UsageError:  # there is nobody of that name
            simulate_sign_in(passphrase)
        except ApprovalRefused:
            pass
        return _NOBODY, _NOT_THEIRS

    def _too_soon(self, request: Request, given: Fields) -> float:
        """Count a try to sign in; give how long it must wait, if it must."""
        if given.get("passkey"):
            return 0.0  # nobody guesses one, and to look at it costs what a page does
        nonce, _, seal = request.cookies.get(BROWSER_COOKIE, "").partition(".")
        if hmac.compare_digest(seal.encode(), self._seal(nonce, given.get("name", "")).encode()):
            return self._by_browser.take(nonce)
        address = counted_as(client_of(request, self.trusted))
        return self._by_address.take(address) or self._by_all.take()

    def _seal(self, nonce: str, name: str) -> str:
        return self.installation.ledger.cipher.mac("console browser", [nonce, name])


def too_often(seconds: float) -> str:
    """Say that something was tried too often."""
    return f"Too many tries; the next in {max(1, round(seconds))} s."


def page(html: str, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Answer with a page of the console."""
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
