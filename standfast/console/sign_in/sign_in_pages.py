"""Sign-in pages of the console; limits of guesses; the reader of a page.

    POST /console/sign-in            with a name and its passphrase, or by a passkey
    POST /console/sign-out

Rules
- Without a session, every path returns the sign-in page. An unknown name and a wrong passphrase get
  the same response after the same work.
- Guesses of passphrases do not lock out a person that uses a passkey, or a browser in which
  somebody signed in before: such attempts are counted separately.
- Every form must have the token of its session and be sent from a page of this server.
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

from standfast.console.http.client_address import client_of, rate_limit_key
from standfast.console.http.problem_details import wait_and_try_again
from standfast.console.http.rate_limits import Allowance
from standfast.console.http.request_body import read_body
from standfast.console.http.same_origin import refuse_other_sites
from standfast.console.http.work_queue import WorkQueue
from standfast.console.sign_in.passkey_challenges import Challenges
from standfast.console.sign_in.sessions import LONGEST_SECONDS, Session, Sessions
from standfast.errors import ApprovalRefused, StandfastError, UsageError
from standfast.people.passphrase_keys import simulate_sign_in
from standfast.reports.console_pages import SignedInReader, SignInReport, sign_in_page
from standfast.triggers.suricata import Network
from standfast.usecases.approvals import step_decisions
from standfast.usecases.core.installation import Installation
from standfast.usecases.people.passkeys import console_origin, passkey_of_signer
from standfast.usecases.reports.result_pages import heading
from standfast.webauthn import site_of

log = logging.getLogger("standfast.serve")

T = TypeVar("T")
Fields = dict[str, str]
Answer = Callable[[Request], Awaitable[Response]]

PATH = "/console"
COOKIE = "__Host-standfast"  # browsers send this cookie only over TLS, and only to this host
BROWSER_COOKIE = (
    "__Host-standfast-browser"  # cookie of a browser in which somebody signed in before
)
INCIDENT = re.compile(r"inc-[0-9]{4}-[0-9]{4,12}")
TRIES_A_MINUTE = 6  # sign-ins of one address or known browser, or signatures of one person
REFRESH = "refresh"  # the query of a page that refreshes itself
SIGNED_OUT = "Your session has ended. Nothing was done."
NOT_WHOLE = "form: incomplete, so nothing was signed. Send it again"

_BROWSER_SECONDS = 180 * 86_400
LONGEST_ACCOUNTS = 20_000  # refuse a longer list: its last name would be cut
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
    "input": 100,
    "accounts": LONGEST_ACCOUNTS,
    "account": 320,
    "address": 100,
    "since": 40,
    "until": 40,
    "contains": 200,
    "reason": 500,
    "page": 6,
}
_TRIES_OF_ALL_A_MINUTE = (
    30  # attempts of all unknown browsers; each needs 64 MiB and a tenth of a second
)
_TRIES_OF_ALL_AT_ONCE = 10
_NONCE_BYTES = 16
_CONSOLE_PAGE = re.compile(rf"/console(/{INCIDENT.pattern}(/review)?|/passkeys)?")
_WRONG_SIGN_IN = "The name or the passphrase is wrong."
_SIGNING_IN = "sign-in"  # the purpose of a challenge
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def sign_in_allowance() -> Allowance:
    """Return the rate limit of one person, address or browser."""
    return Allowance(per_minute=TRIES_A_MINUTE, burst=TRIES_A_MINUTE)


@dataclass(frozen=True, kw_only=True)
class SignedIn:
    """A person that has just signed in."""

    person: str
    passkey: str = ""  # the id of the passkey; "" for a passphrase


_NOBODY = SignedIn(person="")


@dataclass(kw_only=True)
class SignInPages:
    """The sign-in of the console."""

    installation: Installation
    queue: WorkQueue
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
        """Return the routes, each wrapped by `guarded`."""
        return [
            Route(f"{PATH}/sign-in", guarded(self.sign_in), methods=["POST"]),
            Route(f"{PATH}/sign-out", guarded(self.sign_out), methods=["POST"]),
        ]

    async def sign_in(self, request: Request) -> Response:
        """Sign a person in by passphrase or passkey."""
        refuse_other_sites(request)
        given = _fields(await read_body(request, _LARGEST_BYTES))
        path = given.get("path", "")
        path = path if _CONSOLE_PAGE.fullmatch(path) else PATH
        if wait := self._seconds_to_wait(request, given):
            return await self.to_sign_in(path, too_often(wait), HTTPStatus.TOO_MANY_REQUESTS)
        signed_in, problem = await self.ask(partial(self._identify, given))
        if problem:
            log.warning("console: a sign-in was refused")
            return await self.to_sign_in(path, problem, HTTPStatus.FORBIDDEN)
        log.info("console: a person signed in")
        self.sessions.end(request.cookies.get(COOKIE, ""))
        nonce = secrets.token_urlsafe(_NONCE_BYTES)
        answer = RedirectResponse(path, HTTPStatus.SEE_OTHER, headers=_HEADERS)
        for cookie, value, seconds in (
            (COOKIE, self.sessions.begin(signed_in.person, signed_in.passkey), LONGEST_SECONDS),
            (BROWSER_COOKIE, f"{nonce}.{self._seal(nonce, signed_in.person)}", _BROWSER_SECONDS),
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
        """Show the sign-in page, which leads to `path` if that is a console page."""

        def work() -> str:
            return sign_in_page(
                SignInReport(
                    heading=heading(self.installation),
                    path=path if _CONSOLE_PAGE.fullmatch(path) else PATH,
                    problem=problem,
                    site=site_of(console_origin(self.installation)),
                    challenge=self.challenges.issue(_SIGNING_IN),
                )
            )

        return page(await self.ask(work), status)

    async def form(self, request: Request) -> tuple[Session | None, Fields]:
        """Return the session and fields of a form; None without a valid session."""
        refuse_other_sites(request)
        given = _fields(await read_body(request, _LARGEST_BYTES))
        session = await self.session(request)
        if session is None or not session.is_own(given.get("word", "")):
            return None, {}
        return session, given

    async def session(self, request: Request) -> Session | None:
        """Return the session of a request, or None.

        A session ends when its person or passkey is removed. A page that refreshes itself
        (`?refresh`) does not count as activity.
        """
        cookie = request.cookies.get(COOKIE, "")
        session = self.sessions.find(cookie, restarts_idle_time=REFRESH not in request.query_params)
        if session is not None and await self.ask(partial(self._is_over, session)):
            self.sessions.end(cookie)
            return None
        return session

    def challenge(self, purpose: str) -> str:
        """Return a challenge for a passkey that signs in again for one purpose."""
        return self.challenges.issue(purpose)

    def sign_in_again(self, session: Session, given: Fields, purpose: str) -> None:
        """Verify the person's passphrase or passkey again.

        Raise ApprovalRefused if it is wrong.
        """
        if not given.get("passkey"):
            step_decisions.authenticated_person(
                self.installation, session.person, given.get("passphrase", "")
            )
            return
        challenge = self.challenges.read(purpose, given.get("challenge", ""))
        found = passkey_of_signer(self.installation, given["passkey"], challenge)
        self.challenges.use(challenge)
        if found.person != session.person:
            raise ApprovalRefused(f"passkey: it belongs to somebody other than {session.person!r}")

    def reader(self, session: Session) -> SignedInReader:
        """Return the data of the session for the header of a page."""
        origin = console_origin(self.installation)
        passkeys = self.installation.ledger.passkeys.of_person(session.person)
        return SignedInReader(
            person=session.person,
            form_token=session.form_token,
            site=site_of(origin),
            passkeys=tuple(passkey.credential for passkey in passkeys if passkey.origin == origin),
        )

    async def ask(self, work: Callable[[], T]) -> T:
        """Run work in the queue and return its result.

        Raises 503 with Retry-After if the database is unavailable.
        """
        try:
            return await self.queue.do(work)
        except StandfastError as error:
            log.warning("console: %s", error)
            raise wait_and_try_again(
                30, HTTPStatus.SERVICE_UNAVAILABLE, "the ledger does not respond; try again"
            ) from None

    def _is_over(self, session: Session) -> bool:
        if self.installation.ledger.people.objection(session.person, (), self.installation.clock()):
            return True
        if not session.passkey:
            return False
        passkeys = self.installation.ledger.passkeys.of_person(session.person)
        return all(passkey.id != session.passkey for passkey in passkeys)

    def _identify(self, given: Fields) -> tuple[SignedIn, str]:
        """Return the person of a passkey or passphrase, or the error."""
        if given.get("passkey"):
            try:
                challenge = self.challenges.read(_SIGNING_IN, given.get("challenge", ""))
                found = passkey_of_signer(self.installation, given["passkey"], challenge)
                self.challenges.use(challenge)
            except ApprovalRefused as error:
                return _NOBODY, f"{error}."
            return SignedIn(person=found.person, passkey=found.id), ""
        name, passphrase = given.get("name", ""), given.get("passphrase", "")
        try:
            return SignedIn(
                person=step_decisions.authenticated_person(self.installation, name, passphrase)
            ), ""
        except UsageError:  # an unknown name
            simulate_sign_in(passphrase)
        except ApprovalRefused:
            pass
        return _NOBODY, _WRONG_SIGN_IN

    def _seconds_to_wait(self, request: Request, given: Fields) -> float:
        """Count an attempt to sign in; return the seconds to wait."""
        if given.get("passkey"):
            return 0.0  # a passkey cannot be guessed, and its check costs no more than a page
        nonce, _, seal = request.cookies.get(BROWSER_COOKIE, "").partition(".")
        if hmac.compare_digest(seal.encode(), self._seal(nonce, given.get("name", "")).encode()):
            return self._by_browser.take(nonce)
        address = rate_limit_key(client_of(request, self.trusted))
        return self._by_address.take(address) or self._by_all.take()

    def _seal(self, nonce: str, name: str) -> str:
        return self.installation.ledger.cipher.mac("console browser", [nonce, name])


def too_often(seconds: float) -> str:
    """Return the text for too many attempts."""
    return f"Too many attempts. Try again in {max(1, round(seconds))} s."


def page(html: str, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Return a page of the console as a response."""
    return HTMLResponse(html, status_code=status, headers=_HEADERS)


def _fields(body: bytes) -> Fields:
    """Parse and truncate the fields of a form; return {} for an invalid form."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=12)
    except ValueError:
        return {}
    found: Fields = {}
    if any("\0" in value for _, value in pairs):
        return {}  # browsers never send NUL, and PostgreSQL cannot store it
    for name, value in pairs:
        if name in _LONGEST and name not in found:
            found[name] = value[: _LONGEST[name]]
    return found
