"""What a copy of the vault did: how many objects of each kind, and what is not right."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from backup.records import Finding, Progress

Kind = Literal["root records", "documents", "keep records", "packs", "snapshots", "key records"]
KINDS: tuple[Kind, ...] = (
    "root records", "documents", "keep records", "packs", "snapshots", "key records",
)  # fmt: skip


@dataclass(kw_only=True, slots=True)
class Count:
    """How many objects of a kind were copied, and how many the copy had."""

    copied: int = 0
    bytes: int = 0
    already: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicationReport:
    """The outcome of one call of `replicate_vault`."""

    counts: Mapping[Kind, Count]
    findings: tuple[Finding, ...]

    @property
    def is_whole(self) -> bool:
        """Whether everything that the vault holds is in the copy, and nothing is wrong there."""
        return all(finding.severity != "error" for finding in self.findings)


class Tally:
    """Counts objects as they go, and tells how far it is."""

    def __init__(self, progress: Callable[[Progress], None] | None) -> None:
        self.counts: dict[Kind, Count] = {kind: Count() for kind in KINDS}
        self._progress = progress

    def already(self, kind: Kind) -> None:
        """The copy has the object."""
        self.counts[kind].already += 1

    def copied(self, kind: Kind, name: str, size: int) -> None:
        """The object was put; a size of 0 says that somebody else had put it meanwhile."""
        if not size:
            self.already(kind)
            return
        count = self.counts[kind]
        count.copied += 1
        count.bytes += size
        if self._progress is not None:
            done = sum(one.bytes for one in self.counts.values())
            self._progress(
                Progress(
                    phase="storing",
                    path=name,
                    files=sum(one.copied for one in self.counts.values()),
                    bytes_done=done,
                    bytes_new=done,
                )
            )
