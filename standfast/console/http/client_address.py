"""Client address behind proxies, and its network for rate limits.

Rules
- Only configured proxies are trusted. The client is the last forwarded address that is not a
  trusted proxy: the addresses before this address may be forged by the client.
- For rate limits, a /64 network of IPv6 is treated as one address, because one host usually has the
  whole network.
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
    """Return whether the address is in a network; False if it is unknown."""
    return address is not None and any(
        address.version == network.version and address in network for network in networks
    )


def peer_of(request: Request) -> Address | None:
    """Return the address of the connection."""
    return address_in(request.client.host if request.client else "")


def client_of(request: Request, trusted: Sequence[Network]) -> Address | None:
    """Return the address of the client; None if unknown."""
    found = peer_of(request)
    if not is_among(found, trusted):
        return found
    hops = ",".join(request.headers.getlist(_FORWARDED)).split(",")
    for hop in reversed(hops[-_MOST_HOPS:]):
        found = address_in(hop.strip())
        if not is_among(found, trusted):
            return found
    return found


def rate_limit_key(address: Address | None) -> str:
    """Return the name that rate limits use for an address."""
    if isinstance(address, IPv6Address):
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


def address_in(text: str) -> Address | None:
    """Parse an address; return None for invalid text."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
