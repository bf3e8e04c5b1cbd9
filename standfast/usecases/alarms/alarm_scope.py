"""Whose an alarm is, by what it is about: of two hosts with one ledger, each has its own nights."""

from enum import StrEnum


class Scope(StrEnum):
    """Who sees the same thing, and is told of it once."""

    HOST = "host"  # the backup host whose nights it is about
    VAULT = "vault"  # all that have that vault
    LEDGER = "ledger"  # everybody


_OF_HOST = ("freshness", "jump")
_OF_LEDGER = ("deadline",)


def scope_of(subject: str) -> Scope:
    """Say whose an alarm is, such as `freshness.SET`, `vault` or `deadline.INCIDENT.DUTY`."""
    what = subject.partition(".")[0]
    if what in _OF_HOST:
        return Scope.HOST
    return Scope.LEDGER if what in _OF_LEDGER else Scope.VAULT
