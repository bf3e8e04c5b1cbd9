"""Walk of all sources of a run: interim commits, progress, result.

A walk reads every path of the sources (folders, databases or buckets). It commits an interim
recovery point, with the paths so far, when it is due, and the final recovery point at the end. If
the keeper, the machine that may expire backups, meanwhile marks packs for removal that the recovery
point needs, the run walks the sources again.
"""

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from backup.archiver.blob_writer import BlobWriter
from backup.archiver.manifest_builder import ManifestBuilder
from backup.archiver.pack_writer import Outlet, StoredPack
from backup.archiver.parent_snapshot import ParentSnapshot
from backup.archiver.snapshot_commit import Committer
from backup.archiver.source_archiver import Archiver
from backup.archiver.upload_cache.cache import UploadCache
from backup.errors import NothingToBackUp, SourceFailed
from backup.format.canonical_json import to_path_text
from backup.format.snapshot import Body, State
from backup.records import BackupResult, Progress, SourceOutcome, Unread
from backup.sources import LeftOut, Source
from backup.trust.key_files import Host

if TYPE_CHECKING:
    from backup.archiver.worker_reader import WorkerReader

# If a source had files within this time and has none now, perhaps its disk is not mounted. After
# this time, the source counts as intentionally empty.
_MAYBE_UNMOUNTED_FOR = timedelta(days=30)
PROGRESS_INTERVAL = timedelta(milliseconds=250)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunContext:
    """Values and resources that every walk of a run uses."""

    committer: Committer
    outlet: Outlet
    cache: UploadCache
    host: Host
    set_name: str
    started: datetime
    now: Callable[[], datetime]
    progress: Callable[[Progress], None] | None
    interim_after: timedelta
    interim_packs: int


