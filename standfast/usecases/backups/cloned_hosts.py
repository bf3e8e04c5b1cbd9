"""Cloned hosts: two machines with one backup host name, after a copy.

A copied configuration or virtual machine writes to the vault under the same name and key. No data
is lost, because the vault accepts each sequence number once. But each machine finds recovery points
of the other machine, and then uploads everything again. If the machines share a ledger (the
database of runs), a backup of one machine hides a missed backup of the other machine.

Rules
- Clones are detected from the ledger, which names the machine of each run. The vault (the folder or
  bucket with the backups) names no machines: from the vault, a machine learns only that a recovery
  point under its host name is not its own. The vault has no lock for a host name, because hosts
  cannot delete from the vault, and therefore no host could release the lock.
- A clone is certain if the other machine backed up after a backup of this machine. If this machine
  never backed up before, the two machines may be clones, or this machine may have replaced the
  other machine. The program cannot distinguish these two cases.
- A clone is reported until the other machine backs up under another name, or for a week after its
  last backup.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from standfast.continuity.clock_skew import is_in_far_future
from standfast.ledger.runs.run_record import Origin, RunRecord
from standfast.records import Json, timestamp

LATELY = timedelta(days=7)
APART = (
    "give one of the machines its own name and keys with `standfast backup owner add-writer`; see "
    "docs/roles.md, A host was copied"
)


@dataclass(frozen=True, kw_only=True)
class ClonedHost:
    """Another machine that backs up, or backed up, under this host's name."""

    host: str
    machine: str
    seen_at: datetime  # when its last backup began
    is_sure: bool

    @property
    def sentence(self) -> str:
        """Return the description for people."""
        seen = f"{self.machine}, last at {self.seen_at:%Y-%m-%d %H:%M}Z"
        if self.is_sure:
            return (
                f"{self.host} also backs up from another machine: {seen}. A backup of one machine "
                "hides a missed backup of the other, and each uploads everything again"
            )
        return f"until now {self.host} backed up from another machine: {seen}"

    @property
    def what_to_do(self) -> str:
        """Return the action for a person."""
        if self.is_sure:
            return APART
        return f"nothing, if this machine replaced it; if both back up, {APART}"

    def as_json(self) -> dict[str, Json]:
        return {
            "host": self.host,
            "machine": self.machine,
            "seen_at": timestamp(self.seen_at),
            "is_sure": self.is_sure,
        }


def find_cloned_host(
    backups: Iterable[RunRecord], local: Origin, now: datetime
) -> ClonedHost | None:
    """Return the last other machine that backed up under this host's name.

    Return None if no other machine did so in the last week, or if this machine replaced the other
    machine.
    """
    own: list[datetime] = []
    # By machine: the start of its last backup, and whether its host name and vault are the local
    # host name and vault.
    newest: dict[str, tuple[datetime, bool]] = {}
    for run in backups:
        origin, began = Origin.of(run.summary), run.started_at
        if not origin.machine or is_in_far_future(began, now) or now - began > LATELY:
            continue
        is_same = (origin.host, origin.vault) == (local.host, local.vault)
        if origin.machine != local.machine:
            known = newest.get(origin.machine, (began, is_same))
            newest[origin.machine] = max((began, is_same), known)
        elif is_same:
            own.append(began)
    others = [(began, machine) for machine, (began, is_same) in newest.items() if is_same]
    if not others:
        return None
    seen_at, machine = max(others)
    is_sure = bool(own) and min(own) < seen_at
    if own and not is_sure:
        return None  # this machine has replaced the other machine
    return ClonedHost(host=local.host, machine=machine, seen_at=seen_at, is_sure=is_sure)


def forked_at(backups: Iterable[RunRecord], local: Origin, now: datetime) -> datetime | None:
    """Return the start of the newest backup that found a foreign point.

    A foreign point is a recovery point under the name of this host that this machine did not make.
    The cause is a machine with another ledger that uses this name, or a rollback of this machine to
    an earlier state. Return None if the ledger names another machine, because `find_cloned_host`
    reports that machine.
    """
    found: datetime | None = None
    for run in backups:
        origin, began = Origin.of(run.summary), run.started_at
        if (origin.host, origin.vault) != (local.host, local.vault):
            continue
        if is_in_far_future(began, now) or now - began > LATELY:
            continue
        if origin.machine not in ("", local.machine):
            return None
        if run.summary.get("has_foreign_point"):
            found = max(began, found or began)
    return found
