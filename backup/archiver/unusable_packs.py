"""What a new point is not built on: lost, damaged, freed and sparse packs.

- To avoid a pack is to forget it in the send-log: what it held is read and sent again, if the
  source still has it.  What was forgotten stays so, whatever is hidden from this host later: its
  memory of the keeper's word is that the packs are gone from the log.
- Packs that the caller distrusts are avoided, whoever named them: a false name costs an upload.
- The keeper's records are read once, and from then on only what came after the last one; again
  from the first when the owner signed something new, since that may change whom to believe.
- A keep chain that lost its end is a warning and no stop: what its records said was heeded when
  they were read, and who could remove one must not be able to stop every backup by it.
- Sparse packs, of which less than a quarter is in use and whose lock is over, are avoided so that
  the keeper can free them: a bounded amount a night.  What cannot be read that night stays in them.
"""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from backup.archiver.upload_cache.cache import UploadCache
from backup.archiver.upload_cache.cache_records import CachedKeepRecord
from backup.format.keep_record import PackId
from backup.format.object_names import keep_name, packs_of
from backup.format.record_link import Link
from backup.stores import Stat, Store
from backup.stores.parallel_reads import beside
from backup.trust.retention_log import RetentionLog, load_retention_log
from backup.trust.root_chain import RootChain

SPARSE_BELOW = 0.25
SPARSE_BYTES_A_NIGHT = 1024**3
UNLOCKED_AFTER = timedelta(days=30)  # where the store has no lock


class UnusablePacks:
    """One run's care for what it builds on."""

    def __init__(self, *, vault: Store, writer: str, log: UploadCache) -> None:
        self._vault = vault
        self._writer = writer
        self._log = log
        self.warnings: list[str] = []
        self.is_store_damaged = False  # it lacks what this host had put or seen
        # Before the keeper's records are read: what it drops meanwhile, they say.
        self._listed = beside(vault, self._list_packs)

    @property
    def keep(self) -> Link | None:
        """The newest keep record that was heeded."""
        seen = self._log.seen_keep()
        return None if seen is None else seen.link

    def begin(
        self,
        trust: RootChain,
        set_name: str,
        now: Callable[[], datetime],
        distrust: Collection[PackId] = (),
    ) -> None:
        """Forget, before anything is read, what the set's next point must not or need not use."""
        self.apply_retention_log(trust)  # what it dropped is not lost
        self._forget_distrusted(distrust)
        listed = self._listed()
        self._forget_lost(listed)
        self._forget_sparse(listed, set_name, now())

    def apply_retention_log(self, trust: RootChain) -> None:
        """Read what the keeper said since, and forget the packs that it freed or distrusts."""
        seen = self._log.seen_keep()
        keeps, is_whole = self._what_was_said(trust, seen)
        if seen is not None and not is_whole:
            self.is_store_damaged = True
            self._warn(
                f"{keep_name(seen.link.number)}, which this host has seen, is gone or is another"
                " one: the store was rolled back. What it said is heeded all the same; verify the"
                " repository"
            )
        avoided = {bytes.fromhex(name) for writer, name in keeps.avoided if writer == self._writer}
        # What was forgotten only to come free may be asked for after this record was heeded.
        self._log.never_recall(avoided)
        freed = [row.number for row in self._log.packs() if row.name in avoided]
        if freed:
            self._log.forget_packs(freed)
            self._warn(
                f"of the packs that this host had stored, {len(freed)} {_are(freed)} freed or"
                " distrusted by the keeper: what was in there is sent again, where the source still"
                " has it"
            )
        head = keeps.head
        if head is None or (seen is not None and not is_whole and head.number < seen.link.number):
            # An older word does not take the place of a newer one: so the gap stays visible.
            return
        self._log.remember_keep(CachedKeepRecord(link=head, root=trust.root.number))

    def _what_was_said(
        self, trust: RootChain, seen: CachedKeepRecord | None
    ) -> tuple[RetentionLog, bool]:
        """The records, and whether the last one that was seen is still among them."""
        if seen is not None and seen.root == trust.root.number:
            later = load_retention_log(self._vault, trust, after=seen.link)
            if not later.problems and max(later.taken, default=-1) >= seen.link.number:
                return later, True
        keeps = load_retention_log(self._vault, trust)
        is_whole = seen is None or keeps.slots.get(seen.link.number) == seen.link.sha256
        return keeps, is_whole

    def _list_packs(self) -> dict[str, Stat]:
        prefix = packs_of(self._writer)
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
                f"of the packs that this host had stored, {len(lost)} {_are(lost)} gone from"
                " the store or of another size: what was in there is sent again. Verify the"
                " repository"
            )

    def _forget_distrusted(self, distrust: Collection[PackId]) -> None:
        names = {sha256 for writer, sha256 in distrust if writer == self._writer}
        damaged = [row.number for row in self._log.packs() if row.name.hex() in names]
        if damaged:
            self._log.forget_packs(damaged)
            self._warn(
                f"of the packs that this host had stored, {len(damaged)} {_are(damaged)} damaged:"
                " what was in there is sent again, where the source still has it"
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
        budget = SPARSE_BYTES_A_NIGHT
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


def _are(packs: list[int]) -> str:
    return "is" if len(packs) == 1 else "are"
