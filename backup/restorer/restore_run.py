"""Run of a restore: workers, remaining links and folders, result.

- Workers restore the planned units of work, then the pieces of large files. A unit consists of
  stretches; a stretch is a part of a leaf page of the manifest.
- This process then makes the hard links between files of different stretches, and sets the
  attributes of folders with files of several stretches.
- The target is an empty folder, or contains an interrupted restore of the same request.
- The journal, a file in the target, marks the restore as unfinished. It is removed after the disk
  has all data, and only if no path is missing. If `Request.syncs` is true, the caller waits for the
  disk. If not, a background process waits for the disk and removes the journal.
"""

import ctypes
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, islice
from pathlib import Path

from backup.errors import BackupError, Damaged, NotWritable, StoreUnavailable, UsageError
from backup.format.canonical_json import to_path_text
from backup.format.manifest import Entry
from backup.format.snapshot import Body
from backup.reader.blob_reader import BlobReader
from backup.reader.frame_prefetch import prefetch_frames, reading_threads
from backup.reader.manifest_walk import Page, blobs_of, find_entry, leaves, top_page
from backup.reader.path_selection import PathSample, Selection
from backup.reader.self_healing import BlobHealer
from backup.records import Problem, Progress, RecoveryPoint, RestoreResult
from backup.restorer.background_sync import complete_in_background
from backup.restorer.direct_io import DirectWriter
from backup.restorer.large_files import Piece, pieces_of
from backup.restorer.restore_journal import Target, open_target
from backup.restorer.spool import Spool
from backup.restorer.tree_writer import TreeWriter
from backup.restorer.work_units import FramePlan, Report, Unit, damaged, lost_page
from backup.restorer.worker import RestoreWorker
from backup.restorer.worker_pool import Emit, Worker, run_in_processes
from backup.restorer.worker_tuning import tune_worker_process
from backup.system.process_fork import may_fork

_MOST_WORKERS = 4
# Threads of each worker that read ahead: more for a remote store, where each read waits for its
# answer.
_LOCAL_READS, _REMOTE_READS = 2, 4
_UMASK = re.compile(r"^Umask:\s*([0-7]+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Request for a restore."""

    repository: bytes
    point: RecoveryPoint
    to: Path
    patterns: Sequence[str] | PathSample
    owner: bool  # whether to restore owners
    syncs: bool  # whether to wait for the disk
    workers: int | None  # worker processes; None: one per processor, at most four
    forks: bool  # whether forked processes can use the connection to the store

    def as_journal(self) -> dict[str, object]:
        """Return the fields that must be the same when the restore is resumed."""
        if isinstance(self.patterns, PathSample):
            selected = [f"sample {self.patterns.percent} {self.patterns.seed}"]
        else:
            selected = [to_path_text(os.fsencode(pattern)) for pattern in self.patterns]
        return {
            "format": 1,
            "kind": "restore",
            "repository": self.repository.hex(),
            "point": self.point.name,
            "snapshot": self.point.sha256,
            "patterns": selected,
            "owner": self.owner,
        }


@dataclass(kw_only=True, slots=True)
class _Totals:
    """Sums of all reports so far."""

    files: int = 0
    directories: int = 0
    bytes: int = 0
    owners_lost: int = 0
    bytes_done: int = 0
    problems: list[Problem] = field(default_factory=list)
    made: list[Entry] = field(default_factory=list)
    noted: list[Entry] = field(default_factory=list)
    lost: dict[str, Problem] = field(default_factory=dict)
    healed: dict[str, None] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)

    def add(self, report: Report) -> None:
        self.files += report.files
        self.directories += report.directories
        self.bytes += report.size_bytes
        self.owners_lost += report.owners_lost
        self.bytes_done += report.bytes_done
        self.problems += report.problems
        self.made += report.made
        self.noted += report.noted
        self.lost.update(report.lost)
        self.healed.update(dict.fromkeys(report.healed))
        self.damaged.update(report.damaged)


