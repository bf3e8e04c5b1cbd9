"""One backup run: the order of writes from authorization to commit.

1. Read the root records, the writer's newest snapshot and the keep records. Write nothing to a
   repository that is not this host's. Do not build on packs that are freed, distrusted or lost.
2. Read the sources. Upload packs as they fill; record each in the upload cache once the store has
   acknowledged it.
3. Upload the manifest, level by level. Read the root and keep records again. Then upload the signed
   snapshot: only the snapshot makes the recovery point exist. If the keeper freed packs meanwhile
   that the recovery point needs, walk the sources again; that is quick, because all other content
   is known.

Rules
- A crash at any moment leaves packs that no snapshot names, and every earlier recovery point
  unchanged.
- A long run commits an interim recovery point every 30 minutes or 4,096 packs, so the run can be
  resumed and its content used. Within a large file, the interim point contains the rows before the
  file and names the packs of the file so far, so no keeper frees them. The next run reads the file
  again and sends only new content.
- A clock that is set back does no harm: recovery points keep their order, and no change is
  overlooked.
- A path that cannot be read, or that changed while it was read, makes the recovery point partial
  and is named in it. A source that fails as a whole does the same, and the other sources continue.
- Memory is bounded (about 256 MB), however large the sources are.
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
    from backup.archiver.worker_reader import WorkerReader

INTERIM_AFTER = timedelta(minutes=30)
INTERIM_PACKS = 4096
# How long an empty source counts as not mounted; later it counts as empty on purpose.
_AWAY_AT_MOST = timedelta(days=30)
_MOST_WALKS = 3  # walks of the sources in one run, while the keeper frees packs that it uses
_PROGRESS_EVERY = timedelta(milliseconds=250)
_MOST_COMPRESSING = 4  # threads, if the machine has as many processors
_LESS_URGENT = 5  # niceness: a third of the processor time of other threads that compete for it
# Thresholds for gc.set_threshold; the defaults are 700, 10, 10.
_COLLECTIONS = (500_000, 20, 20)


P = ParamSpec("P")


def _retry_with_new_cache(run: Callable[P, BackupResult]) -> Callable[P, BackupResult]:
    """Run again, once, if the upload cache turned out damaged during the run."""

    @functools.wraps(run)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> BackupResult:
        try:
            return run(*args, **kwargs)
        except UploadCacheDamaged as error:
            warning = str(error)  # keep only the text: the error holds memory that the run needs
        result = run(*args, **kwargs)
        return dataclasses.replace(result, warnings=(warning, *result.warnings))

    return wrapper


@_retry_with_new_cache
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
    """Back up the sources into a new recovery point of the set.

    `distrust` names packs that were found damaged; their content is sent again.

    With the `keys` store, the result says whether the key that the packs are sealed to is there.
    Its absence does not stop the run: another copy of the key store may have the key.

    Repeating the call after any error is safe and resumes the run. Raise `StoreUnavailable` (try
    again later), `Busy` (another run uses the upload cache) or `NothingToBackUp` (every source
    failed; no recovery point was made).
    """
    _check_request(set_name, sources)
    started = now()
    admission = admit(vault, host)
    domain = admission.domain
    binding = f"{host.repository.hex()} {host.writer} {host.epoch} {domain.id} {domain.generation}"
    with (
        _rare_garbage_collection(),
        open_upload_cache(send_log, binding) as log,
        closing(PackBuffers()) as buffers,
        # Two pools, because uploads wait for the store. Use no more compression threads than there
        # are processors: with more, the single thread that reads, cuts and hashes for them hardly
        # runs.
        ThreadPoolExecutor(
            min(len(os.sched_getaffinity(0)), _MOST_COMPRESSING), initializer=_lower_priority
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
                    with _scratch_folder(send_log) as scratch:
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
        f"set {set_name}: the keeper freed or distrusted packs that the run needs, in each of"
        f" {_MOST_WALKS} walks; no recovery point was made. Verify the repository, check what"
        " the keeper does, and run again."
    )


def _lower_priority() -> None:
    """Lower the priority of this compression thread below the reader thread.

    Compression always has work waiting; the few reader threads must not wait for a processor.
    """
    if sys.platform == "linux":  # other systems would change the whole process
        # A service may not have the right; then it runs unchanged, only slower.
        with suppress(OSError):
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
        self._since_commit: set[int] = set()  # packs, by their numbers in the upload cache
        self._earliest_time = started
        self._committed_at = started
        self._reported_at = started
        run = log.begin_run(set_name, _nanoseconds(started))
        self._number = run
        self._sent_anew = not log.has_earlier_run(set_name, run)
        data = self._data = self._new_blob_writer(bundles=True)
        self._builder = ManifestBuilder(
            log=log, run=run, data=data, new_sink=lambda: self._new_blob_writer(bundles=False)
        )
        earlier = self._earlier = ParentSnapshot(log, set_name, run)
        self._archiver = Archiver(
            log=log,
            earlier=earlier,
            sink=data,
            builder=self._builder,
            started=started,
            on_step=self._report_progress,
            on_chunks=self._commit_interim_when_due,
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
        # Prune nothing after a run in which a source failed, so that the cache still knows its
        # content. Do the same if a source is empty that lately had files: a disk that is not
        # mounted looks like that.
        is_incomplete = has_failed or not counts.files or self._has_emptied_source()
        sequence = self._commit(is_finished=True, prunes=not is_incomplete)
        warnings = []
        if counts.files:  # a set without any file is reported by the caller
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
            point=f"{self._host.writer}/{sequence:010d}",
            sequence=sequence,
            set_name=self._set_name,
            complete=counts.unread_total == 0,
            is_fork=self._committer.is_fork,
            is_intruded=self._committer.is_intruded,
            is_store_damaged=False,  # set by `back_up`, which compares the cache with the store
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
            left_out=tuple(item for left_out in self._left_out for item in left_out.named),
            left_out_total=sum(left_out.total for left_out in self._left_out),
            vanished=counts.vanished + sum(left_out.vanished for left_out in self._left_out),
            consistent_at=self._consistent_at(),
            started=self._started,
            ended=self._now(),
            warnings=tuple(warnings),
        )

    def _has_emptied_source(self) -> bool:
        since = _nanoseconds(self._started - _AWAY_AT_MOST)
        filled = self._log.sources_with_files(self._set_name, self._number, since)
        return any(outcome.name in filled and not outcome.files for outcome in self._outcomes)

    def _worker_reader(
        self, sources: Sequence[Source], scratch: Path
    ) -> AbstractContextManager["WorkerReader | None"]:
        if not self._earlier.is_empty:
            return nullcontext()  # little is read, and the rows known in this process decide what
        from backup.archiver.worker_reader import open_worker_reader  # most runs need none

        return open_worker_reader(sources, scratch, self._now)

    def _archive_source(self, source: Source, scratch: Path, worker: "WorkerReader | None") -> bool:
        counts = self._archiver.counts
        files, size = counts.files, counts.bytes_total
        consistent_at = self._started
        problem = None
        try:
            with source.opened(scratch, self._now) as opened, closing(self._archiver.same_files):
                consistent_at = opened.consistent_at
                self._left_out.append(opened.left_out)
                worker_source = None if worker is None else worker.open_source(source, opened)
                for _ in (
                    self._archiver.archive(opened)
                    if worker_source is None
                    else self._archiver.archive_from_worker(worker_source)
                ):
                    self._commit_interim_when_due()
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

    def _commit_interim_when_due(self) -> None:
        if not self._since_commit or self._builder.is_empty:
            return
        moment = self._read_clock()
        if moment < self._committed_at:
            self._committed_at = moment
        if (
            len(self._since_commit) >= self._interim_packs
            or moment - self._committed_at >= self._interim_after
        ):
            self._commit(is_finished=False, prunes=False)

    def _read_clock(self) -> datetime:
        moment = self._now()
        if moment < self._earliest_time:
            # Files that change from now on may get a time from before the run's start: lower the
            # start, so that the next run does not take them for unchanged.
            self._earliest_time = moment
            self._log.set_run_start(self._number, _nanoseconds(moment))
        return moment

    def _commit(self, *, is_finished: bool, prunes: bool) -> int:
        counts = self._archiver.counts
        state: State = "interim"
        if is_finished:
            state = "partial" if counts.unread_total else "complete"
        self._archiver.settle()
        tree = self._builder.finish()
        if not is_finished:
            tree = dataclasses.replace(tree, packs=tree.packs | self._since_commit)
        ended = self._read_clock()
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
            filled=[outcome.name for outcome in self._outcomes if outcome.files],
        )
        self.bytes_new += committed.size_bytes
        self._since_commit.clear()
        self._committed_at = ended
        return committed.sequence

    def _consistent_at(self) -> datetime:
        moments = [outcome.consistent_at for outcome in self._outcomes if outcome.problem is None]
        return min(moments, default=self._started)

    def _new_blob_writer(self, *, bundles: bool) -> BlobWriter:
        return BlobWriter(
            outlet=self._outlet,
            log=self._log,
            id_key=self._host.id_key,
            set_name=self._set_name,
            bundles=bundles,
            on_stored=self._on_pack_stored,
        )

    def _on_pack_stored(self, pack: Stored) -> None:
        self.bytes_new += pack.size
        self._since_commit.add(pack.number)

    def _report_progress(self, path: bytes) -> None:
        if self._progress is None:
            return
        moment = self._read_clock()
        if timedelta(0) <= moment - self._reported_at < _PROGRESS_EVERY:
            return
        self._reported_at = moment
        counts = self._archiver.counts
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
    """Return a moment in nanoseconds since 1970, as file systems count."""
    return int(moment.timestamp() * 1_000_000_000)


def _check_request(set_name: str, sources: Sequence[Source]) -> None:
    if not NAME.fullmatch(set_name):
        raise UsageError(
            f"set {set_name!r}: not a valid name. Use 1 to 31 of a-z, 0-9, dash and underscore."
        )
    if not sources:
        raise UsageError(f"set {set_name}: it has no sources. Name at least one.")
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise UsageError(f"set {set_name}: two sources have the same name. Rename one.")


@contextmanager
def _rare_garbage_collection() -> Iterator[None]:
    """Reduce Python's cyclic garbage collection while the block runs.

    A run creates rows by the thousand and hardly any cycle. With the default thresholds, collection
    took a quarter of a run over small files.
    """
    before = gc.get_threshold()
    gc.set_threshold(*_COLLECTIONS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def _scratch_folder(send_log: Path) -> Iterator[Path]:
    """Create a private folder for the run; remove what a crash left in it."""
    folder = send_log.with_name(send_log.name + ".scratch")
    remove_tree(folder)
    make_private_folder(folder)
    try:
        yield folder
    finally:
        remove_tree(folder)
