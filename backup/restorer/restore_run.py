"""Restoring a point: the manifest is handed out in stretches; what they leave over is done last.

- Content and names are the lanes' work (`lane`); large files in `pieces`, hard links between
  stretches and the attributes of folders that several wrote into come when all of them are done.
- A target is written from nothing, or gone on with after a crash: `journal`.
- The journal goes when the disk has everything.  Whether the caller waits for that is its choice;
  see `afterwards`.
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
from backup.reader.path_selection import Selection
from backup.reader.self_healing import BlobHealer
from backup.records import Problem, Progress, RecoveryPoint, RestoreResult
from backup.restorer.background_sync import complete_in_background
from backup.restorer.direct_io import Straight
from backup.restorer.frame_plan import FramePlan
from backup.restorer.large_files import Piece, pieces_of
from backup.restorer.restore_journal import Target, open_target
from backup.restorer.spool import Spool
from backup.restorer.tree_writer import TreeWriter
from backup.restorer.work_units import Report, Unit, damaged, lost_page
from backup.restorer.worker import Lane
from backup.restorer.worker_pool import Emit, Worker, in_processes, in_threads
from backup.restorer.worker_process import settle_in
from backup.restorer.write_lock import Turn
from backup.system.process_fork import may_fork

_MOST_LANES = 4
_MOST_FAR_LANES = 2  # each reads several ranges at once, and all are in the memory of one process
_UMASK = re.compile(r"^Umask:\s*([0-7]+)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is to be restored, and how."""

    repository: bytes
    point: RecoveryPoint
    to: Path
    patterns: Sequence[str]
    owner: bool
    syncs: bool
    lanes: int | None  # None: as many as there are processors, four at most
    forks: bool  # whether the store may be read by processes forked from this one

    def as_journal(self) -> dict[str, object]:
        """What a later call must ask for to go on with this one."""
        return {
            "format": 1,
            "kind": "restore",
            "repository": self.repository.hex(),
            "point": self.point.name,
            "snapshot": self.point.sha256,
            "patterns": [to_path_text(os.fsencode(pattern)) for pattern in self.patterns],
            "owner": self.owner,
        }