class Restore:
    """Restore of one recovery point."""

    def __init__(
        self,
        request: Request,
        *,
        body: Body,
        open_reader: Callable[[], tuple[BlobReader, BlobHealer]],
        progress: Callable[[Progress], None] | None,
        now: Callable[[], datetime],
    ) -> None:
        """`open_reader` returns a new reader, and its search for lost blobs."""
        if request.owner and os.geteuid() != 0:
            raise UsageError(
                "owners: only root can restore them. Run as root, or restore without owners."
            )
        self._request = request
        self._body = body
        self._open_reader = open_reader
        self._progress = progress
        self._now = now
        self._selection = Selection(request.patterns)
        self._totals = _Totals()
        self._reads = _LOCAL_READS if request.forks else _REMOTE_READS
        self._healers: list[BlobHealer] = []  # for reads outside of workers

    def run(self) -> RestoreResult:
        """Restore the point; see `Repository.restore`."""
        try:
            return self._run()
        except Damaged as error:
            self._totals.damaged.update(error.packs)
            error.packs = self._damaged_packs()
            raise

    def _run(self) -> RestoreResult:
        started = self._now()
        with open_target(self._request.to, self._request.as_journal()) as target:
            links: Spool[tuple[bytes, bytes]] = Spool()
            postponed: Spool[Entry] = Spool()
            with closing(links), closing(postponed):

                def add(report: Report) -> None:
                    self._add_report(report)
                    self._selection.note_matched(report.matched)
                    for link in report.links:
                        links.add(link)
                    for entry in report.postponed:
                        postponed.add(entry)

                self._work(target, self._units(target), add)
                if not postponed.is_empty:
                    # Start several workers: each postponed file has many pieces.
                    self._work(target, self._pieces(postponed), self._add_report, are_many=True)
                self._finish(target, postponed, links)
            is_whole = not any(problem.is_missing for problem in self._totals.problems)
            syncs_later = is_whole and not self._request.syncs and may_fork()
            if syncs_later:
                complete_in_background(target, sync_file_system)
            elif is_whole or self._request.syncs:
                sync_file_system(target.root)
            if is_whole and not syncs_later:
                target.complete()
        self._show_progress("")
        unmatched = (
            Problem(path=pattern, reason="selects nothing in this point")
            for pattern in self._selection.unmatched()
        )
        return RestoreResult(
            files=self._totals.files,
            directories=self._totals.directories,
            bytes=self._totals.bytes,
            owners_lost=0 if self._request.owner else self._totals.owners_lost,
            # Several workers may report the same unreadable page.
            problems=(*dict.fromkeys(self._totals.problems), *unmatched),
            healed=self._healed_packs(),
            damaged_packs=self._damaged_packs(),
            is_resumed=target.is_resumed,
            is_on_disk=self._request.syncs or (is_whole and not syncs_later),
            started=started,
            ended=self._now(),
        )

    def _damaged_packs(self) -> tuple[str, ...]:
        for healer in self._healers:
            self._totals.damaged.update(healer.take_damaged())
        return tuple(sorted(self._totals.damaged))

    def _healed_packs(self) -> tuple[str, ...]:
        for healer in self._healers:
            self._totals.healed.update(dict.fromkeys(healer.take_healed()))
        return tuple(sorted(self._totals.healed))

    def _add_report(self, report: Report) -> None:
        self._totals.add(report)
        self._show_progress(report.path)

    def _work(
        self,
        target: Target,
        units: Iterator[Unit | Piece],
        emit: Callable[[Report], None],
        *,
        are_many: bool = False,
    ) -> None:
        """Restore units, in several processes if there is more than one unit.

        With `are_many`, the caller knows that there are several units. Then the processes start
        before the first unit is known.
        """
        if not are_many:
            first = list(islice(units, 2))
            if not first:
                return
            units, are_many = chain(first, units), len(first) > 1
        count = self._request.workers or min(_MOST_WORKERS, len(os.sched_getaffinity(0)))
        if count == 1 or not (are_many and self._request.forks and may_fork()):
            with self._worker(target, emit) as worker:
                worker.work(units)
            return

        @contextmanager
        def make_worker(emit: Emit) -> Iterator[Worker[Unit | Piece]]:
            tune_worker_process()
            with self._worker(target, emit) as made:
                yield made.work

        for report in run_in_processes(make_worker, units, count):
            emit(report)

    @contextmanager
    def _worker(
        self,
        target: Target,
        emit: Callable[[Report], None],
        find: Callable[[bytes], Entry | None] | None = None,
    ) -> Iterator[RestoreWorker]:
        reader, healer = self._open_reader()
        with (
            TreeWriter(
                target.root,
                owner=self._request.owner,
                umask=_umask(),
                is_resumed=target.is_resumed,
                direct=DirectWriter() if self._request.syncs else None,
                find=find,
            ) as tree,
            reading_threads(self._reads) as pool,
        ):
            try:
                yield RestoreWorker(
                    reader=reader,
                    healer=healer,
                    tree=tree,
                    selection=Selection(self._request.patterns),
                    root=target.root,
                    is_resumed=target.is_resumed,
                    pool=pool,
                    emit=emit,
                )
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _units(self, target: Target) -> Iterator[Unit]:
        """Plan the units of work; a resumed restore writes in path order."""
        reader, healer = self._open_reader()
        self._healers.append(healer)

        def lost(page: Page, error: BackupError) -> None:
            self._totals.problems.append(lost_page(page, error))

        pages = leaves(reader, top_page(self._body), self._selection, lost)
        with closing(FramePlan(self._body, Selection(self._request.patterns))) as plan:
            with reading_threads(self._reads) as pool:  # the threads end before workers are forked
                steps = ((page, None if target.is_resumed else page.ref) for page in pages)
                for page, content in prefetch_frames(reader, steps, pool):
                    plan.add(page, None if isinstance(content, BackupError) else content)
            yield from plan.units()

    def _pieces(self, postponed: Iterable[Entry]) -> Iterator[Piece]:
        """Yield the pieces of large files, each when a worker asks for it."""
        reader, healer = self._open_reader()
        self._healers.append(healer)
        lost = self._totals.lost
        for entry in postponed:
            end = 0
            try:
                for piece in pieces_of(entry, blobs_of(reader, entry)):
                    if entry.text in lost:
                        break
                    end = piece.end
                    yield piece
                if end < entry.size and entry.text not in lost:
                    lost[entry.text] = damaged(entry, "it has less content than its size says")
            except StoreUnavailable:
                raise
            except BackupError as error:
                lost[entry.text] = damaged(entry, str(error))

    def _finish(
        self, target: Target, postponed: Iterable[Entry], links: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Finish large files, make the remaining links, then finish the folders."""
        reports: list[Report] = []
        with self._worker(target, reports.append, find=self._folder) as worker:
            worker.finish_files(postponed, self._totals.lost)
            for path, first in links:
                worker.link_late(path, first, self._entry)
            worker.finish_folders(self._totals.made, self._totals.noted)
        for report in reports:
            self._totals.add(report)

    def _entry(self, path: bytes) -> Entry | None:
        return find_entry(self._open_reader()[0], self._body, path)

    def _folder(self, path: bytes) -> Entry | None:
        try:
            return self._entry(path)
        except StoreUnavailable:
            raise
        except BackupError:
            return None  # the page that lists the path is unreadable; a worker has reported it

    def _show_progress(self, path: str) -> None:
        if self._progress is None:
            return
        total = 0 if self._request.patterns else self._body.bytes
        self._progress(
            Progress(
                phase="restoring",
                path=path,
                files=self._totals.files,
                bytes_done=self._totals.bytes_done,
                bytes_new=0,
                bytes_total=total,
            )
        )


def _umask() -> int:
    """Return the umask without changing it; 0o777 if it is unknown."""
    try:
        found = _UMASK.search(Path("/proc/self/status").read_text())
    except OSError:
        found = None
    return 0o777 if found is None else int(found[1], 8)


def sync_file_system(root: int) -> None:
    """Wait until the disk has all data of the target's file system."""
    if ctypes.CDLL(None, use_errno=True).syncfs(root) != 0:
        raise NotWritable(
            f"target: the disk did not store everything ({os.strerror(ctypes.get_errno())}). Check"
            " the disk, then run the same command again: it continues from here."
        )
