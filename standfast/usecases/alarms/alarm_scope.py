"""Scope of an alarm: one backup host, one vault, or the whole ledger.

Several hosts may share one ledger, the database in which alarms are recorded.
"""

from enum import StrEnum


class Scope(StrEnum):
    """The hosts that detect the same fault and send only one notification."""

    HOST = "host"  # one backup host, for an alarm about its backups
    VAULT = "vault"  # all hosts with the same vault
    LEDGER = "ledger"  # all hosts


_OF_HOST = ("freshness", "jump")  # the age of the newest recovery point, an anomaly of a backup
_OF_LEDGER = ("deadline", "host", "practice", "worker")


def scope_of(subject: str) -> Scope:
    """Return the scope of an alarm's subject, such as `freshness.SET`."""
    kind = subject.partition(".")[0]
    if kind in _OF_HOST:
        return Scope.HOST
    return Scope.LEDGER if kind in _OF_LEDGER else Scope.VAULT
