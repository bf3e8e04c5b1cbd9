"""One backup host's name on two machines: a configuration, or a virtual machine, that was copied.

Both write under one name and one key into one vault. Nothing there is lost by it, since the vault
takes each slot once; but each finds points that it did not make and sends all anew, and where they
share a ledger, a night of the one hides that the other's did not come.

Rules
- No lock tells them apart: what is in the vault nobody can take away again. The ledger names the
  machine of each run; a vault alone shows a point that this machine did not make.
- It is sure where the other backed up after this one had. Before this one ever did, it may as well
  be in the other's place, or have been renamed, which no program can know.
- It is over when that machine backs up under another name, or a week after its last backup.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from standfast.continuity.clock_skew import is_to_come
from standfast.ledger.runs.run_record import Origin, RunRecord
from standfast.records import Json, timestamp

LATELY = timedelta(days=7)
APART = (
    "give one of them a name and keys of its own, by `standfast backup owner add-writer`; "
    "docs/roles.md, A host was copied"
)


@dataclass(frozen=True, kw_only=True)
class ClonedHost:
    """Another machine that backs up under this host's name, or did before this one."""

    host: str
    machine: str
    seen_at: datetime  # when its last backup began
    is_sure: bool

    @property
    def sentence(self) -> str:
        """Say it for people."""
        seen = f"{self.machine}, last at {self.seen_at:%Y-%m-%d %H:%M}Z"
        if self.is_sure:
            return (
                f"{self.host} backs up from another machine, too: {seen}. A night of the one hides "
                "that the other's did not come, and each sends all anew"
            )
        return f"so far {self.host} backed up from another machine: {seen}"

    @property
    def what_to_do(self) -> str:
        """Say what a person does about it."""
        if self.is_sure:
            return APART
        return f"nothing, where this one is in its place; where both back up, {APART}"

    def as_json(self) -> dict[str, Json]:
        return {
            "host": self.host,
            "machine": self.machine,
            "seen_at": timestamp(self.seen_at),
            "is_sure": self.is_sure,
        }


def find_cloned_host(
    backups: Iterable[RunRecord], here: Origin, now: datetime
) -> ClonedHost | None:
    """Find the other machine among the backups of a ledger; None where there is none lately."""
    own: list[datetime] = []
    newest: dict[str, tuple[datetime, bool]] = {}  # of each other machine, and whether so named
    for run in backups:
        origin, began = Origin.of(run.summary), run.started_at
        if not origin.machine or is_to_come(began, now) or now - began > LATELY:
            continue
        is_same = (origin.host, origin.vault) == (here.host, here.vault)
        if origin.machine != here.machine:
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
        return None  # this machine is in the place of the other
    return ClonedHost(host=here.host, machine=machine, seen_at=seen_at, is_sure=is_sure)


def forked_at(backups: Iterable[RunRecord], here: Origin, now: datetime) -> datetime | None:
    """Give when the vault last had a point under this host's name that this machine had not made.

    So it is where another machine's ledger is another; and once, where this one was rolled back.
    Of one that has this ledger `find_cloned_host` tells, also that it is over.
    """
    found: datetime | None = None
    for run in backups:
        origin, began = Origin.of(run.summary), run.started_at
        if (origin.host, origin.vault) != (here.host, here.vault):
            continue
        if is_to_come(began, now) or now - began > LATELY:
            continue
        if origin.machine not in ("", here.machine):
            return None
        if run.summary.get("is_fork"):
            found = max(began, found or began)
    return found
