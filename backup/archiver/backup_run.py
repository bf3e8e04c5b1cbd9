"""Making a recovery point: the order of writes, from the first look at the store to the commit.

1. Read the root records, the own head and the keep records; nothing is written for a repository
   that is not ours, and nothing is built on packs that are freed, distrusted or lost.
2. Read the sources; packs are put as they fill, each in the send-log once it is acknowledged.
3. Put the manifest, level by level; read the root and keep records again; then put the signed
   snapshot, which alone makes the point exist.  When the keeper freed meanwhile what the point
   needs, the sources are walked again, which is quick: everything else is known.

- A crash at any moment leaves packs that no snapshot names, and every earlier point as it was.
- A long run commits an interim point every 30 minutes or 4,096 packs, so it can be resumed and
  used.  Within a large file it has what came before, and names the packs of the file so far, so
  that no keeper frees them: the next run reads the file again, and sends only what is new.
- A clock that is set back harms nothing: points keep their order, no change is overlooked.
- A path that cannot be read, or changed meanwhile, makes the point partial and is named in it; a
  source that fails wholly too, and the other sources go on.
- Memory is bounded (about 256 MB) however large the sources are.
"""

import dataclasses
import functools
import gc
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

from backup.archiver.blob_writer import BlobWriter
from backup.archiver.manifest_builder import ManifestBuilder, PacksFreed
from backup.archiver.pack_buffers import PackBuffers
from backup.archiver.pack_writer import PACKS_UNDER_WAY, Outlet, Stored
from backup.archiver.parent_snapshot import ParentSnapshot
from backup.archiver.snapshot_commit import Committer
from backup.archiver.source_archiver import Archiver
from backup.archiver.unusable_packs import UnusablePacks
from backup.archiver.upload_cache.cache import UploadCache, open_upload_cache
from backup.archiver.upload_cache.database import UploadCacheDamaged
from backup.archiver.writer_authorization import admit, check_not_rolled_back, key_problem
from backup.errors import NothingToBackUp, SourceFailed, StoreUnavailable, UsageError
from backup.format.canonical_json import to_path_text
from backup.format.keep_record import PackId
from backup.format.pack import Destination
from backup.format.snapshot import Body, State
from backup.format.strict_fields import NAME
from backup.records import BackupResult, Progress, SourceOutcome, Unread
from backup.sources import LeftOut, Source
from backup.stores import Store
from backup.system.durable_files import make_private_folder
from backup.system.tree_removal import remove_tree
from backup.trust.key_files import Host

if TYPE_CHECKING:
    from backup.archiver.prefetch_worker import PrefetchWorker
    from backup.archiver.worker_reader import Reading

INTERIM_AFTER = timedelta(minutes=30)
INTERIM_PACKS = 4096
_AWAY_AT_MOST = timedelta(days=30)  # a source without a file; then it is meant to be empty
_MOST_WALKS = 3  # of the sources in one run, when the keeper frees what it builds on
_PROGRESS_EVERY = timedelta(milliseconds=250)
_MOST_COMPRESSING = 4  # threads, on a machine of so many processors
_LESS_URGENT = 5  # a third of the time that others get who want the same processor
_COLLECTIONS = (500_000, 20, 20)


P = ParamSpec("P")


def _again_without_a_damaged_log(run: Callable[P, BackupResult]) -> Callable[P, BackupResult]:
    """Begin a run again, once, when it put a send-log aside that was damaged in its midst."""

    @functools.wraps(run)
    def once_more(*these: P.args, **request: P.kwargs) -> BackupResult:
        try:
            return run(*these, **request)
        except UploadCacheDamaged as error:
            why = str(error)  # and no more: what the error holds is memory that the run needs
        result = run(*these, **request)
        return dataclasses.replace(result, warnings=(why, *result.warnings))

    return once_more


