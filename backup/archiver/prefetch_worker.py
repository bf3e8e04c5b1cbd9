"""Prefetch worker: a process that reads metadata ahead of the walk.

Used for later backups of a large set. `backup.sources.files.metadata_prefetch` describes the
protocol and why nothing is lost without it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from backup.archiver.worker_ipc import BATCH_BYTES, WorkerChannel, WorkerEnd, start_worker
from backup.errors import BackupError, SourceFailed
from backup.sources import OpenSource, Source
from backup.sources.files.metadata_prefetch import FolderListing, MetadataPrefetch

_FIRST_BYTES = 32 * 1024  # the walk waits for these


class PrefetchWorker:
    """The prefetch process; use `open_prefetch_worker`."""

    def __init__(self, channel: WorkerChannel) -> None:
        self._line = channel

    @contextmanager
    def prefetch(self, source: Source, opened: OpenSource) -> Iterator[None]:
        """Prefetch the metadata of a source while the block runs, if supported."""
        if not self._line.request(source):
            yield
            return
        prefetch = MetadataPrefetch(self._listings())
        opened.use_prefetch(prefetch)
        try:
            yield
        except SourceFailed:
            prefetch.close()
            raise
        prefetch.close()

    def _listings(self) -> Iterator[FolderListing]:
        with suppress(BackupError):  # the process died, or met a problem that the walk meets too
            while (value := self._line.receive()[0]) is not None:
                if isinstance(value, BackupError):
                    raise value
                yield from value


@contextmanager
def open_prefetch_worker(
    sources: Sequence[Source], scratch: Path, now: Callable[[], datetime]
) -> Iterator[PrefetchWorker | None]:
    """Start the process and end it with the block; None if unsupported."""
    with start_worker(_send_listings, sources, scratch, now) as channel:
        yield None if channel is None else PrefetchWorker(channel)


def _send_listings(source: OpenSource, parent: WorkerEnd) -> None:
    listings: list[FolderListing] = []
    size, batch_bytes = 0, _FIRST_BYTES
    with suppress(OSError):  # a folder was moved away: the walk continues alone
        for listing in source.list_folders():
            listings.append(listing)
            size += sum(map(len, listing))
            if size > batch_bytes:
                parent.send_plain(tuple(listings))
                listings, size, batch_bytes = [], 0, min(2 * batch_bytes, BATCH_BYTES)
    parent.send_plain(tuple(listings))
