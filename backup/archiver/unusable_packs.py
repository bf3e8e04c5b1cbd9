"""Packs that a new point must not use: damaged, or mostly unneeded.

- To exclude a pack is to forget it in the upload cache: its content is read and sent again, if the
  source still has it. A forgotten pack stays forgotten, even if somebody hides the keeper's record
  from this host later: the cache has no rows of the pack any more.
- Packs that the caller distrusts are excluded, no matter who named them: a false name costs only an
  upload.
- The keeper's records are read once, then only those after the last one. They are read from the
  start again when the owner signed a new record, because the new record may change which keepers
  are trusted.
- A retention log that lost its end causes a warning and does not stop the run. The lost records
  were applied when they were read, and an attacker who removes a record must not be able to stop
  every backup.
- Sparse packs (less than a quarter in use, and no longer locked) are excluded so that the keeper
  can free them, a bounded number of bytes a run. Content that cannot be read in that run stays in
  its sparse pack.
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

    def __init__(self, *, vault: Store, writer: str, log: UploadCache) -> None:
        self._vault = vault
        self._writer = writer
        self._log = log
        self.warnings: list[str] = []
        self.is_store_damaged = False  # the store lacks objects that this host put or saw
        # List before the keeper's records are read: the records name what the keeper removes
        # meanwhile.
        self._listed = start_in_background(vault, self._list_packs)

    @property
    def keep_link(self) -> Link | None:
        """Return the newest keep record that was applied."""
        seen = self._log.history.last_keep_record()
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
        listed = self._listed()
        self._forget_lost(listed)
        self._forget_sparse(listed, set_name, now())

    def apply_retention_log(self, trust: RootChain) -> None:
        """Read the keeper's new records; forget packs it freed or distrusts."""
        seen = self._log.history.last_keep_record()
        keeps, is_whole = self._read_retention_log(trust, seen)
        if seen is not None and not is_whole:
            self.is_store_damaged = True
            self._warn(
                f"{keep_name(seen.link.number)}: this host has seen it, but it is missing or"
                " different now; the store was rolled back. Its decisions stay in force. Verify the"
                " repository."
            )
        avoided = {bytes.fromhex(name) for writer, name in keeps.avoided if writer == self._writer}
        # A pack that was forgotten only because it is sparse could otherwise be recalled after this
        # record was applied.
        self._log.never_recall(avoided)
        freed = [row.number for row in self._log.packs() if row.name in avoided]
        if freed:
            self._log.forget_packs(freed)
            self._warn(
                f"{_count(freed)} of this host: freed or distrusted by the keeper."
                " Their content is sent again, where the source still has it."
            )
        head = keeps.head
        if head is None or (seen is not None and not is_whole and head.number < seen.link.number):
            # Keep the newer record, so that the gap stays visible.
            return
        self._log.history.store_keep_record(CachedKeepRecord(link=head, root=trust.root.number))

    def _read_retention_log(
        self, trust: RootChain, seen: CachedKeepRecord | None
    ) -> tuple[RetentionLog, bool]:
        """Return the log, and whether it still contains the last seen record."""
        if seen is not None and seen.root == trust.root.number:
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
            for row in self._log.packs()
            if row.name.hex() not in listed or listed[row.name.hex()].size_bytes != row.size
        ]
        if lost:
            self.is_store_damaged = True
            self._log.forget_packs(lost)
            self._warn(
                f"{_count(lost)} of this host: missing from the store or of another size."
                " Their content is sent again. Verify the vault."
            )

    def _forget_distrusted(self, distrust: Collection[PackId]) -> None:
        names = {sha256 for writer, sha256 in distrust if writer == self._writer}
        damaged = [row.number for row in self._log.packs() if row.name.hex() in names]
        if damaged:
            self._log.forget_packs(damaged)
            self._warn(
                f"{_count(damaged)} of this host: damaged. Their content is sent again, where the"
                " source still has it."
            )

    def _forget_sparse(self, listed: dict[str, Stat], set_name: str, now: datetime) -> None:
        lock = self._vault.describe().lock
        locked_for = UNLOCKED_AFTER if lock is None else timedelta(days=lock.days)
        sparse: list[tuple[float, int, int]] = []
        for number, live in self._log.live_bytes(set_name).items():
            row = self._log.pack(number)
            if row is None or row.sequence is None or row.held == 0:
                continue
            if now - listed[row.name.hex()].modified <= locked_for:
                continue
            share = live / row.held
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
            self._log.forget_packs(chosen, are_sound=True)

    def _warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


def _count(packs: list[int]) -> str:
    return f"{len(packs)} stored pack{'' if len(packs) == 1 else 's'}"
