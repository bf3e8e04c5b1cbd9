"""What SCIM 2.0 puts on the wire, as far as locking accounts needs it; pure.

It owns the filter, the path, the change, and the reading of what a directory answers.

Rules
- A name comes from a person: in a filter it is a JSON string (RFC 7644 3.4.2.2), whatever it holds.
- An id comes from the directory: in a path it is one segment, and never one that climbs.
- An answer that is not SCIM raises `Unavailable`; an `active` that is not a boolean is "not shown".
"""

import json
from dataclasses import dataclass
from urllib.parse import quote

from standfast.accounts.bounded_http import TRY_AGAIN_SECONDS, Answer
from standfast.errors import Unavailable

GARBLED = "the directory's answer is not SCIM; check that the address is what stands before /Users"
# Conflicts of versions and half-heard requests; the one change we make is idempotent.
_WORTH_ANOTHER_TRY = (408, 409, 412, 425)


@dataclass(frozen=True, kw_only=True)
class ScimAccount:
    """One account as the directory shows it."""

    id: str
    name: str
    is_active: bool | None  # None when the directory does not show it


@dataclass(frozen=True, kw_only=True)
class Page:
    """A part of a list; `total` counts the whole, as far as the directory says."""

    accounts: tuple[ScimAccount, ...]
    total: int


def name_filter(name: str) -> str:
    """Write the filter for exactly this user name."""
    return f"userName eq {json.dumps(name, ensure_ascii=False)}"


def account_path(account_id: str) -> str:
    """Write the path of one account; raise `Unavailable` for an id that would name another."""
    if account_id in ("", ".", ".."):
        raise _garbled()
    return f"/Users/{quote(account_id, safe='')}"


def set_active(is_active: bool) -> bytes:
    """Write the change of the one flag (RFC 7644 3.5.2.3)."""
    return json.dumps(
        {
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
            "Operations": [{"op": "replace", "path": "active", "value": is_active}],
        }
    ).encode()


def read_page(body: bytes) -> Page:
    """Read a list of accounts; a list without `Resources` is empty (RFC 7644 3.4.2)."""
    value = _json(body)
    if not isinstance(value, dict):
        raise _garbled()
    resources, total = value.get("Resources", []), value.get("totalResults")
    if not isinstance(resources, list) or not isinstance(total, int):
        raise _garbled()
    return Page(accounts=tuple(_account(resource) for resource in resources), total=total)


def read_account(body: bytes) -> ScimAccount:
    """Read one account."""
    return _account(_json(body))


def status_error(answer: Answer) -> Unavailable:
    """Put a status that is no success into words; one without a time to retry is final."""
    status = answer.status
    if status in (401, 403):
        return Unavailable(
            "the directory refuses our credential; "
            "renew its token, or give it the right to read and change accounts"
        )
    if answer.is_busy:
        return Unavailable(
            "the directory is busy",
            retry_after_seconds=answer.retry_after_seconds or TRY_AGAIN_SECONDS,
        )
    if status < 400:
        return Unavailable(f"the directory redirects (status {status}); write its final address")
    if status >= 500 or status in _WORTH_ANOTHER_TRY:
        return Unavailable(
            f"the directory failed (status {status})", retry_after_seconds=TRY_AGAIN_SECONDS
        )
    return Unavailable(f"the directory does not accept the request (status {status})")


def _account(value: object) -> ScimAccount:
    if not isinstance(value, dict):
        raise _garbled()
    account_id, name, active = value.get("id"), value.get("userName"), value.get("active")
    if not isinstance(account_id, str) or not isinstance(name, str):
        raise _garbled()
    account_path(account_id)
    return ScimAccount(
        id=account_id, name=name, is_active=active if isinstance(active, bool) else None
    )


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise _garbled() from None


def _garbled() -> Unavailable:
    return Unavailable(GARBLED, retry_after_seconds=TRY_AGAIN_SECONDS)
