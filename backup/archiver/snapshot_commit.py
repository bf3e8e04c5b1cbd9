"""Commit of a snapshot into a free slot: collisions, clones, rollbacks.

- A writer is a backup host. The name of each of its snapshots contains a sequence number. A slot is
  the object name with one sequence number.
- A snapshot is put create-only into the free slot with the lowest number after the newest snapshot.
  Anybody with the writer's rights at the store can put junk (invalid objects) under any number.
  Because the lowest free number is used, junk under a high number does not block the numbers below
  it.
- If the put finds the slot taken, the content of the slot decides. The same bytes mean that this
  host's own put succeeded and the answer was lost. Another valid snapshot of this writer means that
  the machine was cloned or rolled back. The run then uses the next free number after that snapshot.
  Any other content is junk; its number is skipped.
- The upload cache, a local file, records the intended snapshot before the put. So after a crash,
  the next run recognizes the snapshot as its own, and does not take it for the snapshot of a clone.
- If the store lacks a snapshot that this host has put, somebody removed it or rolled the store
  back. The missing number is not used again, so the gap in the sequence remains visible.
- Junk after the newest snapshot is read once, not in every run; see `skipped_sequence_numbers`.
- If the store is a directory, a folder can have the name of a slot. Such a slot counts as taken,
  because no object of this name can be created.
- A recovery point has the time of this host's clock, right or wrong. The sequence number decides
  which recovery point is newer.
- Just before the commit, the signed records are read again. If the owner's newest root record does
  not authorize the writer any more, nothing is put. If the keeper (the machine that may expire
  backups) has marked packs that the manifest needs for removal, `PacksFreed` is raised. The caller
  then walks the sources again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from backup.archiver.manifest_builder import PacksFreed, Tree
from backup.archiver.skipped_sequence_numbers import SkippedSlots
from backup.archiver.unusable_packs import UnusablePacks
from backup.archiver.upload_cache.cache import UploadCache
from backup.archiver.upload_cache.cache_records import CachedHead, Commit
from backup.archiver.writer_authorization import WriterAuthorization, authorize_writer
from backup.errors import AlreadyThere
from backup.format.object_names import next_number, parse_number, snapshot_name, snapshot_prefix
from backup.format.record_link import Link
from backup.format.snapshot import (
    Body,
    Snapshot,
    State,
    indexes_to_bitmap,
    seal_body,
    snapshot_to_bytes,
)
from backup.stores import Stat, Store, expect_existing
from backup.trust.key_files import Host
from backup.trust.snapshot_slots import Slot, find_older_junk, read_listed, read_slot

_MOST_COLLISIONS = 100  # taken slots after which a commit gives up


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """A snapshot that is in the store."""

    sequence: int
    size_bytes: int


class Committer:
    """Committer of a run's snapshots; knows the newest snapshot of the writer."""

    def __init__(
        self,
        *,
        vault: Store,
        authorization: WriterAuthorization,
        unusable_packs: UnusablePacks,
        host: Host,
        cache: UploadCache,
    ) -> None:
        self._vault = vault
        self._domain = authorization.domain
        self._trust = authorization.trust
        self._unusable_packs = unusable_packs
        self._host = host
        self._cache = cache
        self.has_foreign_point = (
            False  # the store has a snapshot of this writer that this host did not put
        )
        # Whether slots after the newest snapshot contain invalid objects, or are more than a run
        # reads.
        self.has_invalid_snapshots = False
        self.is_store_damaged = False  # the store lacks a snapshot that this host had put
        self._must_clear_cache = False
        self._is_clock_reported = False
        self.warnings: list[str] = []
        self._previous: Link | None = None  # the snapshot that the next snapshot follows
        self._taken: set[int] = set()  # sequence numbers of slots that are not free
        self._skipped: tuple[int, ...] = ()  # numbers between `_previous` and `_sequence`
        self._sequence = 1
        self._previous_time: datetime | None = None  # time of the previous snapshot
        self._find_head()

    def commit(
        self,
        *,
        run: int,
        set_name: str,
        tree: Tree,
        body: Body,
        time: datetime,
        state: State,
        may_prune: bool,
        filled: Sequence[str] = (),
    ) -> Committed:
        """Put the snapshot of a finished manifest, which makes the recovery point.

        With `may_prune`, content that only earlier runs of the set needed is removed from the
        upload cache. `filled` names the sources that had files.

        Raise `PacksFreed` if the sources must be walked again, and `UsageError` if the owner does
        not authorize this writer any more. In both cases, nothing was put.
        """
        self._check_clock(time)
        self._trust = authorize_writer(
            self._vault, self._host, self._cache, domain=self._domain
        ).trust
        self._unusable_packs.apply_retention_log(self._trust)
        found = [self._cache.pack(number) for number in sorted(tree.packs)]
        rows = [row for row in found if row is not None]
        if len(rows) < len(found):
            raise PacksFreed
        new = [row for row in rows if row.sequence is None]
        sealed = seal_body(body, self._domain.recipient)
        uses: dict[int, set[int]] = {}
        for row in rows:
            if row.sequence is not None and row.ordinal is not None:
                uses.setdefault(row.sequence, set()).add(row.ordinal)
        snapshot = Snapshot(
            repository=self._host.repository,
            writer=self._host.writer,
            epoch=self._host.epoch,
            sequence=self._sequence,
            previous=self._previous,
            skipped=self._skipped,
            root_record=self._trust.links[-1],
            keep_record=self._unusable_packs.keep_link,
            domain=self._domain.id,
            generation=self._domain.generation,
            set_name=set_name,
            time=time,
            state=state,
            packs=tuple((row.name.hex(), row.size) for row in new),
            uses={sequence: indexes_to_bitmap(ordinals) for sequence, ordinals in uses.items()},
        )
        for _ in range(_MOST_COLLISIONS):
            snapshot = replace(
                snapshot, sequence=self._sequence, previous=self._previous, skipped=self._skipped
            )
            data = snapshot_to_bytes(snapshot, sealed, self._host.signing_key)
            commit = Commit(
                run=run,
                set_name=set_name,
                sequence=self._sequence,
                sha256=hashlib.sha256(data).hexdigest(),
                is_finished=may_prune,
                new_packs=tuple(row.number for row in new),
                live_packs=tree.packs,
                has_ended=state != "interim",
                filled=tuple(filled),
            )
            if self._put(commit, data):
                break
        else:
            raise AlreadyThere(
                f"writer {self._host.writer}: {_MOST_COLLISIONS} sequence numbers, tried one "
                "after another, were already used. Let only one machine write under this name, "
                "and check who else has its rights at the store."
            )
        self._cache.record_commit(commit)
        self._previous_time = snapshot.time
        self._continue_after(Link(number=commit.sequence, sha256=commit.sha256))
        return Committed(sequence=commit.sequence, size_bytes=len(data))

    def close(self) -> None:
        """End the run; clear the cache if a commit found a snapshot of a clone."""
        if self._must_clear_cache and self._previous is not None:
            head = CachedHead(sequence=self._previous.number, sha256=self._previous.sha256)
            self._cache.forget_everything(head)

    def _put(self, commit: Commit, data: bytes) -> bool:
        name = snapshot_name(self._host.writer, commit.sequence)
        self._cache.history.record_intention(commit)
        try:
            self._vault.put(name, data)
        except AlreadyThere:
            self._taken.add(commit.sequence)
            slot = self._read_taken_slot(name)
            if slot.sha256 == commit.sha256:
                return True
            if slot.snapshot is None:
                self._warn_junk([commit.sequence])
                self._continue_after(self._previous)
            else:
                self._previous_time = slot.snapshot.time
                self._follow_fork(Link(number=commit.sequence, sha256=slot.sha256), " next time")
                self._must_clear_cache = True
            return False
        return True

    def _check_clock(self, time: datetime) -> None:
        if (
            self._previous_time is not None
            and time <= self._previous_time
            and not self._is_clock_reported
        ):
            self._is_clock_reported = True
            self.warnings.append(
                f"clock of this host: it shows {time:%Y-%m-%d %H:%M:%S}Z, but the previous recovery"
                f" point is dated {self._previous_time:%Y-%m-%d %H:%M:%S}Z; the clock was set back,"
                " or was ahead then. Check the clock."
            )

    def _find_head(self) -> None:
        """Find the writer's newest snapshot; warn about the slots after it."""
        prefix = snapshot_prefix(self._host.writer)
        stats: dict[int, Stat] = {}
        folders: dict[int, datetime] = {}  # folders that have the name of a slot, with their times
        for stat in self._vault.list(prefix):
            name, slash, _ = stat.name.removeprefix(prefix).partition("/")
            number = parse_number(prefix + name, prefix)
            if number is not None and slash:
                folders[number] = stat.modified
            elif number is not None:
                stats[number] = stat
        self._taken = {*stats, *folders}
        head: Link | None = None
        is_first = True  # whether the run is the first with the current signing key (epoch)
        skipped = SkippedSlots(self._cache, self._trust.root.number, stats)
        for number in sorted(stats, reverse=True):
            if skipped.should_skip(number):
                continue
            with expect_existing(stats[number].name):
                found = read_listed(self._vault, self._trust, self._host.writer, stats[number])
            if found.snapshot is not None:
                head = Link(number=number, sha256=found.sha256)
                is_first = found.snapshot.epoch < self._host.epoch
                self._previous_time = found.snapshot.time
                break
            skipped.add(number, found)
        skipped.remember()
        distrusted = sorted(n for n, slot in skipped.slots.items() if slot.is_distrusted)
        if distrusted:
            self._warn_distrusted(distrusted, is_first)
        junk: dict[int, datetime | None] = {
            number: stats[number].modified
            for number in {*skipped.slots, *skipped.unread} - {*distrusted}
        }
        last = 0 if head is None else head.number
        junk.update((number, stored) for number, stored in folders.items() if number > last)
        head_stored = None if head is None else stats[head.number].modified
        # Warn only about junk that was stored after the newest snapshot.
        older_junk = find_older_junk(junk, last, head_stored)
        if junk.keys() - older_junk:
            self._warn_junk(sorted(junk.keys() - older_junk))
        if skipped.unread:
            self._warn_unread(skipped.unread)
        self._continue_after(head)
        self._resolve_pending_commit(head)
        self._compare_with_cache(head, self._cache.history.head())

    def _read_taken_slot(self, name: str) -> Slot:
        with expect_existing(name):
            return read_slot(self._vault, self._trust, self._host.writer, name)

    def _continue_after(self, previous: Link | None) -> None:
        """Select the lowest free sequence number after a snapshot."""
        last = 0 if previous is None else previous.number
        self._previous = previous
        self._sequence = next_number(snapshot_prefix(self._host.writer), last, self._taken)
        self._skipped = tuple(range(last + 1, self._sequence))

    def _resolve_pending_commit(self, head: Link | None) -> None:
        """Complete or abandon the commit that an earlier run intended."""
        intended = self._cache.history.pending_commit()
        if intended is not None:
            if head is not None and (head.number, head.sha256) == (
                intended.sequence,
                intended.sha256,
            ):
                self._cache.record_commit(intended)
            else:
                self._cache.history.abandon_intention()

    def _compare_with_cache(self, head: Link | None, recorded: CachedHead | None) -> None:
        """Compare the store's newest snapshot with the cache's record of it."""
        reason = f"head {head}"
        if recorded is None:
            if head is not None and any(True for _ in self._cache.packs()):
                self._follow_fork(head)
                self._cache.forget_everything(None, reason)
            return
        if head is not None and (head.number, head.sha256) == (recorded.sequence, recorded.sha256):
            return
        # Keep the record of this host's newest snapshot. If this run is interrupted, the next run
        # then warns again.
        self._cache.forget_everything(recorded, reason)
        if head is not None and head.number >= recorded.sequence:
            self._follow_fork(head)
            return
        self.is_store_damaged = True
        self.warnings.append(
            f"writer {self._host.writer}: the store lacks snapshot {recorded.sequence}, which "
            "this host had stored; it was removed or the store was rolled back. Everything is "
            "sent again. Verify the vault against its witness."
        )
        # Do not use the missing number again, so that every later check reports the gap.
        self._continue_after(Link(number=recorded.sequence, sha256=recorded.sha256))

    def _follow_fork(self, head: Link, when: str = "") -> None:
        self.has_foreign_point = True
        self.warnings.append(
            f"writer {self._host.writer}: the store has snapshot {head.number}, which this host"
            " does not know; the machine was cloned or rolled back. Everything is sent"
            f" again{when}. Let only one machine write under this name."
        )
        self._continue_after(head)

    def _warn_distrusted(self, numbers: list[int], is_first: bool) -> None:
        """Warn about snapshots that were signed with revoked keys of the writer."""
        description = f"snapshot {numbers[0]}"
        if numbers[1:]:
            description = f"{len(numbers)} snapshots, {numbers[0]} to {numbers[-1]},"
        skipped = f"writer {self._host.writer}: skipped {description} signed with its old keys;"
        self.warnings.append(
            f"{skipped} the owner's new epoch does not trust them. This is expected."
            if is_first
            else f"{skipped} somebody has used these keys since the new epoch. This backup uses "
            "nothing of them. Check that the old identity at the store is revoked."
        )

    def _warn_unread(self, numbers: list[int]) -> None:
        """Warn about slots that this run did not read."""
        self.has_invalid_snapshots = True
        self.warnings.append(
            f"writer {self._host.writer}: {len(numbers)} snapshots, {min(numbers)} to "
            f"{max(numbers)}, were not read yet: there are more than a run reads. The "
            "next runs read the rest. Find out who else has this host's rights at the store, "
            "and revoke them."
        )

    def _warn_junk(self, numbers: list[int]) -> None:
        """Warn about slots after the newest snapshot that contain junk."""
        self.has_invalid_snapshots = True
        slots = f"snapshot {numbers[0]} is"
        if numbers[1:]:
            slots = f"{len(numbers)} snapshots, {numbers[0]} to {numbers[-1]}, are"
        self.warnings.append(
            f"writer {self._host.writer}: {slots} not valid; skipped. Verify the repository, and "
            "check who else has this host's rights at the store."
        )
