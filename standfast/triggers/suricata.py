"""Suricata's events, and the rules that select alerts.

An event is one line of EVE JSON, Suricata's log. Only alerts are examined.

Rules
- All conditions of a rule must match. A rule without conditions matches nothing.
- A condition on addresses matches either end of the flow, because it depends on the signature which
  end is the attacker.
- A line is identified by its bytes. If it is in two files, or is read twice, it is processed once.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network


@dataclass(frozen=True, kw_only=True)
class EveRule:
    """The conditions for an alert; an empty condition is ignored."""

    signature_ids: frozenset[int] = frozenset()
    least_severe: int | None = None  # least severe accepted value; 1 is the most severe
    categories: frozenset[str] = frozenset()  # compared without case
    networks: tuple[Network, ...] = ()

    def matches(self, event: Mapping[str, object]) -> bool:
        """Return whether the event is an alert that matches the rule."""
        alert = event.get("alert")
        if event.get("event_type") != "alert" or not isinstance(alert, Mapping):
            return False
        matches: list[bool] = []
        if self.signature_ids:
            signature = alert.get("signature_id")
            matches.append(isinstance(signature, int) and signature in self.signature_ids)
        if self.least_severe is not None:
            severity = alert.get("severity")
            matches.append(isinstance(severity, int) and 0 < severity <= self.least_severe)
        if self.categories:
            category = alert.get("category")
            matches.append(isinstance(category, str) and category.casefold() in self.categories)
        if self.networks:
            matches.append(any(self._is_in(event.get(end)) for end in ("src_ip", "dest_ip")))
        return bool(matches) and all(matches)

    def _is_in(self, address: object) -> bool:
        try:
            found = ip_address(str(address))
        except ValueError:
            return False
        return any(
            found.version == network.version and found in network for network in self.networks
        )


def may_be_alert(line: bytes) -> bool:
    """Return whether a line may be an alert.

    This quick test excludes most lines, which are flows and requests.
    """
    return b'"alert"' in line


def looks_like_event(line: bytes) -> bool:
    """Return whether a line has the form of one event."""
    whole = line.strip()
    return whole.startswith(b"{") and whole.endswith(b"}")


def line_id(line: bytes) -> str:
    """Return the id of a line; the line has no line break."""
    return hashlib.sha256(line).hexdigest()


def key_of(event: Mapping[str, object]) -> str:
    """Return the key that joins alerts: the signature and the source address."""
    alert = event.get("alert")
    signature = alert.get("signature_id") if isinstance(alert, Mapping) else None
    return f"{signature} {event.get('src_ip')}"
