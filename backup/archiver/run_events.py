"""Events that the parts of the archiver report to their run."""

from typing import Protocol

from backup.archiver.pack_writer import StoredPack


class RunEvents(Protocol):
    """Receiver of the events; called from one thread only."""

    def path_reached(self, path: bytes) -> None:
        """Show progress: the archiver is at this path."""

    def commit_possible(self) -> None:
        """Commit an interim recovery point (the paths so far) if it is due.

        This method is called after each path, and also while a large file is read. Within a large
        file, only the paths before the file are committed.
        """

    def pack_stored(self, pack: StoredPack) -> None:
        """Count a pack that the store acknowledged."""
