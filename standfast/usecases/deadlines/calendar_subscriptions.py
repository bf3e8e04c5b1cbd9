"""Who may subscribe to what is due: addresses that nobody can guess, each for one subscriber.

Rules
- An address is shown once, when it is made. The timeline keeps a MAC of it, from which nobody
  finds it, and which who holds the database alone cannot make up.
- One that is made anew or revoked opens nothing from that moment on; the others stay.
- A calendar shows what is due in live incidents, and nothing else; see `due_calendar`. Quiet
  incidents are in the calendar of a subscriber only if a person of that name may see them.
"""

import hmac
import re
import secrets
from datetime import datetime

from standfast.errors import UsageError
from standfast.usecases.core.installation import Installation

_SUBJECT = "calendar"
_MADE, _REVOKED = "calendar.address_made", "calendar.address_revoked"
_TOKEN_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")  # what `token_urlsafe` makes of that many bytes
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


def make_address(installation: Installation, name: str) -> str:
    """Give the path that one subscriber reads; the one that they had before opens nothing now."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} names no subscriber: lower-case letters, digits, - _ and ., at most 40"
        )
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    _note(installation, _MADE, subscriber=name, address=_mac(installation, token))
    return f"/calendar/{token}.ics"


def revoke_address(installation: Installation, name: str) -> None:
    """Let a subscriber's address open nothing from now on; UsageError when there is none."""
    if name not in _known(installation):
        raise UsageError(f"{name!r} has no address; `standfast deadline feed` lists who subscribes")
    _note(installation, _REVOKED, subscriber=name)


def subscribers(installation: Installation) -> dict[str, datetime]:
    """Give who has an address that opens something, and since when."""
    return {name: made_at for name, (made_at, _) in _known(installation).items()}


def is_address(token: str) -> bool:
    """Does it look like the end of one? Nobody is asked."""
    return bool(_TOKEN.fullmatch(token))


def subscriber_of(installation: Installation, token: str) -> str:
    """Return the subscriber of an address that is valid; empty for any other address."""
    if not is_address(token):
        return ""
    mac, found = _mac(installation, token), ""
    for name, (_, known) in _known(installation).items():
        found = name if hmac.compare_digest(mac, known) else found
    return found


def _known(installation: Installation) -> dict[str, tuple[datetime, str]]:
    """Give, by subscriber, when the address was made that holds, and its MAC."""
    found: dict[str, tuple[datetime, str]] = {}
    for event in installation.ledger.timeline(_SUBJECT):
        name = str(event.detail["subscriber"])
        found.pop(name, None)
        if event.action == _MADE:
            found[name] = (event.at, str(event.detail["address"]))
    return found


def _mac(installation: Installation, token: str) -> str:
    return installation.ledger.cipher.mac("calendar address", token)


def _note(installation: Installation, action: str, **detail: str) -> None:
    with installation.ledger.database.write(
        actor=installation.actor,
        subject=_SUBJECT,
        action=action,
        now=installation.clock(),
        detail=detail,
    ):
        pass  # the event is all there is to write
