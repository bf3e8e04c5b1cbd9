"""Suricata's events: which of them a rule of the configuration means.

One event is one line of EVE JSON. Only alerts are looked at.

Rules
- All that a rule names must hold; a rule that names nothing means nothing.
- An address is that of either end of the flow: which one is the attacker depends on the signature.
- A line is known by its bytes: what stands in two files, or is read twice, counts once.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network


@dataclass(frozen=True, kw_only=True)
class EveRule:
    """What an alert must be; what is empty may be anything."""

    signature_ids: frozenset[int] = frozenset()
    gravest: int | None = None  # severity: 1 is the gravest; this grave or graver
    categories: frozenset[str] = frozenset()  # in any case
    networks: tuple[Network, ...] = ()

    def means(self, event: Mapping[str, object]) -> bool:
        """Is this an alert that the rule means?"""
        alert = event.get("alert")
        if event.get("event_type") != "alert" or not isinstance(alert, Mapping):
            return False
        held: list[bool] = []
        if self.signature_ids:
            signature = alert.get("signature_id")
            held.append(isinstance(signature, int) and signature in self.signature_ids)
        if self.gravest is not None:
            severity = alert.get("severity")
            held.append(isinstance(severity, int) and 0 < severity <= self.gravest)
        if self.categories:
            category = alert.get("category")
            held.append(isinstance(category, str) and category.casefold() in self.categories)
        if self.networks:
            held.append(any(self._is_in(event.get(end)) for end in ("src_ip", "dest_ip")))
        return bool(held) and all(held)

    def _is_in(self, address: object) -> bool:
        try:
            found = ip_address(str(address))
        except ValueError:
            return False
        return any(found.version == one.version and found in one for one in self.networks)


def may_be_alert(line: bytes) -> bool:
    """Is this worth reading? Most of what a busy sensor writes are flows and requests."""
    return b'"alert"' in line


def looks_like_event(line: bytes) -> bool:
    """Does this look like one event, whatever it says?"""
    whole = line.strip()
    return whole.startswith(b"{") and whole.endswith(b"}")


def line_id(line: bytes) -> str:
    """Name a line, without its end."""
    return hashlib.sha256(line).hexdigest()


def key_of(event: Mapping[str, object]) -> str:
    """Say what an alert is about: the same signature from the same address is the same thing."""
    alert = event.get("alert")
    signature = alert.get("signature_id") if isinstance(alert, Mapping) else None
    return f"{signature} {event.get('src_ip')}"
