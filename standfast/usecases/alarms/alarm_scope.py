"""Scope of an alarm: one backup host, one vault, or the whole ledger."""

from enum import StrEnum


class Scope(StrEnum):
    """The hosts that observe the same fault and share one notification."""

    HOST = "host"  # one backup host, for an alarm about its backups
    VAULT = "vault"  # all hosts with the same vault
    LEDGER = "ledger"  # all hosts


_OF_HOST = ("freshness", "jump")  # the age of the newest recovery point, an anomaly of a backup
_OF_LEDGER = ("deadline", "host", "practice", "worker")


def scope_of(subject: str) -> Scope:
    """Return the scope of a subject, such as `freshness.SET` or `vault`."""
    kind = subject.partition(".")[0]
    if kind in _OF_HOST:
        return Scope.HOST
    return Scope.LEDGER if kind in _OF_LEDGER else Scope.VAULT
