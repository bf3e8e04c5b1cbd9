"""Records of runs: their origin, and whether their process has ended.

A run is, for example, a backup, a drill (a measured test restore) or a verification. The vault is
the store of the encrypted backups.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from standfast.host_name import host_name
from standfast.records import canonical

# A larger difference between the clocks of this host and of the database server is not corrected.
MAX_CLOCK_DIFFERENCE = timedelta(minutes=10)


def is_gone(host: str, pid: int) -> bool:
    """Return whether a process of this host has ended.

    False for a process of another host, because its state cannot be queried.
    """
    if host != host_name():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # the process runs as another user
    return False


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The host and the vault of a run; an empty field is not known."""

    host: str = ""  # name of the backup host, `backup.writer`
    machine: str = ""  # hostname, because two machines may use copies of one configuration
    vault: str = ""  # public key of the person that owns the vault, which identifies the vault

    def as_json(self) -> dict[str, str]:
        """Return the known fields, for the summary of a run."""
        known = {"host": self.host, "machine": self.machine, "vault": self.vault}
        return {name: value for name, value in known.items() if value}

    @staticmethod
    def of(summary: Mapping[str, Any]) -> "Origin":
        """Read the origin from a run's summary."""
        return Origin(**{name: str(summary.get(name, "")) for name in _ORIGIN})


_ORIGIN = ("host", "machine", "vault")
NOWHERE = Origin()


def running_summary(origin: Origin) -> str:
    """Return the summary that a run has while it runs: its origin."""
    return canonical(origin.as_json()).decode()


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One run, such as a backup, a drill or a verification."""

    id: str
    kind: str
    subject: str  # such as the backup set
    way: str  # how it was started, such as `serve`
    state: str
    started_at: datetime
    ended_at: datetime | None
    summary: dict[str, Any]
