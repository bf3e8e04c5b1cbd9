"""Parser for a selection of log records, from a command or a form."""

import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime

from standfast.errors import UsageError
from standfast.evidence.review.log_timeline import Network, Selection


def read_selection(
    *,
    accounts: Iterable[str] = (),
    addresses: Iterable[str] = (),
    since: str = "",
    until: str = "",
    sources: Iterable[str] = (),
    contains: str = "",
) -> Selection:
    """Parse the fields of a selection; UsageError for a bad address or time."""
    return Selection(
        accounts=frozenset(map(str.casefold, accounts)),
        networks=tuple(map(_network, addresses)),
        since=_time(since),
        until=_time(until),
        sources=frozenset(sources),
        contains=contains.casefold(),
    )


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise UsageError(
            f"address {text!r}: not an address or a network. Write 203.0.113.9 or 203.0.113.0/24"
        ) from None


def _time(text: str) -> datetime | None:
    """Parse an ISO 8601 time; without a zone it is UTC. Return None for ""."""
    if not text:
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"time {text!r}: not a time. Write 2026-11-25T02:00:00Z") from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
