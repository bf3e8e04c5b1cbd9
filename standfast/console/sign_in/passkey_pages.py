"""Pages that list, add and remove passkeys.

    GET  /console/passkeys
    GET  /console/passkeys.js        the script that calls the device, for these and other pages
    POST /console/passkeys/add       needs the passphrase of the person
    POST /console/passkeys/remove

The sign-in itself is in `sign_in_pages`.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from standfast.console.http.rate_limits import Allowance
from standfast.console.sign_in.sessions import Session
from standfast.console.sign_in.sign_in_pages import (
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
from standfast.reports.console_pages import PasskeyLine, PasskeysReport, passkeys_page
from standfast.usecases.core.installation import Installation
from standfast.usecases.people.passkeys import add_passkey, console_origin, remove_passkey
from standfast.usecases.reports.result_pages import heading
from standfast.webauthn import ALGORITHMS, encoded

log = logging.getLogger("standfast.serve")

Work = Callable[[Session, Fields], str]

_SCRIPT = Path(__file__).with_suffix(".js").read_bytes()
_HERE = f"{PATH}/passkeys"


@dataclass(kw_only=True)
class PasskeyPages:
    """The pages about passkeys."""

    installation: Installation
    sign_in_pages: SignInPages
    _by_person: Allowance = field(default_factory=sign_in_allowance)

    def routes(self, guarded: Callable[[Answer], Answer]) -> list[Route]:
        """Return the routes, each wrapped by `guarded`."""
        forms = {"add": self._add, "remove": self._remove}
        return [
            Route(f"{_HERE}.js", guarded(self.script), methods=["GET"]),
            Route(_HERE, guarded(self.show), methods=["GET"]),
            *(
                Route(
                    f"{_HERE}/{path}", guarded(partial(self._process_form, work)), methods=["POST"]
                )
                for path, work in forms.items()
            ),
        ]

    async def script(self, request: Request) -> Response:
        """Return the script."""
        headers = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}
        return Response(_SCRIPT, media_type="text/javascript", headers=headers)

    async def show(self, request: Request) -> Response:
        """Show a person's passkeys."""
        session = await self.sign_in_pages.session(request)
        if session is None:
            return await self.sign_in_pages.to_sign_in(_HERE)
        return page(await self.sign_in_pages.ask(partial(self._passkeys_page, session)))

    async def _process_form(self, work: Work, request: Request) -> Response:
        session, given = await self.sign_in_pages.form(request)
        if session is None:
            return await self.sign_in_pages.to_sign_in(_HERE, SIGNED_OUT)
        result, problem = "", ""
        try:
            result = await self.sign_in_pages.queue.do(partial(work, session, given))
            log.info("console: the passkeys of a person were changed")
        except StandfastError as error:
            log.warning("console: a form about passkeys was refused: %s", type(error).__name__)
            problem = str(error)
        html = await self.sign_in_pages.ask(partial(self._passkeys_page, session, result, problem))
        return page(html, HTTPStatus.CONFLICT if problem else HTTPStatus.OK)

    def _add(self, session: Session, given: Fields) -> str:
        if wait := self._by_person.take(session.person):
            raise ApprovalRefused(too_often(wait))
        if not (given.get("passkey") and given.get("passphrase")):
            raise UsageError(NOT_WHOLE)
        challenge = self.sign_in_pages.challenges.read(
            _purpose(session), given.get("challenge", "")
        )
        self.sign_in_pages.challenges.use(challenge)
        added = add_passkey(
            self.installation, session.person, given["passphrase"], given["passkey"], challenge
        )
        text = f"Passkey {added.passkey.id[:8]} is added and can sign for you."
        return (
            f"{text} The mail about it failed: {added.mail_problem}" if added.mail_problem else text
        )

    def _remove(self, session: Session, given: Fields) -> str:
        installation = replace(self.installation, actor=session.person)
        removed = remove_passkey(installation, session.person, given.get("id", ""))
        return f"Passkey {removed.id[:8]} is removed and can no longer sign."

    def _passkeys_page(self, session: Session, result: str = "", problem: str = "") -> str:
        passkeys = self.installation.ledger.passkeys.of_person(session.person)
        handle = self.installation.ledger.cipher.mac("passkey handle", [session.person])
        report = PasskeysReport(
            heading=heading(self.installation),
            origin=console_origin(self.installation),
            lines=tuple(
                PasskeyLine(id=passkey.id, added_at=passkey.added_at, origin=passkey.origin)
                for passkey in passkeys
            ),
            challenge=self.sign_in_pages.challenges.issue(_purpose(session)),
            handle=encoded(bytes.fromhex(handle)),
            algorithms=" ".join(map(str, ALGORITHMS)),
        )
        return passkeys_page(
            report, self.sign_in_pages.reader(session), result=result, problem=problem
        )


def _purpose(session: Session) -> str:
    return f"passkey of {session.person}"
