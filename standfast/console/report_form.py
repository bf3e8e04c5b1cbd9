"""Form for staff, "report something suspicious": networks, tokens, limits.

A report creates the plan of an incident, and pages the people that must look at it. It changes no
other system.

Rules
- Inside the configured networks no account is needed; outside, the page returns 404.
- A form is valid for two hours. A form that is sent twice makes one report; a changed form makes
  another report. The token of a form is signed by `serve` and identifies nobody. A page of another
  site cannot read a token, so it cannot send reports through somebody's browser.
- If a report is refused, the form is shown again with the text that the sender entered.
- If nobody can be paged, the response asks the sender of the report to call.
- The page needs no external resource and runs no script; text is shown as text only.
"""

import hmac
import logging
import secrets
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from standfast.console.http.client_address import client_of, is_among, rate_limit_key
from standfast.console.http.problem_details import Problem
from standfast.console.http.rate_limits import Allowance
from standfast.console.http.request_body import read_body
from standfast.console.http.same_origin import refuse_other_sites
from standfast.console.http.work_queue import WorkQueue
from standfast.console.report_form_texts import WORDS, pick
from standfast.errors import StandfastError
from standfast.records import digest
from standfast.triggers.suricata import Network
from standfast.usecases.core.installation import Installation
from standfast.usecases.triggers.message_intake import FormTrigger, receive
from standfast.usecases.triggers.trigger_pages import notification_obstacle

log = logging.getLogger("standfast.serve")

PATH = "/report"
GOOD_FOR_SECONDS = 2 * 3600
_LARGEST_BYTES = 32 * 1024
_LONGEST = {"what": 1_800, "account": 300, "contact": 200}
_PER_ADDRESS_PER_MINUTE = 1
_PER_ADDRESS_AT_ONCE = 5
_NONCE_BYTES = 16


