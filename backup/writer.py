"""Making a recovery point: the order of writes, from the first look at the store to the commit.

1. Read the root records and the own head; nothing is written for a repository that is not ours.
2. Read the sources; packs are put as they fill, each in the send-log once it is acknowledged.
3. Put the manifest, level by level; then the signed snapshot, which alone makes the point exist.

- A crash at any moment leaves packs that no snapshot names, and every earlier point as it was.
- A long run commits an interim point every 30 minutes or 4,096 packs, so it can be resumed and
  used.
- A path that cannot be read, or changed meanwhile, makes the point partial and is named in it; a
  source that fails wholly too, and the other sources go on.
- Memory is bounded (about 256 MB) however large the sources are.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from backup.blobs import BlobSink
from backup.commit import Committer
from backup.earlier import Earlier
from backup.errors import Damaged, NothingToBackUp, SourceFailed, UsageError
from backup.format.canonical import to_path_text
from backup.format.fields import NAME
from backup.format.pack import Destination
from backup.format.root import DomainGrant
from backup.format.snapshot import Body, State
from backup.keys import Host
from backup.local_files import make_private_folder
from backup.pages import ManifestBuilder
from backup.records import BackupResult, Progress, SourceOutcome, Unread
from backup.send_log import SendLog, open_send_log
from backup.sources import Source
from backup.stores import Store
from backup.taking import Taker
from backup.tape import Outlet, Stored
from backup.trust import Trust, load_trust, refuse_keep_records

INTERIM_AFTER = timedelta(minutes=30)
INTERIM_PACKS = 4096
_PROGRESS_EVERY = timedelta(milliseconds=250)
_THREADS = 5


def back_up(
    *,
    vault: Store,
    host: Host,
    set_name: str,
    sources: Sequence[Source],
    send_log: Path,
    now: Callable[[], datetime],
    progress: Callable[[Progress], None] | None = None,
    random: Callable[[int], bytes] = os.urandom,
    interim_after: timedelta = INTERIM_AFTER,
    interim_packs: int = INTERIM_PACKS,
) -> BackupResult:
    """Back the sources up into a new recovery point of the set.

    To run it again after any error is safe, and resumes.  `StoreUnavailable`: try again later;
    `Busy`: another run has the send-log; `NothingToBackUp`: every source failed, and no point was
    made.
    """
    _check_request(set_name, sources)
    started = now()
    trust, domain = _trust_of(vault, host)
    binding = f"{host.repository.hex()} {host.writer} {host.epoch} {domain.id} {domain.generation}"
    with open_send_log(send_log, binding) as log, ThreadPoolExecutor(_THREADS) as pool:
        if trust.root.number < log.newest_root():
            raise Damaged(
                f"root record {log.newest_root()}, which this host has seen, is gone;"
                " restore the root records from a copy before anything is backed up"
            )
        log.remember_root(trust.root.number)
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
            pool=pool,
        )
        run = _Run(
            committer=Committer(vault=vault, trust=trust, domain=domain, host=host, log=log),
            outlet=outlet,
            log=log,
            host=host,
            set_name=set_name,
            started=started,
            now=now,
            progress=progress,
            interim_after=interim_after,
            interim_packs=interim_packs,
        )
        try:
            with _scratch(send_log) as scratch:
                return run.finish(sources, scratch, trust)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


class _Run:
    """One call of `back_up`."""

    def __init__(
        self,
        *,
        committer: Committer,
        outlet: Outlet,
        log: SendLog,
        host: Host,
        set_name: str,
        started: datetime,
        now: Callable[[], datetime],
        progress: Callable[[Progress], None] | None,
        interim_after: timedelta,
        interim_packs: int,
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
        self._bytes_new = 0
        self._packs_since = 0
        self._committed_at = started
        self._told_at = started
        run = log.begin_run(set_name, int(started.timestamp() * 1_000_000_000))
        self._number = run
        data = self._sink(bundles=True)
        self._builder = ManifestBuilder(
            log=log, run=run, data=data, new_sink=lambda: self._sink(bundles=False)
        )
        self._taker = Taker(
            log=log,
            earlier=Earlier(log, set_name, run),
            sink=data,
            builder=self._builder,
            started=started,
            on_step=self._tell,
        )

    def finish(self, sources: Sequence[Source], scratch: Path, trust: Trust) -> BackupResult:
        """Take every source and commit the point."""
        has_failed = False
        for source in sorted(sources, key=lambda source: source.name.encode()):
            has_failed |= not self._take(source, scratch)
        counts = self._taker.counts
        if not counts.files and not counts.directories:
            problems = "; ".join(item.reason for item in counts.unread)
            raise NothingToBackUp(f"no source gave anything, so no point was made: {problems}")
        # A run in which a source failed prunes nothing: what is known of that source stays known.
        sequence = self._commit(is_finished=True, prunes=not has_failed)
        self._committer.close()
        warnings = [*self._log.warnings, *self._committer.warnings]
        warnings += [f"{name}: {problem}" for name, problem in trust.problems]
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
            files=counts.files,
            directories=counts.directories,
            bytes_read=counts.bytes_read,
            bytes_total=counts.bytes_total,
            bytes_new=self._bytes_new,
            files_new=counts.files_new,
            files_changed=counts.files_changed,
            files_unchanged=counts.files_unchanged,
            unread=tuple(counts.unread),
            unread_total=counts.unread_total,
            consistent_at=self._consistent_at(),
            started=self._started,
            ended=self._now(),
            warnings=tuple(dict.fromkeys(warnings)),
        )

    def _take(self, source: Source, scratch: Path) -> bool:
        counts = self._taker.counts
        files, size = counts.files, counts.bytes_total
        consistent_at = self._started
        problem = None
        try:
            with source.opened(scratch, self._now) as opened:
                consistent_at = opened.consistent_at
                for _ in self._taker.take(opened):
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
        is_due = self._packs_since >= self._interim_packs or (
            self._packs_since > 0 and self._now() - self._committed_at >= self._interim_after
        )
        if is_due:
            self._commit(is_finished=False, prunes=False)

    def _commit(self, *, is_finished: bool, prunes: bool) -> int:
        counts = self._taker.counts
        state: State = "interim"
        if is_finished:
            state = "partial" if counts.unread_total else "complete"
        self._taker.settle()
        tree = self._builder.finish()
        ended = self._now()
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
        )
        self._bytes_new += committed.size_bytes
        self._packs_since = 0
        self._committed_at = ended
        return committed.sequence

    def _consistent_at(self) -> datetime:
        moments = [outcome.consistent_at for outcome in self._outcomes if outcome.problem is None]
        return min(moments, default=self._started)

    def _sink(self, *, bundles: bool) -> BlobSink:
        return BlobSink(
            outlet=self._outlet,
            log=self._log,
            id_key=self._host.id_key,
            set_name=self._set_name,
            bundles=bundles,
            on_stored=self._stored,
        )

    def _stored(self, pack: Stored) -> None:
        self._bytes_new += pack.size
        self._packs_since += 1

    def _tell(self, path: bytes) -> None:
        if self._progress is None:
            return
        moment = self._now()
        if moment - self._told_at < _PROGRESS_EVERY:
            return
        self._told_at = moment
        counts = self._taker.counts
        self._progress(
            Progress(
                phase="reading",
                path=to_path_text(path),
                files=counts.files,
                bytes_done=counts.bytes_read,
                bytes_new=self._bytes_new,
            )
        )


def _check_request(set_name: str, sources: Sequence[Source]) -> None:
    if not NAME.fullmatch(set_name):
        raise UsageError(
            f"{set_name!r} cannot name a set: use 1 to 31 of a-z, 0-9, dash and underscore"
        )
    if not sources:
        raise NothingToBackUp(f"set {set_name} has no sources; name at least one")
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise UsageError(f"two sources of set {set_name} have the same name; give each its own")


def _trust_of(vault: Store, host: Host) -> tuple[Trust, DomainGrant]:
    trust = load_trust(vault, owner=host.owner)
    refuse_keep_records(vault)
    if trust.root.repository != host.repository:
        raise UsageError("this store holds another repository than this host writes to")
    grant = trust.root.writer(host.writer, host.epoch)
    domain = trust.root.domain(host.domain)
    if (
        grant is None
        or grant.key != host.public_key
        or grant.trusted_through is not None
        or domain is None
        or domain.id not in grant.domains
    ):
        raise UsageError(
            f"the root record does not let {host.writer} write for domain {host.domain};"
            " the owner must sign a record that does"
        )
    return trust, domain


@contextmanager
def _scratch(send_log: Path) -> Iterator[Path]:
    """A private folder for the run; what a crash left in it is removed first."""
    folder = send_log.with_name(send_log.name + ".scratch")
    shutil.rmtree(folder, ignore_errors=True)
    make_private_folder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
