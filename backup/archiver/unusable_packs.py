"""Packs that a new recovery point avoids: freed, lost, damaged or sparse.

A keep record is a signed list of packs that are unused and will be removed (freed packs) or are
damaged (distrusted packs). Its author is a keeper, a machine that may expire backups.

- A run excludes a pack by removing it from the upload cache, this host's list of stored content.
  The content of the pack is then read and sent again, if the source still has it. The pack remains
  excluded in later runs, even if somebody removes the keep record.
- The caller can also exclude packs that it distrusts, without a proof of their damage. If a pack
  was named by mistake, this costs only an upload.
- A run reads only keep records that are newer than the last keep record that this host read. The
  owner's signed root record names the trusted keepers. After a new root record, a run reads all
  keep records again, because it may trust other keepers.
- If the newest keep record that this host read is missing from the vault (the folder or bucket with
  the encrypted backups), the run warns and continues. This host applied the record when it read it.
  An attacker that removes a keep record must not be able to stop every backup.
- A sparse pack is less than a quarter in use, and its Object Lock has ended. A run excludes sparse
  packs, up to 1 GiB in use, so that their content moves to new packs and the keeper can remove the
  sparse packs. If the source cannot read content of a sparse pack in this run, the recovery point
  uses the pack after all.
"""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from backup.archiver.upload_cache.cache import UploadCache
from backup.archiver.upload_cache.cache_records import CachedKeepRecord
from backup.format.keep_record import PackId
from backup.format.object_names import keep_name, pack_prefix
from backup.format.record_link import Link
from backup.stores import Stat, Store
from backup.stores.parallel_reads import start_in_background
from backup.trust.retention_log import RetentionLog, load_retention_log
from backup.trust.root_chain import RootChain

SPARSE_BELOW = 0.25
SPARSE_BYTES_PER_RUN = 1024**3
# In a store without locks, a pack counts as locked until it has this age.
_ASSUMED_LOCK = timedelta(days=30)


class UnusablePacks:
    """Packs to exclude from one run."""

    def __init__(self, *, vault: Store, writer: str, cache: UploadCache) -> None:
        self._vault = vault
        self._writer = writer
        self._cache = cache
        self.warnings: list[str] = []
        self.is_store_damaged = False  # the store lacks objects that this host has put or seen
        # List the packs before the keep records are read. If the keeper removed a pack before the
        # listing, the keep records that are read later name it, and it is not reported as lost.
        self._wait_for_packs = start_in_background(vault, self._list_packs)

    @property
    def keep_link(self) -> Link | None:
        """Return the link to the newest keep record that was applied."""
        seen = self._cache.history.last_keep_record()
        return None if seen is None else seen.link

    def begin(
        self,
        trust: RootChain,
        set_name: str,
        now: Callable[[], datetime],
        distrust: Collection[PackId] = (),
    ) -> None:
        """Forget packs that the set's next recovery point must not use."""
        self.apply_retention_log(trust)  # first, because packs that the keeper removed are not lost
        self._forget_distrusted(distrust)
        listed = self._wait_for_packs()
        self._forget_lost(listed)
        self._forget_sparse(listed, set_name, now())

    def apply_retention_log(self, trust: RootChain) -> None:
        """Read new keep records; forget the packs that they free or distrust."""
        seen = self._cache.history.last_keep_record()
        keeps, is_whole = self._read_retention_log(trust, seen)
        if seen is not None and not is_whole:
            self.is_store_damaged = True
            self._warn(
                f"{keep_name(seen.link.number)}: this host has seen it, but it is missing or"
                " different now; the store was rolled back. Its decisions stay in force. Verify the"
                " repository."
            )
        avoided = {bytes.fromhex(name) for writer, name in keeps.avoided if writer == self._writer}
        # A sparse pack that these records free or distrust must not be used after all.
        self._cache.never_recall(avoided)
        freed = [row.number for row in self._cache.packs() if row.name in avoided]
        if freed:
            self._cache.forget_packs(freed)
            self._warn(
                f"{_count(freed)} of this host: freed or distrusted by the keeper."
                " Their content is sent again, where the source still has it."
            )
        head = keeps.head
        if head is None or (seen is not None and not is_whole and head.number < seen.link.number):
            # Keep the record of the missing keep record, which has a higher number, so that later
            # runs warn again.
            return
        self._cache.history.store_keep_record(
            CachedKeepRecord(link=head, root_number=trust.root.number)
        )

    def _read_retention_log(
        self, trust: RootChain, seen: CachedKeepRecord | None
    ) -> tuple[RetentionLog, bool]:
        """Return the retention log, and whether the vault still has `seen`.

        The retention log is the sequence of all keep records. `seen` is the last record that this
        host read. If possible, only later records are read.
        """
        if seen is not None and seen.root_number == trust.root.number:
            later = load_retention_log(self._vault, trust, after=seen.link)
            if not later.problems and max(later.taken, default=-1) >= seen.link.number:
                return later, True
        keeps = load_retention_log(self._vault, trust)
        is_whole = seen is None or keeps.slots.get(seen.link.number) == seen.link.sha256
        return keeps, is_whole

    def _list_packs(self) -> dict[str, Stat]:
        prefix = pack_prefix(self._writer)
        return {stat.name.rpartition("/")[2]: stat for stat in self._vault.list(prefix)}

    def _forget_lost(self, listed: dict[str, Stat]) -> None:
        lost = [
            row.number
            for row in self._cache.packs()
            if row.name.hex() not in listed or listed[row.name.hex()].size_bytes != row.size
        ]
        if lost:
            self.is_store_damaged = True
            self._cache.forget_packs(lost)
            self._warn(
                f"{_count(lost)} of this host: missing from the store or of another size."
                " Their content is sent again. Verify the vault."
            )

    def _forget_distrusted(self, distrust: Collection[PackId]) -> None:
        names = {sha256 for writer, sha256 in distrust if writer == self._writer}
        damaged = [row.number for row in self._cache.packs() if row.name.hex() in names]
        if damaged:
            self._cache.forget_packs(damaged)
            self._warn(
                f"{_count(damaged)} of this host: damaged. Their content is sent again, where the"
                " source still has it."
            )

    def _forget_sparse(self, listed: dict[str, Stat], set_name: str, now: datetime) -> None:
        lock = self._vault.describe().lock
        locked_for = _ASSUMED_LOCK if lock is None else timedelta(days=lock.days)
        sparse: list[tuple[float, int, int]] = []
        for number, live in self._cache.live_bytes(set_name).items():
            row = self._cache.pack(number)
            if row is None or row.sequence is None or row.blob_bytes == 0:
                continue
            if now - listed[row.name.hex()].modified <= locked_for:
                continue
            share = live / row.blob_bytes
            if share < SPARSE_BELOW:
                sparse.append((share, number, live))
        chosen: list[int] = []
        budget = SPARSE_BYTES_PER_RUN
        for _, number, live in sorted(sparse):
            if chosen and live > budget:
                break
            budget -= live
            chosen.append(number)
        if chosen:
            self._cache.forget_packs(chosen, can_recall=True)

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


def _count(packs: list[int]) -> str:
    return f"{len(packs)} stored pack{'' if len(packs) == 1 else 's'}"