@_again_without_a_damaged_log
def back_up(
    *,
    vault: Store,
    host: Host,
    set_name: str,
    sources: Sequence[Source],
    send_log: Path,
    now: Callable[[], datetime],
    distrust: Collection[PackId] = (),
    progress: Callable[[Progress], None] | None = None,
    random: Callable[[int], bytes] = os.urandom,
    interim_after: timedelta = INTERIM_AFTER,
    interim_packs: int = INTERIM_PACKS,
    keys: Store | None = None,
) -> BackupResult:
    """Back the sources up into a new recovery point of the set.

    `distrust` names packs that were found damaged: their content is sent again.

    With the `keys` store the result says whether the key that it seals to is there; the point is
    made without it too, since another copy of the key store may have that key.

    To run it again after any error is safe, and resumes.  `StoreUnavailable`: try again later;
    `Busy`: another run has the send-log; `NothingToBackUp`: every source failed, and no point was
    made.
    """
    _check_request(set_name, sources)
    started = now()
    admission = admit(vault, host)
    domain = admission.domain
    binding = f"{host.repository.hex()} {host.writer} {host.epoch} {domain.id} {domain.generation}"
    with (
        _seldom_collecting(),
        open_upload_cache(send_log, binding) as log,
        closing(PackBuffers()) as buffers,
        # Two pools, since a pack waits for the store.  As many compress as there are processors: if
        # they are more, the one thread that reads, cuts and hashes for them hardly gets its turn.
        ThreadPoolExecutor(
            min(len(os.sched_getaffinity(0)), _MOST_COMPRESSING), initializer=_give_way
        ) as compressing,
        ThreadPoolExecutor(PACKS_UNDER_WAY) as sending,
    ):
        check_not_rolled_back(admission.trust, log)
        outlet = Outlet(
            store=vault,
            destination=Destination(
                repository=host.repository,
                writer=host.writer,
                domain=domain.id,
                generation=domain.generation,
                recipient=domain.recipient,
            ),
            random=random,
            compressing=compressing,
            sending=sending,
            buffers=buffers,
        )
        avoidance = UnusablePacks(vault=vault, writer=host.writer, log=log)
        committer = Committer(
            vault=vault, admission=admission, avoidance=avoidance, host=host, log=log
        )
        avoidance.begin(admission.trust, set_name, now, distrust)
        bytes_new = 0
        try:
            for _ in range(_MOST_WALKS):
                run = _Run(
                    committer=committer,
                    outlet=outlet,
                    log=log,
                    host=host,
                    set_name=set_name,
                    started=started,
                    now=now,
                    progress=progress,
                    interim_after=interim_after,
                    interim_packs=interim_packs,
                    bytes_new=bytes_new,
                )
                try:
                    with _scratch(send_log) as scratch:
                        result = run.finish(sources, scratch)
                except PacksFreed:
                    bytes_new = run.bytes_new
                    continue
                committer.close()
                problems = [problem for _, problem in admission.trust.problems]
                warnings = (
                    *log.warnings, *committer.warnings, *avoidance.warnings, *problems,
                    *result.warnings,
                )  # fmt: skip
                return dataclasses.replace(
                    result,
                    is_store_damaged=committer.is_store_damaged or avoidance.is_store_damaged,
                    key_problem="" if keys is None else key_problem(keys, admission),
                    warnings=tuple(dict.fromkeys(warnings)),
                )
        except BaseException:
            for pool in (compressing, sending):
                pool.shutdown(cancel_futures=True)
            raise
    raise StoreUnavailable(
        f"set {set_name} was read {_MOST_WALKS} times, and each time the keeper freed or distrusted"
        " packs that it needs before it was done; no point was made. Verify the repository, look"
        " at what the keeper does, and run again"
    )


def _give_way() -> None:
    """Have a thread that compresses come after those that read for it, who are few.

    There is always something to compress, but not when they had to wait for their processor.
    """
    if sys.platform == "linux":  # elsewhere it would be the whole process
        with suppress(OSError):  # where a service may not: it is done all the same, and slower
            os.nice(_LESS_URGENT)


