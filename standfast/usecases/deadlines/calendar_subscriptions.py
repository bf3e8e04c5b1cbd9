"""Subscriptions to the calendar of due dates, each by a secret address.

Rules
- An address is shown once, when it is created. The database stores a MAC of the address, from which
  the address cannot be derived. A person with access to the database alone cannot forge an address,
  because the database does not contain the key of the MAC.
- An address that is replaced or revoked is invalid from that moment. Addresses of other subscribers
  stay valid.
- A calendar contains only the due dates of live incidents, not of exercises (`calendar_feed`). A
  quiet incident, which is hidden from most people, is included only if an enrolled person with the
  subscriber's name may see it.
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
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")  # the form of `token_urlsafe(32)`
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


def make_address(installation: Installation, name: str) -> str:
    """Return a new path for a subscriber; the earlier path becomes invalid."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"subscriber {name!r}: not valid. Use lower-case letters, digits, - _ and ., at most "
            "40 characters."
        )
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    detail = {"subscriber": name, "address": _mac(installation, token)}
    installation.record_event(_SUBJECT, _MADE, detail)
    return f"/calendar/{token}.ics"


def revoke_address(installation: Installation, name: str) -> None:
    """Revoke a subscriber's address; raise UsageError if there is none."""
    if name not in _known(installation):
        raise UsageError(
            f"subscriber {name!r}: no address. List subscribers with `standfast deadline feed`."
        )
    installation.record_event(_SUBJECT, _REVOKED, {"subscriber": name})


def subscribers(installation: Installation) -> dict[str, datetime]:
    """Return the subscribers with a valid address, and its time of creation."""
    return {name: made_at for name, (made_at, _) in _known(installation).items()}


def is_address(token: str) -> bool:
    """Return whether the token has the form of an address, valid or not."""
    return bool(_TOKEN.fullmatch(token))


def subscriber_of(installation: Installation, token: str) -> str:
    """Return the subscriber of a valid address, or ""."""
    if not is_address(token):
        return ""
    mac, found = _mac(installation, token), ""
    for name, (_, known) in _known(installation).items():
        found = name if hmac.compare_digest(mac, known) else found
    return found


def _known(installation: Installation) -> dict[str, tuple[datetime, str]]:
    """Return creation time and MAC of each valid address, by subscriber."""
    found: dict[str, tuple[datetime, str]] = {}
    for event in installation.ledger.timeline(_SUBJECT):
        name = str(event.detail["subscriber"])
        found.pop(name, None)
        if event.action == _MADE:
            found[name] = (event.at, str(event.detail["address"]))
    return found


def _mac(installation: Installation, token: str) -> str:
    return installation.ledger.cipher.mac("calendar address", token)
