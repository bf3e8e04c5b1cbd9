"""Backup run: order of writes, threads, interim commits, repeated walks.

1. Read the root records (the owner's signed lists of hosts that may write), this host's newest
   snapshot, and the keep records. A keep record lists packs that will be removed or are damaged. It
   is signed by the keeper, the machine that may expire backups. Stop if the vault (the folder or
   bucket with the encrypted backups) belongs to another repository. Exclude the packs that a keep
   record lists, and packs that are missing.
2. Read the sources (folders, databases or buckets). Upload each pack when it is full. After the
   store has acknowledged the pack, record it in the upload cache, this host's list of stored
   content.
3. Upload the manifest, level by level. Read the root and keep records again. Then upload the signed
   snapshot: only the snapshot makes the recovery point exist.
4. If new keep records list packs that the recovery point needs, walk the sources again instead of
   uploading the snapshot. The second walk sends only the content of these packs, because the store
   has all other content.

Rules
- A crash at any moment leaves every earlier recovery point unchanged. It can leave packs that no
  snapshot names.
- A long run commits an interim recovery point every 30 minutes or 4,096 packs. This recovery point
  contains the paths that were read so far. After an interruption, the next run continues from it,
  and a restore can use it.
- If an interim recovery point is due within a large file, it contains the paths before the file. It
  also names the packs with the first part of the file, so that the keeper does not remove them. The
  next run reads the whole file, but sends only new content.
- If the clock is set back, recovery points keep their order, and no change of a file is overlooked.
- A path that cannot be read, or that changed while it was read, is named in the recovery point. The
  recovery point is then partial (restorable, but incomplete). It is partial too if a whole source
  fails; the other sources are still read.
- A run needs about 256 MB of memory, however large the sources are.
"""

import dataclasses
import functools
import gc
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import ParamSpec

from backup.archiver.manifest_builder import PacksFreed
from backup.archiver.pack_writer import PACKS_UNDER_WAY, Outlet, PackBuffers
from backup.archiver.snapshot_commit import Committer
from backup.archiver.unusable_packs import UnusablePacks
from backup.archiver.upload_cache.cache import open_upload_cache
from backup.archiver.upload_cache.database import UploadCacheDamaged
from backup.archiver.walk import RunContext, Walk
from backup.archiver.writer_authorization import (
    authorize_writer,
    check_not_rolled_back,
    key_problem,
)
from backup.errors import StoreUnavailable, UsageError
from backup.format.keep_record import PackId
from backup.format.pack import PackSettings
from backup.format.strict_fields import NAME
from backup.records import BackupResult, Progress
from backup.sources import Source
from backup.stores import Store
from backup.system.durable_files import make_private_folder
from backup.system.tree_removal import remove_tree
from backup.trust.key_files import Host

INTERIM_AFTER = timedelta(minutes=30)
INTERIM_PACKS = 4096
_MOST_WALKS = 3  # walks in one run; a walk is repeated if new keep records list its packs
_MOST_COMPRESSING = 4  # compression threads, if the machine has as many processors
_NICENESS = 5  # with this niceness, a thread gets about a third of the time of a competing thread
# Thresholds for gc.set_threshold; the defaults are 700, 10, 10.
_GC_THRESHOLDS = (500_000, 20, 20)


P = ParamSpec("P")