class _Run:
    """One call of `back_up`."""

    def __init__(
        self,
        *,
        committer: Committer,
        outlet: Outlet,
        log: UploadCache,
        host: Host,
        set_name: str,
        started: datetime,
        now: Callable[[], datetime],
        progress: Callable[[Progress], None] | None,
        interim_after: timedelta,
        interim_packs: int,
        bytes_new: int,
    ) -> None:
        self._committer = committer
        self._outlet = outlet
        self._log = log
        self._host = host
        self._set_name = set_name
        self._started = started
        self._now = now
        self._progress = progress
        self._interim_after = interim_after
        self._interim_packs = interim_packs
        self._outcomes: list[SourceOutcome] = []
        self._left_out: list[LeftOut] = []
        self.bytes_new = bytes_new
        self._since_commit: set[int] = set()  # packs, by the send-log's numbers
        self._lowest = started
        self._committed_at = started
        self._told_at = started
        run = log.begin_run(set_name, _nanoseconds(started))
        self._number = run
        self._sent_anew = not log.knows(set_name, run)
        data = self._data = self._sink(bundles=True)
        self._builder = ManifestBuilder(
            log=log, run=run, data=data, new_sink=lambda: self._sink(bundles=False)
        )
        earlier = self._earlier = ParentSnapshot(log, set_name, run)
        self._taker = Archiver(
            log=log,
            earlier=earlier,
            sink=data,
            builder=self._builder,
            started=started,
            on_step=self._tell,
            on_chunks=self._commit_interim_when_due,
        )

    def finish(self, sources: Sequence[Source], scratch: Path) -> BackupResult:
        """Take every source and commit the point."""
        has_failed = False
        sources = sorted(sources, key=lambda source: source.name.encode())
        with self._reading(sources, scratch) as reading, self._survey(sources, scratch) as survey:
            for source in sources:
                has_failed |= not self._take(source, scratch, reading, survey)
        counts = self._taker.counts
        if not counts.files and not counts.directories:
            problems = "; ".join(item.reason for item in counts.unread)
            raise NothingToBackUp(f"no source gave anything, so no point was made: {problems}")
        # A run in which a source failed prunes nothing: what is known of that source stays known.
        # Nor does one that met no file where some were lately: a disk not mounted looks so.
        lacks = has_failed or not counts.files or self._has_emptied_source()
        sequence = self._commit(is_finished=True, prunes=not lacks)
        warnings = []
        if counts.files:  # a set without any is told by whoever asked for it
            warnings += [
                f"source {one.name} held no file: see that it is there, and mounted"
                for one in self._outcomes
                if not one.files and one.problem is None
            ]
        if counts.silently_changed:
            warnings.append(
                f"{counts.silently_changed} files have another content although size and times are"
                " as they were: look for a failing disk or for tampering"
            )
        return BackupResult(
            point=f"{self._host.writer}/{sequence:010d}",
            sequence=sequence,
            set_name=self._set_name,
            complete=counts.unread_total == 0,
            is_fork=self._committer.is_fork,
            is_intruded=self._committer.is_intruded,
            is_store_damaged=False,  # whoever holds what was compared with the store says it
            files=counts.files,
            directories=counts.directories,
            bytes_read=counts.bytes_read,
            bytes_total=counts.bytes_total,
            bytes_new=self.bytes_new,
            bytes_changed=self._data.new_bytes,
            bytes_incompressible=self._data.dense_bytes,
            sent_anew=self._sent_anew,
            files_new=counts.files_new,
            files_changed=counts.files_changed,
            files_unchanged=counts.files_unchanged,
            unread=tuple(counts.unread),
            unread_total=counts.unread_total,
            left_out=tuple(item for one in self._left_out for item in one.named),
            left_out_total=sum(one.total for one in self._left_out),
            vanished=counts.vanished + sum(one.vanished for one in self._left_out),
            consistent_at=self._consistent_at(),
            started=self._started,
            ended=self._now(),
            warnings=tuple(warnings),
        )

    def _has_emptied_source(self) -> bool:
        since = _nanoseconds(self._started - _AWAY_AT_MOST)
        lately = self._log.filled(self._set_name, self._number, since)
        return any(one.name in lately and not one.files for one in self._outcomes)

    def _reading(
        self, sources: Sequence[Source], scratch: Path
    ) -> AbstractContextManager["Reading | None"]:
        if not self._earlier.is_empty:
            return nullcontext()  # little is read, and what is known here decides what
        from backup.archiver.worker_reader import open_worker_reader  # most nights need none

        return open_worker_reader(sources, scratch, self._now)

    def _survey(
        self, sources: Sequence[Source], scratch: Path
    ) -> AbstractContextManager["PrefetchWorker | None"]:
        if not self._earlier.is_large:
            return nullcontext()
        from backup.archiver.prefetch_worker import surveying  # few sets are large

        return surveying(sources, scratch, self._now)

    def _take(
        self,
        source: Source,
        scratch: Path,
        reading: "Reading | None",
        surveying: "PrefetchWorker | None",
    ) -> bool:
        counts = self._taker.counts
        files, size = counts.files, counts.bytes_total
        consistent_at = self._started
        problem = None
        try:
            with source.opened(scratch, self._now) as opened, closing(self._taker.same_files):
                consistent_at = opened.consistent_at
                self._left_out.append(opened.left_out)
                apart = None if reading is None else reading.of(source, opened)
                taker = self._taker
                with nullcontext() if surveying is None else surveying.of(source, opened):
                    for _ in taker.take(opened) if apart is None else taker.take_apart(apart):
                        self._commit_interim_when_due()
        except SourceFailed as error:
            problem = str(error)
            counts.lack(Unread(path=source.name, reason=problem))
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

    def _commit_interim_when_due(self) -> None:
        if not self._since_commit or self._builder.is_empty:
            return
        moment = self._look_at_clock()
        if moment < self._committed_at:
            self._committed_at = moment
        if (
            len(self._since_commit) >= self._interim_packs
            or moment - self._committed_at >= self._interim_after
        ):
            self._commit(is_finished=False, prunes=False)

    def _look_at_clock(self) -> datetime:
        moment = self._now()
        if moment < self._lowest:
            # What changes from now on may bear a time from before the run: it is no old change.
            self._lowest = moment
            self._log.run_began(self._number, _nanoseconds(moment))
        return moment

    def _commit(self, *, is_finished: bool, prunes: bool) -> int:
        counts = self._taker.counts
        state: State = "interim"
        if is_finished:
            state = "partial" if counts.unread_total else "complete"
        self._taker.settle()
        tree = self._builder.finish()
        if not is_finished:
            tree = dataclasses.replace(tree, packs=tree.packs | self._since_commit)
        ended = self._look_at_clock()
        body = Body(
            consistent_at=self._consistent_at(),
            started=self._started,
            ended=ended,
            id_key=self._host.id_key,
            root=tree.root,
            depth=tree.depth,
            files=counts.files,
            directories=counts.directories,
            bytes=counts.bytes_total,
            unread=tuple(counts.unread),
            unread_total=counts.unread_total,
            sources=tuple(self._outcomes),
        )
        committed = self._committer.commit(
            run=self._number,
            set_name=self._set_name,
            tree=tree,
            body=body,
            time=ended,
            state=state,
            prunes=prunes,
            filled=[one.name for one in self._outcomes if one.files],
        )
        self.bytes_new += committed.size_bytes
        self._since_commit.clear()
        self._committed_at = ended
        return committed.sequence

    def _consistent_at(self) -> datetime:
        moments = [outcome.consistent_at for outcome in self._outcomes if outcome.problem is None]
        return min(moments, default=self._started)

    def _sink(self, *, bundles: bool) -> BlobWriter:
        return BlobWriter(
            outlet=self._outlet,
            log=self._log,
            id_key=self._host.id_key,
            set_name=self._set_name,
            bundles=bundles,
            on_stored=self._stored,
        )

    def _stored(self, pack: Stored) -> None:
        self.bytes_new += pack.size
        self._since_commit.add(pack.number)

    def _tell(self, path: bytes) -> None:
        if self._progress is None:
            return
        moment = self._look_at_clock()
        if timedelta(0) <= moment - self._told_at < _PROGRESS_EVERY:
            return
        self._told_at = moment
        counts = self._taker.counts
        self._progress(
            Progress(
                phase="reading",
                path=to_path_text(path),
                files=counts.files,
                bytes_done=counts.bytes_read,
                bytes_new=self.bytes_new,
            )
        )


def _nanoseconds(moment: datetime) -> int:
    """A moment as file systems count: nanoseconds since 1970."""
    return int(moment.timestamp() * 1_000_000_000)


def _check_request(set_name: str, sources: Sequence[Source]) -> None:
    if not NAME.fullmatch(set_name):
        raise UsageError(
            f"{set_name!r} cannot name a set: use 1 to 31 of a-z, 0-9, dash and underscore"
        )
    if not sources:
        raise UsageError(f"set {set_name} has no sources; name at least one")
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise UsageError(f"two sources of set {set_name} have the same name; give each its own")


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    """Let Python look for cycles seldom: a run makes rows by the thousand, and hardly a cycle.

    Looking through all of them again and again took a quarter of a run over small files.
    """
    before = gc.get_threshold()
    gc.set_threshold(*_COLLECTIONS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def _scratch(send_log: Path) -> Iterator[Path]:
    """A private folder for the run; what a crash left in it is removed first."""
    folder = send_log.with_name(send_log.name + ".scratch")
    remove_tree(folder)
    make_private_folder(folder)
    try:
        yield folder
    finally:
        remove_tree(folder)
