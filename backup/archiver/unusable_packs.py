"""Packs that a new recovery point must not use: freed, damaged or sparse.

- A pack is excluded by forgetting it in the upload cache. Its content is then read and sent again,
  if the source still has it. If somebody later hides the keeper's record from this host, the pack
  stays excluded, because the cache has no record of it any more.
- Packs that the caller distrusts are excluded, no matter who named them: if a pack was named by
  mistake, this costs only an upload.
- A run reads only keep records that are newer than the last one that this host read. It reads all
  of them again after the owner signed a new root record, because the new record may change which
  keepers are trusted.
- A retention log that lost its end causes a warning and does not stop the run. The lost records
  were applied when they were read, and an attacker who removes a record must not be able to stop
  every backup.
- A sparse pack is less than a quarter in use and no longer locked. Sparse packs are excluded so
  that the keeper can free them, up to a limit of bytes per run. If content of a sparse pack cannot
  be read in that run, the recovery point uses the pack after all.
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
UNLOCKED_AFTER = timedelta(days=30)  # for a store without locks


class UnusablePacks:
    """Packs to exclude from one run."""

    def __init__(self, *, vault: Store, writer: str, cache: UploadCache) -> None:
        self._vault = vault
        self._writer = writer
        self._cache = cache
        self.warnings: list[str] = []
        self.is_store_damaged = False  # the store lacks objects that this host put or saw
        # List the packs before the keeper's records are read. So if the keeper removes a pack after
        # the listing, the records name the pack.
        self._wait_for_packs = start_in_background(vault, self._list_packs)

    @property
    def keep_link(self) -> Link | None:
        """Return the newest keep record that was applied."""
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
        self.apply_retention_log(trust)  # first: packs that the keeper dropped are not lost
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
        # Otherwise a pack that was forgotten because it is sparse could be recalled, although the
        # keeper frees or distrusts it now.
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
            # Keep the number of the newer, missing record, so that the gap stays visible.
            return
        self._cache.history.store_keep_record(
            CachedKeepRecord(link=head, root_number=trust.root.number)
        )

    def _read_retention_log(
        self, trust: RootChain, seen: CachedKeepRecord | None
    ) -> tuple[RetentionLog, bool]:
        """Return the retention log, and whether it has the last seen record."""
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
        locked_for = UNLOCKED_AFTER if lock is None else timedelta(days=lock.days)
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