@dataclass(kw_only=True, slots=True)
class _Sum:
    """What the lanes reported so far."""

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
    """One restore of one point."""

    def __init__(
        self,
        request: Request,
        *,
        body: Body,
        open_reader: Callable[[], tuple[BlobReader, BlobHealer]],
        progress: Callable[[Progress], None] | None,
        now: Callable[[], datetime],
    ) -> None:
        """`open_reader` gives a reader of its own to each lane."""
        if request.owner and os.geteuid() != 0:
            raise UsageError("only root can restore owners; leave that out, or run as root")
        self._request = request
        self._body = body
        self._open_reader = open_reader
        self._progress = progress
        self._now = now
        self._selection = Selection(request.patterns)
        self._sum = _Sum()
        self._healers: list[BlobHealer] = []  # of what is read here, and not by a lane
        self._turn = Turn()

    def run(self) -> RestoreResult:
        """Do it; see `Repository.restore`."""
        try:
            return self._run()
        except Damaged as error:
            self._sum.damaged.update(error.packs)
            error.packs = self._damaged_packs()
            raise

    def _run(self) -> RestoreResult:
        started = self._now()
        with (
            closing(self._turn),
            open_target(self._request.to, self._request.as_journal()) as target,
        ):
            links: Spool[tuple[bytes, bytes]] = Spool()
            put_off: Spool[Entry] = Spool()
            with closing(links), closing(put_off):
                for report in self._reports(target, self._units(target)):
                    self._take_note(report)
                    self._selection.note_matched(report.matched)
                    for link in report.links:
                        links.add(link)
                    for entry in report.put_off:
                        put_off.add(entry)
                if not put_off.is_empty:  # each is many pieces
                    pieces = self._pieces(put_off)
                    for report in self._reports(target, pieces, are_many=True):
                        self._take_note(report)
                self._finish(target, put_off, links)
            is_whole = not any(problem.is_missing for problem in self._sum.problems)
            is_left = is_whole and not self._request.syncs and may_fork()
            if is_left:
                complete_in_background(target, _sync)
            elif is_whole or self._request.syncs:
                _sync(target.root)
            if is_whole and not is_left:
                target.complete()
        self._tell("")
        unmatched = (
            Problem(path=pattern, reason="selects nothing in this point")
            for pattern in self._selection.unmatched()
        )
        return RestoreResult(
            files=self._sum.files,
            directories=self._sum.directories,
            bytes=self._sum.bytes,
            owners_lost=0 if self._request.owner else self._sum.owners_lost,
            # A page that several lanes could not read is one problem.
            problems=(*dict.fromkeys(self._sum.problems), *unmatched),
            healed=tuple(sorted(self._sum.healed)),
            damaged_packs=self._damaged_packs(),
            is_resumed=target.is_resumed,
            is_on_disk=self._request.syncs or (is_whole and not is_left),
            started=started,
            ended=self._now(),
        )

    def _damaged_packs(self) -> tuple[str, ...]:
        for healer in self._healers:
            self._sum.damaged.update(healer.take_damaged())
        return tuple(sorted(self._sum.damaged))

    def _take_note(self, report: Report) -> None:
        self._sum.add(report)
        self._tell(report.path)

    def _reports(
        self, target: Target, units: Iterator[Unit | Piece], *, are_many: bool = False
    ) -> Iterator[Report]:
        """Have the units worked off; where it is known that they are many, they are not waited for.

        So lanes get ready while the first ones are found.
        """
        if not are_many:
            first = list(islice(units, 2))
            if not first:
                return
            units, are_many = chain(first, units), len(first) > 1
        most = _MOST_LANES if self._request.forks else _MOST_FAR_LANES
        count = self._request.lanes or min(most, len(os.sched_getaffinity(0)))
        if count == 1 or not are_many:
            yield from self._alone(target, units)
            return
        forks = self._request.forks and may_fork()
        run = in_processes if forks else in_threads

        @contextmanager
        def lane(emit: Emit) -> Iterator[Worker[Unit | Piece]]:
            if forks:
                settle_in()
            with self._lane(target, emit) as made:
                yield made.work

        yield from run(lane, units, count)

    def _alone(self, target: Target, units: Iterable[Unit | Piece]) -> Iterator[Report]:
        reports: list[Report] = []
        with self._lane(target, reports.append) as lane:
            for unit in units:
                lane.work(iter((unit,)))
                yield from reports
                reports.clear()

    @contextmanager
    def _lane(
        self,
        target: Target,
        emit: Callable[[Report], None],
        find: Callable[[bytes], Entry | None] | None = None,
    ) -> Iterator[Lane]:
        reader, healer = self._open_reader()
        with (
            TreeWriter(
                target.root,
                owner=self._request.owner,
                umask=_umask(),
                is_resumed=target.is_resumed,
                straight=Straight() if self._request.syncs else None,
                turn=self._turn,
                find=find,
            ) as tree,
            reading_threads() as pool,
        ):
            try:
                yield Lane(
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
        """Plan the leaves by frame; after an interruption files are compared in path order."""
        reader, healer = self._open_reader()
        self._healers.append(healer)

        def lost(page: Page, error: BackupError) -> None:
            self._sum.problems.append(lost_page(page, error))

        pages = leaves(reader, top_page(self._body), self._selection, lost)
        with closing(FramePlan(self._body, Selection(self._request.patterns))) as plan:
            with reading_threads() as pool:  # they end before workers are forked
                steps = ((page, None if target.is_resumed else page.ref) for page in pages)
                for page, content in prefetch_frames(reader, steps, pool):
                    plan.add(page, None if isinstance(content, BackupError) else content)
            yield from plan.units()

    def _pieces(self, put_off: Iterable[Entry]) -> Iterator[Piece]:
        """Cut the files that were put off; each piece is made only when a lane asks for it."""
        reader, healer = self._open_reader()
        self._healers.append(healer)
        lost = self._sum.lost
        for entry in put_off:
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
        self, target: Target, put_off: Iterable[Entry], links: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Finish large files, make the links that had to wait, then finish the folders."""
        reports: list[Report] = []
        with self._lane(target, reports.append, find=self._folder) as lane:
            lane.finish_files(put_off, self._sum.lost)
            for path, first in links:
                lane.link_late(path, first, self._entry)
            lane.finish_folders(self._sum.made, self._sum.noted)
        for report in reports:
            self._sum.add(report)

    def _entry(self, path: bytes) -> Entry | None:
        return find_entry(self._open_reader()[0], self._body, path)

    def _folder(self, path: bytes) -> Entry | None:
        try:
            return self._entry(path)
        except StoreUnavailable:
            raise
        except BackupError:
            return None  # the page that lists it is lost, and that was told

    def _tell(self, path: str) -> None:
        if self._progress is None:
            return
        total = 0 if self._request.patterns else self._body.bytes
        self._progress(
            Progress(
                phase="restoring",
                path=path,
                files=self._sum.files,
                bytes_done=self._sum.bytes_done,
                bytes_new=0,
                bytes_total=total,
            )
        )


def _umask() -> int:
    """The process's umask, read without setting it; when unknown, one that hides everything."""
    try:
        found = _UMASK.search(Path("/proc/self/status").read_text())
    except OSError:
        found = None
    return 0o777 if found is None else int(found[1], 8)


def _sync(root: int) -> None:
    """Wait until the disk has the file system that the target lies on."""
    if ctypes.CDLL(None, use_errno=True).syncfs(root) != 0:
        raise NotWritable(
            f"the disk did not take everything: {os.strerror(ctypes.get_errno())}."
            " Look at it, then run the same command again: it goes on from here"
        )
