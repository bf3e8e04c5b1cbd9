"""PrefetchWorker: on later nights of a large set a second process looks at everything ahead of the
walk.

`backup.sources.files.metadata_prefetch` says what is told, and why nothing is lost when it is not.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from backup.archiver.worker_ipc import BATCH_BYTES, WorkerChannel, WorkerEnd, start_worker
from backup.errors import BackupError, SourceFailed
from backup.sources import OpenSource, Source
from backup.sources.files.metadata_prefetch import FolderListing, MetadataPrefetch

_FIRST_BYTES = 32 * 1024  # which the walk waits for


class PrefetchWorker:
    """The process that surveys; use `surveying`."""

    def __init__(self, channel: WorkerChannel) -> None:
        self._line = channel

    @contextmanager
    def of(self, source: Source, opened: OpenSource) -> Iterator[None]:
        """Have a source surveyed within the block, if it can be."""
        if not self._line.ask(source):
            yield
            return
        survey = MetadataPrefetch(self._told())
        opened.rely_on(survey)
        try:
            yield
        except SourceFailed:
            survey.close()
            raise
        survey.close()

    def _told(self) -> Iterator[FolderListing]:
        with suppress(BackupError):  # it died, or met what the walk meets as well
            while (value := self._line.receive()[0]) is not None:
                if isinstance(value, BackupError):
                    raise value
                yield from value


@contextmanager
def surveying(
    sources: Sequence[Source], scratch: Path, now: Callable[[], datetime]
) -> Iterator[PrefetchWorker | None]:
    """Start the process, and end it with the block; None where there can be none."""
    with start_worker(_survey, sources, scratch, now) as channel:
        yield None if channel is None else PrefetchWorker(channel)


def _survey(source: OpenSource, parent: WorkerEnd) -> None:
    folders: list[FolderListing] = []
    size, enough = 0, _FIRST_BYTES
    with suppress(OSError):  # a folder was moved away: the walk does the rest alone
        for told in source.survey():
            folders.append(told)
            size += sum(map(len, told))
            if size > enough:
                parent.send_plain(tuple(folders))
                folders, size, enough = [], 0, min(2 * enough, BATCH_BYTES)
    parent.send_plain(tuple(folders))