def _retry_with_new_cache(run: Callable[P, BackupResult]) -> Callable[P, BackupResult]:
    """Retry a run once if its upload cache turns out to be damaged."""

    @functools.wraps(run)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> BackupResult:
        try:
            return run(*args, **kwargs)
        except UploadCacheDamaged as error:
            # Keep only the text: the traceback of the error refers to memory of the failed run.
            warning = str(error)
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
    on_start: Callable[[], None] = lambda: None,
) -> BackupResult:
    """Back up the sources into a new recovery point of the set.

    - `send_log` is the file of the upload cache.
    - `distrust` names packs that a check found damaged. Their content is sent again.
    - `on_start` is called after the upload cache is locked and before the sources are read. Its
      errors end the run. If the upload cache is found damaged later, the run begins again, and
      `on_start` is called again.
    - `keys` is the store of the encrypted private keys. If this store is passed, the result says
      whether it contains the key that decrypts the packs. A missing key does not stop the run,
      because another copy of the key store may have the key.

    After any error, the caller can repeat the call, which resumes the run. Raise `StoreUnavailable`
    (try again later), `Busy` (another run uses the upload cache) or `NothingToBackUp` (every source
    failed; no recovery point was made).
    """
    _check_request(set_name, sources)
    started = now()
    authorization = authorize_writer(vault, host)
    domain = authorization.domain
    binding = f"{host.repository.hex()} {host.writer} {host.epoch} {domain.id} {domain.generation}"
    with (
        _rare_garbage_collection(),
        open_upload_cache(send_log, binding) as cache,
        closing(PackBuffers()) as buffers,
        # Uploads have their own thread pool, because they wait for the store. The compression pool
        # has no more threads than the machine has processors. With more threads, the single thread
        # that reads, cuts and hashes the content would get too little processor time.
        ThreadPoolExecutor(
            min(len(os.sched_getaffinity(0)), _MOST_COMPRESSING), initializer=_lower_priority
        ) as compressing,
        ThreadPoolExecutor(PACKS_UNDER_WAY) as sending,
    ):
        check_not_rolled_back(authorization.trust, cache)
        outlet = Outlet(
            store=vault,
            pack_settings=PackSettings(
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
        unusable_packs = UnusablePacks(vault=vault, writer=host.writer, cache=cache)
        committer = Committer(
            vault=vault,
            authorization=authorization,
            unusable_packs=unusable_packs,
            host=host,
            cache=cache,
        )
        unusable_packs.begin(authorization.trust, set_name, now, distrust)
        context = RunContext(
            committer=committer,
            outlet=outlet,
            cache=cache,
            host=host,
            set_name=set_name,
            started=started,
            now=now,
            progress=progress,
            interim_after=interim_after,
            interim_packs=interim_packs,
        )
        bytes_new = 0
        try:
            on_start()
            for _ in range(_MOST_WALKS):
                walk = Walk(context, bytes_new=bytes_new)
                try:
                    with _scratch_folder(send_log) as scratch:
                        result = walk.finish(sources, scratch)
                except PacksFreed:
                    bytes_new = walk.bytes_new
                    continue
                committer.close()
                problems = [problem for _, problem in authorization.trust.problems]
                warnings = (
                    *cache.warnings, *committer.warnings, *unusable_packs.warnings, *problems,
                    *result.warnings,
                )  # fmt: skip
                return dataclasses.replace(
                    result,
                    is_store_damaged=committer.is_store_damaged or unusable_packs.is_store_damaged,
                    key_problem="" if keys is None else key_problem(keys, authorization),
                    warnings=tuple(dict.fromkeys(warnings)),
                )
        except BaseException:
            for pool in (compressing, sending):
                pool.shutdown(cancel_futures=True)
            raise
    raise StoreUnavailable(
        f"set {set_name}: in each of {_MOST_WALKS} attempts, the keeper freed or distrusted "
        "packs that the run needs; no recovery point was made. Verify the vault, check what the "
        "keeper does, and run again."
    )


def _lower_priority() -> None:
    """Lower the priority of this compression thread below the reading thread.

    Compression threads always have work. The thread that reads content for them must not wait for a
    processor.
    """
    if sys.platform == "linux":  # on other systems, `os.nice` changes the whole process
        # Some services are not permitted to change priorities. The run is then slower.
        with suppress(OSError):
            os.nice(_NICENESS)


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

    A run creates many thousand rows and hardly any reference cycle. With the default thresholds,
    garbage collection took a quarter of the time of a backup of small files.
    """
    before = gc.get_threshold()
    gc.set_threshold(*_GC_THRESHOLDS)
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
