"""Events that the parts of the archiver report to their run."""

from typing import Protocol

from backup.archiver.pack_writer import Stored


class RunEvents(Protocol):
    """Events of the parts of a run; called from one thread only."""

    def path_reached(self, path: bytes) -> None:
        """Show progress: the archiver is at this path."""

    def commit_possible(self) -> None:
        """Commit an interim recovery point if one is due.

        Called after each path, and within a large file, where the rows before it may be committed.
        """

    def pack_stored(self, pack: Stored) -> None:
        """Count a pack that the store acknowledged."""
