"""Report of a replication: numbers of objects by kind, and findings.

The documents are the copies of `FORMAT.md` and `break_glass.py` in the vault; with them, somebody
can restore a backup without this program.
"""

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
    """Numbers of objects of one kind: copied, and already in the copy."""

    copied: int = 0
    bytes: int = 0
    already: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicationReport:
    """Outcome of one call of `replicate_vault`."""

    counts: Mapping[Kind, Count]
    findings: tuple[Finding, ...]

    @property
    def is_whole(self) -> bool:
        """Return whether the copy is complete and without errors."""
        return all(finding.severity != "error" for finding in self.findings)


class Tally:
    """Counter of objects that reports progress."""

    def __init__(self, progress: Callable[[Progress], None] | None) -> None:
        self.counts: dict[Kind, Count] = {kind: Count() for kind in KINDS}
        self._progress = progress

    def count_existing(self, kind: Kind) -> None:
        """Count an object that the copy already has."""
        self.counts[kind].already += 1

    def count_copied(self, kind: Kind, name: str, size: int) -> None:
        """Count a copied object; with size 0, count it as existing."""
        if not size:
            self.count_existing(kind)
            return
        count = self.counts[kind]
        count.copied += 1
        count.bytes += size
        if self._progress is not None:
            done = sum(count.bytes for count in self.counts.values())
            self._progress(
                Progress(
                    phase="storing",
                    path=name,
                    files=sum(count.copied for count in self.counts.values()),
                    bytes_done=done,
                    bytes_new=done,
                )
            )