class Walk:
    """A walk of all sources; also the receiver of the run's events."""

    def __init__(self, context: RunContext, *, bytes_new: int) -> None:
        """`bytes_new` is the number of bytes that earlier walks of the run stored."""
        self._context = context
        self._cache = context.cache
        self._started = context.started
        self._outcomes: list[SourceOutcome] = []
        self._left_out: list[LeftOut] = []
        self.bytes_new = bytes_new
        self._since_commit: set[int] = set()  # packs stored since the last commit, by number
        self._earliest_time = context.started
        self._committed_at = context.started
        self._reported_at = context.started
        cache, set_name = context.cache, context.set_name
        run = cache.runs.begin(set_name, _nanoseconds(context.started))
        self._number = run
        self._is_full_upload = not cache.runs.has_earlier(set_name, run)
        self._data = BlobWriter(
            outlet=context.outlet,
            cache=cache,
            id_key=context.host.id_key,
            set_name=set_name,
            events=self,
        )
        self._builder = ManifestBuilder(cache=cache, run=run, data=self._data)
        self._parent = ParentSnapshot(cache, set_name, run)
        self._archiver = Archiver(
            cache=cache,
            parent=self._parent,
            data=self._data,
            builder=self._builder,
            started=context.started,
            events=self,
        )

    def finish(self, sources: Sequence[Source], scratch: Path) -> BackupResult:
        """Archive every source and commit the recovery point."""
        has_failed = False
        sources = sorted(sources, key=lambda source: source.name.encode())
        with self._worker_reader(sources, scratch) as worker:
            for source in sources:
                has_failed |= not self._archive_source(source, scratch, worker)
        counts = self._archiver.counts
        if not counts.files and not counts.directories:
            problems = "; ".join(item.reason for item in counts.unread)
            raise NothingToBackUp(
                f"no source could be read, so no recovery point was made: {problems}"
            )
        # If a source failed, prune nothing, so that the upload cache (the local list of stored
        # content) keeps the content of this source. Also prune nothing if a source has no files now
        # and had files in the last 30 days, because its disk may not be mounted.
        is_incomplete = has_failed or not counts.files or self._has_emptied_source()
        sequence = self._commit(is_finished=True, may_prune=not is_incomplete)
        warnings = []
        if counts.files:  # if no source has a file, the caller reports it
            warnings += [
                f"source {outcome.name}: no files found. Check that it exists and is mounted."
                for outcome in self._outcomes
                if not outcome.files and outcome.problem is None
            ]
        if counts.silently_changed:
            warnings.append(
                f"{counts.silently_changed} files: content changed although size and times did not."
                " Check for a failing disk or for tampering."
            )
        return BackupResult(
            point=f"{self._context.host.writer}/{sequence:010d}",
            sequence=sequence,
            set_name=self._context.set_name,
            complete=counts.unread_total == 0,
            has_foreign_point=self._context.committer.has_foreign_point,
            has_invalid_snapshots=self._context.committer.has_invalid_snapshots,
            is_store_damaged=False,  # set by `back_up`, which compares the cache with the store
            files=counts.files,
            directories=counts.directories,
            bytes_read=counts.bytes_read,
            bytes_total=counts.bytes_total,
            bytes_new=self.bytes_new,
            bytes_changed=self._data.new_bytes,
            bytes_incompressible=self._data.incompressible_bytes,
            is_full_upload=self._is_full_upload,
            files_new=counts.files_new,
            files_changed=counts.files_changed,
            files_unchanged=counts.files_unchanged,
            unread=tuple(counts.unread),
            unread_total=counts.unread_total,
            left_out=tuple(item for left_out in self._left_out for item in left_out.named),
            left_out_total=sum(left_out.total for left_out in self._left_out),
            vanished=counts.vanished + sum(left_out.vanished for left_out in self._left_out),
            consistent_at=self._consistent_at(),
            started=self._started,
            ended=self._context.now(),
            warnings=tuple(warnings),
        )

    def _has_emptied_source(self) -> bool:
        since = _nanoseconds(self._started - _MAYBE_UNMOUNTED_FOR)
        filled = self._cache.runs.sources_with_files(self._context.set_name, self._number, since)
        return any(outcome.name in filled and not outcome.files for outcome in self._outcomes)

    def _worker_reader(
        self, sources: Sequence[Source], scratch: Path
    ) -> AbstractContextManager["WorkerReader | None"]:
        if not self._parent.is_empty:
            # After an earlier run, little has to be read, because most files are unchanged. A
            # worker process would read all files.
            return nullcontext()
        from backup.archiver.worker_reader import open_worker_reader  # not needed by most runs

        return open_worker_reader(sources, scratch, self._context.now)

    def _archive_source(self, source: Source, scratch: Path, worker: "WorkerReader | None") -> bool:
        counts = self._archiver.counts
        files, size = counts.files, counts.bytes_total
        consistent_at = self._started
        problem = None
        try:
            with (
                source.opened(scratch, self._context.now) as opened,
                closing(self._archiver.same_files),
            ):
                consistent_at = opened.consistent_at
                self._left_out.append(opened.left_out)
                worker_source = None if worker is None else worker.open_source(source, opened)
                self._archiver.archive(worker_source or opened)
        except SourceFailed as error:
            problem = str(error)
            counts.add_unread(Unread(path=source.name, reason=problem))
        self._outcomes.append(
            SourceOutcome(
                name=source.name,
                kind=source.kind,
                consistent_at=consistent_at,
                files=counts.files - files,
                bytes=counts.bytes_total - size,
                problem=problem,
            )
        )
        return problem is None

    def commit_possible(self) -> None:
        if not self._since_commit or self._builder.is_empty:
            return
        moment = self._read_clock()
        if moment < self._committed_at:
            self._committed_at = moment
        if (
            len(self._since_commit) >= self._context.interim_packs
            or moment - self._committed_at >= self._context.interim_after
        ):
            self._commit(is_finished=False, may_prune=False)

    def _read_clock(self) -> datetime:
        moment = self._context.now()
        if moment < self._earliest_time:
            # The clock was set back. Files that change from now on may get a time before the start
            # of the run. Lower the recorded start, so that the next run reads these files.
            self._earliest_time = moment
            self._cache.runs.set_start(self._number, _nanoseconds(moment))
        return moment

    def _commit(self, *, is_finished: bool, may_prune: bool) -> int:
        counts = self._archiver.counts
        state: State = "interim"
        if is_finished:
            state = "partial" if counts.unread_total else "complete"
        self._archiver.add_unchanged_rows()
        tree = self._builder.finish()
        if not is_finished:
            tree = dataclasses.replace(tree, packs=tree.packs | self._since_commit)
        ended = self._read_clock()
        body = Body(
            consistent_at=self._consistent_at(),
            started=self._started,
            ended=ended,
            id_key=self._context.host.id_key,
            root_page=tree.root_page,
            depth=tree.depth,
            files=counts.files,
            directories=counts.directories,
            bytes=counts.bytes_total,
            unread=tuple(counts.unread),
            unread_total=counts.unread_total,
            sources=tuple(self._outcomes),
        )
        committed = self._context.committer.commit(
            run=self._number,
            set_name=self._context.set_name,
            tree=tree,
            body=body,
            time=ended,
            state=state,
            may_prune=may_prune,
            filled=[outcome.name for outcome in self._outcomes if outcome.files],
        )
        self.bytes_new += committed.size_bytes
        self._since_commit.clear()
        self._committed_at = ended
        return committed.sequence

    def _consistent_at(self) -> datetime:
        moments = [outcome.consistent_at for outcome in self._outcomes if outcome.problem is None]
        return min(moments, default=self._started)

    def pack_stored(self, pack: StoredPack) -> None:
        self.bytes_new += pack.size
        self._since_commit.add(pack.number)

    def path_reached(self, path: bytes) -> None:
        if self._context.progress is None:
            return
        moment = self._read_clock()
        if timedelta(0) <= moment - self._reported_at < PROGRESS_INTERVAL:
            return
        self._reported_at = moment
        counts = self._archiver.counts
        self._context.progress(
            Progress(
                phase="reading",
                path=to_path_text(path),
                files=counts.files,
                bytes_done=counts.bytes_read,
                bytes_new=self.bytes_new,
            )
        )


def _nanoseconds(moment: datetime) -> int:
    """Return a moment in nanoseconds since 1970, as file systems count."""
    return int(moment.timestamp() * 1_000_000_000)