class ReportForm:
    """The page, and the processing of a report."""

    def __init__(
        self,
        *,
        installation: Installation,
        trigger: FormTrigger,
        trusted: tuple[Network, ...],
        queue: WorkQueue,
        note: Callable[[StandfastError | None], None],
    ) -> None:
        """Set up the form.

        `note` is called with the database's error, or with None for a stored report.
        """
        self._note = note
        self._installation, self._trigger, self._trusted, self._queue = (
            installation,
            trigger,
            trusted,
            queue,
        )
        self._by_address = Allowance(per_minute=_PER_ADDRESS_PER_MINUTE, burst=_PER_ADDRESS_AT_ONCE)
        self._by_all = Allowance(
            per_minute=trigger.per_minute, burst=max(1, trigger.per_minute), most=1
        )
        self._template = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        ).get_template("report.html")

    async def show(self, request: Request) -> Response:
        """Return the empty form."""
        self._refuse_outsiders(request)
        return self._page(request, {})

    async def take(self, request: Request) -> Response:
        """Accept a report, or show the form again with the reason of the refusal."""
        address = self._refuse_outsiders(request)
        refuse_other_sites(request)
        given = _fields(await read_body(request, _LARGEST_BYTES))
        words = WORDS[self._language(request)]
        nonce = self._nonce(given.get("token", ""))
        if not nonce:
            return self._page(request, given, words.again, HTTPStatus.BAD_REQUEST)
        if not given.get("what"):
            return self._page(request, given, words.empty, HTTPStatus.BAD_REQUEST)
        seconds = self._by_address.take(address) or self._by_all.take()
        if seconds:
            page = self._page(request, given, words.too_often, HTTPStatus.TOO_MANY_REQUESTS)
            page.headers["retry-after"] = str(max(1, round(seconds)))
            return page
        payload = {name: given.get(name) or None for name in _LONGEST}
        try:
            reference, paging_problem = await self._queue.do(partial(self._receive, payload, nonce))
        except (StandfastError, Problem, ValueError) as error:
            if isinstance(error, StandfastError):
                self._note(error)
            why = str(error) if isinstance(error, StandfastError) else type(error).__name__
            log.warning("trigger %s: a report was refused: %s", self._trigger.name, why)
            return self._page(request, given, words.failed, HTTPStatus.SERVICE_UNAVAILABLE)
        self._note(None)
        log.info("trigger %s: %s", self._trigger.name, reference)
        if paging_problem:
            log.warning("trigger %s: %s: %s", self._trigger.name, reference, paging_problem)
        return self._page(request, {}, reference=reference, is_unpaged=bool(paging_problem))

    def _receive(self, payload: dict[str, str | None], nonce: str) -> tuple[str, str]:
        """Create the plan; return its id and why nobody can be paged, or ""."""
        installation, trigger = self._installation, self._trigger
        message_id = digest([nonce, dict(payload)])
        opened = receive(installation, trigger, payload, message_id=message_id, key=message_id)
        try:
            return opened.incident, notification_obstacle(
                installation.ledger, installation.alarm_channels(), trigger
            )
        except StandfastError as error:
            return opened.incident, str(error)  # the report is stored; its sender should call

    def _page(
        self,
        request: Request,
        given: dict[str, str],
        problem: str = "",
        status: HTTPStatus = HTTPStatus.OK,
        *,
        reference: str = "",
        is_unpaged: bool = False,
    ) -> Response:
        language, nonce = self._language(request), secrets.token_urlsafe(_NONCE_BYTES)
        html = self._template.render(
            language=language,
            words=WORDS[language],
            nonce=nonce,
            path=PATH,
            token=self._token(),
            contact_line=self._installation.config.organisation.contact_for(language),
            problem=problem,
            reference=reference,
            thanks=WORDS[language].thanks_call if is_unpaged else WORDS[language].thanks,
            **{name: given.get(name, "") for name in _LONGEST},
        )
        return HTMLResponse(
            html,
            status_code=status,
            headers={
                "cache-control": "no-store",
                "content-security-policy": f"default-src 'none'; style-src 'nonce-{nonce}'; "
                "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
                "referrer-policy": "same-origin",
                "x-content-type-options": "nosniff",
                "x-frame-options": "DENY",
                "vary": "accept-language",
            },
        )

    def _language(self, request: Request) -> str:
        languages = self._installation.config.organisation.languages
        return pick(request.headers.get("accept-language", ""), languages)

    def _refuse_outsiders(self, request: Request) -> str:
        """Return the client's rate limit key; raise 404 for outside clients."""
        client = client_of(request, self._trusted)
        if not is_among(client, self._trigger.networks):
            raise Problem(HTTPStatus.NOT_FOUND, headers={"connection": "close"})
        return rate_limit_key(client)

    def _token(self) -> str:
        moment = int(self._installation.clock().timestamp())
        nonce = secrets.token_hex(_NONCE_BYTES)
        return f"{nonce}.{moment}.{self._seal(nonce, moment)}"

    def _nonce(self, token: str) -> str:
        """Return the nonce of a valid token of this `serve`, else ""."""
        nonce, _, rest = token.partition(".")
        moment, _, seal = rest.partition(".")
        if not (moment.isascii() and moment.isdigit() and len(moment) <= 12 and seal.isascii()):
            return ""
        age = self._installation.clock().timestamp() - int(moment)
        is_ours = hmac.compare_digest(seal, self._seal(nonce, int(moment)))
        return nonce if is_ours and 0 <= age + 1 <= GOOD_FOR_SECONDS else ""

    def _seal(self, nonce: str, moment: int) -> str:
        return self._installation.ledger.cipher.mac("report form", [nonce, moment])


def _fields(body: bytes) -> dict[str, str]:
    """Parse and truncate the fields of a form; return {} for an invalid form."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=8)
    except ValueError:
        return {}
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in (*_LONGEST, "token") and name not in found:
            kept = "\n\t" if name == "what" else ""
            plain = "".join(
                character
                for character in value.strip()
                if character.isprintable() or character in kept
            )
            found[name] = plain[: _LONGEST.get(name, 200)]
    return found
