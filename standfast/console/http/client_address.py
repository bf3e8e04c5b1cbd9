"""Whose request it is: the address of the connection, or what a proxy that we trust says.

Rules
- Only a proxy that the configuration names is believed, and of what it forwards only the last
  address that is not such a proxy's own: what stands before it anybody may have written.
- Where somebody's share is counted, a /64 of IPv6 is one address: a single host has all of it.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

from starlette.requests import Request

from standfast.triggers.suricata import Network

Address: TypeAlias = IPv4Address | IPv6Address
_FORWARDED = "x-forwarded-for"
_MOST_HOPS = 20


def is_among(address: Address | None, networks: Sequence[Network]) -> bool:
    """Is the address in one of the networks? An unknown one is in none."""
    return address is not None and any(
        address.version == one.version and address in one for one in networks
    )


def peer_of(request: Request) -> Address | None:
    """Give the address of the connection itself."""
    return address_in(request.client.host if request.client else "")


def client_of(request: Request, trusted: Sequence[Network]) -> Address | None:
    """Give the address of who asks; None when nobody can say."""
    found = peer_of(request)
    if not is_among(found, trusted):
        return found
    hops = ",".join(request.headers.getlist(_FORWARDED)).split(",")
    for hop in reversed(hops[-_MOST_HOPS:]):
        found = address_in(hop.strip())
        if not is_among(found, trusted):
            return found
    return found


def counted_as(address: Address | None) -> str:
    """Give the name under which an address has its share."""
    if isinstance(address, IPv6Address):
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


def address_in(text: str) -> Address | None:
    """Read an address; None when it is none."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
