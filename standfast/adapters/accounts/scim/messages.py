"""SCIM 2.0 messages, also of Bulk: encoding and parsing, filters, paths.

Rules
- A name comes from a person: in a filter it is a JSON string (RFC 7644 3.4.2.2), whatever it
  contains.
- An id comes from the directory: in a path it is one segment, and cannot lead to a parent path.
- An answer that is not SCIM raises `Unavailable`. An `active` that is not a boolean is treated as
  missing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from standfast.errors import Unavailable
from standfast.retry_rules import RETRY_SECONDS

GARBLED = "the answer is not SCIM. Check that the address is the part before /Users."


@dataclass(frozen=True, kw_only=True)
class ScimAccount:
    """One account as the directory shows it."""

    id: str
    name: str
    is_active: bool | None  # None when the directory does not show it


@dataclass(frozen=True, kw_only=True)
class BulkOffer:
    """The limits of one request to /Bulk."""

    operations: int
    payload_bytes: int


@dataclass(frozen=True, kw_only=True)
class Page:
    """A part of a list; `total` is the length of the whole, if reported."""

    accounts: tuple[ScimAccount, ...]
    total: int


def name_filter(name: str) -> str:
    """Return the filter for exactly this user name."""
    return any_filter("userName", [name])


def any_filter(attribute: str, values: Sequence[str]) -> str:
    """Return the filter for any of these values of one attribute."""
    return " or ".join(
        f"{attribute} eq {json.dumps(value, ensure_ascii=False)}" for value in values
    )


def account_path(account_id: str) -> str:
    """Return the path of an account; `Unavailable` for an unsafe id."""
    if account_id in ("", ".", ".."):
        raise _invalid_answer()
    return f"/Users/{quote(account_id, safe='')}"


def set_active(is_active: bool) -> bytes:
    """Return the body that changes the flag (RFC 7644 3.5.2.3)."""
    return json.dumps(_change(is_active)).encode()


def bulk_request(wanted: Mapping[str, bool]) -> bytes:
    """Return the body that changes many accounts, by id (RFC 7644 3.7).

    The body has no `failOnErrors`, because a failed operation must not prevent the others.
    """
    return json.dumps(
        {
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"],
            "Operations": [
                {
                    "method": "PATCH",
                    "path": account_path(account_id),
                    "bulkId": f"{place}",
                    "data": _change(is_active),
                }
                for place, (account_id, is_active) in enumerate(wanted.items())
            ],
        }
    ).encode()


def read_bulk(body: bytes, wanted: Mapping[str, bool]) -> dict[str, int]:
    """Return the status of each operation, by account id; some may be missing.

    Servers echo the `bulkId`, or return only the account's address (RFC 7644 3.7: `location`).
    """
    value = _json(body)
    operations = value.get("Operations") if isinstance(value, dict) else None
    if not isinstance(operations, list):
        raise _invalid_answer()
    by_place = {f"{place}": account_id for place, account_id in enumerate(wanted)}
    by_path = {account_path(account_id): account_id for account_id in wanted}
    statuses: dict[str, int] = {}
    for operation in operations:
        if not isinstance(operation, dict):
            raise _invalid_answer()
        location = operation.get("location")
        path = "/Users/" + location.rpartition("/Users/")[2] if isinstance(location, str) else ""
        account_id = by_path.get(path) or by_place.get(str(operation.get("bulkId")))
        status = _status(operation.get("status"))
        if account_id is not None and status is not None:
            statuses[account_id] = status
    return statuses


def read_bulk_offer(body: bytes) -> BulkOffer | None:
    """Return the limits of /Bulk (RFC 7643 5); None if it is not supported."""
    value = _json(body)
    bulk = value.get("bulk") if isinstance(value, dict) else None
    if not isinstance(bulk, dict) or bulk.get("supported") is not True:
        return None
    operations, size = bulk.get("maxOperations"), bulk.get("maxPayloadSize")
    if not isinstance(operations, int) or not isinstance(size, int) or operations < 1:
        return None
    return BulkOffer(operations=operations, payload_bytes=size)


def read_page(body: bytes) -> Page:
    """Parse a list of accounts.

    A list without `Resources` is empty, as RFC 7644 3.4.2 permits.
    """
    value = _json(body)
    if not isinstance(value, dict):
        raise _invalid_answer()
    resources, total = value.get("Resources", []), value.get("totalResults")
    if not isinstance(resources, list) or not isinstance(total, int):
        raise _invalid_answer()
    return Page(accounts=tuple(_account(resource) for resource in resources), total=total)


def read_account(body: bytes) -> ScimAccount:
    """Parse one account."""
    return _account(_json(body))


def _change(is_active: bool) -> dict[str, object]:
    return {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
        "Operations": [{"op": "replace", "path": "active", "value": is_active}],
    }


def _status(value: object) -> int | None:
    """Parse a status: digits as in the RFC's example, a number or an object."""
    if isinstance(value, dict):
        value = value.get("code")
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) == 3 else None


def _account(value: object) -> ScimAccount:
    if not isinstance(value, dict):
        raise _invalid_answer()
    account_id, name, active = value.get("id"), value.get("userName"), value.get("active")
    if not isinstance(account_id, str) or not isinstance(name, str):
        raise _invalid_answer()
    account_path(account_id)
    return ScimAccount(
        id=account_id, name=name, is_active=active if isinstance(active, bool) else None
    )


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise _invalid_answer() from None


def _invalid_answer() -> Unavailable:
    return Unavailable(GARBLED, retry_after_seconds=RETRY_SECONDS)
