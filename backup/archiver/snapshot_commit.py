"""The commit: from stored packs to a signed snapshot, and what a collision of two of them means.

- A snapshot is put under the next sequence, create-only.  What stands there already decides:
  the same bytes are our own put whose answer was lost; a valid snapshot of ours means a clone of
  this machine or one that was rolled back, and we go on behind it; anything else is a burnt slot,
  and we go past it.
- The send-log records the intention before the put: a crash in between is told from a clone by it.
- A store that lacks what this host knows it put was rolled back: the gap stays visible in the
  sequence.
- The next sequence is the lowest free one: junk far behind the head, which whoever has the writer's
  rights at the store may put, takes no number from us but its own.
- Junk behind the head is read once, and not every night; see `passed_over`.
- A slot that is a folder of something else is taken, too: a store that is made of folders has no
  room for an object of that name.
- A point bears the time that the clock shows, right or wrong: the sequence says what is newer.
- Just before the commit the owner's and the keeper's records are read again.  A writer whom the
  owner no longer lets write puts nothing; packs that the tree needs and the keeper freed meanwhile
  are told to the caller, who walks the sources again.
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
from backup.archiver.writer_authorization import WriterAuthorization, admit
from backup.errors import AlreadyThere
from backup.format.object_names import next_number, number_in, snapshot_name, snapshots_of
from backup.format.record_link import Link
from backup.format.snapshot import (
    Body,
    Snapshot,
    State,
    bitmap_of,
    seal_body,
    snapshot_to_bytes,
)
from backup.stores import Stat, Store, said_to_be_there
from backup.trust.key_files import Host
from backup.trust.snapshot_history import Slot, read_listed, read_slot, superseded_snapshots

_MOST_COLLISIONS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """A snapshot that is in the store."""

    sequence: int
    size_bytes: int


class Committer:
    """One run's place in the writer's history: made at its start, used for each snapshot."""

    def __init__(
        self,
        *,
        vault: Store,
        admission: WriterAuthorization,
        avoidance: UnusablePacks,
        host: Host,
        log: UploadCache,
    ) -> None:
        self._vault = vault
        self._domain = admission.domain
        self._trust = admission.trust
        self._avoidance = avoidance
        self._host = host
        self._log = log
        self.is_fork = False
        self.is_intruded = False  # somebody put junk into our slots since our last point
        self.is_store_damaged = False  # it lacks a snapshot that this host had put
        self._must_forget = False
        self._is_clock_told = False
        self.warnings: list[str] = []
        self._previous: Link | None = None
        self._taken: set[int] = set()  # slots that hold something
        self._burnt: tuple[int, ...] = ()  # those between `_previous` and `_sequence`
        self._sequence = 1
        self._newest: datetime | None = None  # the time of the snapshot before
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
        prunes: bool,
        filled: Sequence[str] = (),
    ) -> Committed:
        """Put the snapshot of a finished tree; afterwards the recovery point exists.

        `prunes`: the send-log may forget what only earlier runs of the set needed.  `filled` are
        the sources that held files.
        `PacksFreed`: nothing was put; walk the sources again.  `UsageError`: the owner ended the
        trust in this writer.
        """
        self._look_at_time(time)
        self._trust = admit(self._vault, self._host, self._log, domain=self._domain).trust
        self._avoidance.apply_retention_log(self._trust)
        found = [self._log.pack(number) for number in sorted(tree.packs)]
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
            burnt=self._burnt,
            root=self._trust.links[-1],
            keep=self._avoidance.keep,
            domain=self._domain.id,
            generation=self._domain.generation,
            set_name=set_name,
            time=time,
            state=state,
            packs=tuple((row.name.hex(), row.size) for row in new),
            uses={sequence: bitmap_of(ordinals) for sequence, ordinals in uses.items()},
        )
        for _ in range(_MOST_COLLISIONS):
            snapshot = replace(
                snapshot,
                sequence=self._sequence,
                previous=self._previous,
                burnt=self._burnt,
            )
            data = snapshot_to_bytes(snapshot, sealed, self._host.signing_key)
            commit = Commit(
                run=run,
                set_name=set_name,
                sequence=self._sequence,
                sha256=hashlib.sha256(data).hexdigest(),
                is_finished=prunes,
                new_packs=tuple(row.number for row in new),
                live_packs=tree.packs,
                has_ended=state != "interim",
                filled=tuple(filled),
            )
            if self._put(commit, data):
                break
        else:
            raise AlreadyThere(
                f"{_MOST_COLLISIONS} slots of writer {self._host.writer} were taken while this run"
                " tried them one by one: let only one machine write under this name, and see who"
                " else has its rights at the store"
            )
        self._log.settle(commit)
        self._newest = snapshot.time
        self._go_on_behind(Link(number=commit.sequence, sha256=commit.sha256))
        return Committed(sequence=commit.sequence, size_bytes=len(data))

    def close(self) -> None:
        """End the run: when it met a fork as it committed, nothing that was logged is believed."""
        if self._must_forget and self._previous is not None:
            head = CachedHead(sequence=self._previous.number, sha256=self._previous.sha256)
            self._log.forget_everything(head)

    def _put(self, commit: Commit, data: bytes) -> bool:
        name = snapshot_name(self._host.writer, commit.sequence)
        self._log.intend(commit)
        try:
            self._vault.put(name, data)
        except AlreadyThere:
            self._taken.add(commit.sequence)
            slot = self._slot_that_is_there(name)
            if slot.sha256 == commit.sha256:
                return True
            if slot.snapshot is None:
                self._tell_junk([commit.sequence])
                self._go_on_behind(self._previous)
            else:
                self._newest = slot.snapshot.time
                self._go_behind(Link(number=commit.sequence, sha256=slot.sha256), " next time")
                self._must_forget = True
            return False
        return True

    def _look_at_time(self, time: datetime) -> None:
        if self._newest is not None and time <= self._newest and not self._is_clock_told:
            self._is_clock_told = True
            self.warnings.append(
                f"this host's clock says {time:%Y-%m-%d %H:%M:%S}Z, and the point before is of"
                f" {self._newest:%Y-%m-%d %H:%M:%S}Z: the clock was set back, or stood ahead then."
                " Look whether it is right now"
            )

    def _find_head(self) -> None:
        prefix = snapshots_of(self._host.writer)
        stats: dict[int, Stat] = {}
        folders: dict[int, datetime] = {}  # in the place of slots
        for stat in self._vault.list(prefix):
            name, slash, _ = stat.name.removeprefix(prefix).partition("/")
            number = number_in(prefix + name, prefix)
            if number is not None and slash:
                folders[number] = stat.modified
            elif number is not None:
                stats[number] = stat
        self._taken = {*stats, *folders}
        head: Link | None = None
        is_first = True  # of its epoch
        passed = SkippedSlots(self._log, self._trust.root.number, stats)
        for number in sorted(stats, reverse=True):
            if passed.passes(number):
                continue
            with said_to_be_there(stats[number].name):
                slot = read_listed(self._vault, self._trust, self._host.writer, stats[number])
            if slot.snapshot is not None:
                head = Link(number=number, sha256=slot.sha256)
                is_first = slot.snapshot.epoch < self._host.epoch
                self._newest = slot.snapshot.time
                break
            passed.add(number, slot)
        passed.remember()
        distrusted = sorted(n for n, one in passed.slots.items() if one.is_distrusted)
        if distrusted:
            self._tell_distrusted(distrusted, is_first)
        junk: dict[int, datetime | None] = {
            number: stats[number].modified
            for number in {*passed.slots, *passed.unread} - {*distrusted}
        }
        last = 0 if head is None else head.number
        junk.update((number, stored) for number, stored in folders.items() if number > last)
        made = None if head is None else stats[head.number].modified
        seen = superseded_snapshots(junk, last, made)
        if junk.keys() - seen:
            self._tell_junk(sorted(junk.keys() - seen))
        if passed.unread:
            self._tell_unread(passed.unread)
        self._go_on_behind(head)
        self._compare(head, self._logged_head(head))

    def _slot_that_is_there(self, name: str) -> Slot:
        with said_to_be_there(name):
            return read_slot(self._vault, self._trust, self._host.writer, name)

    def _go_on_behind(self, previous: Link | None) -> None:
        """Take the lowest free sequence behind a snapshot; what is between them is burnt."""
        last = 0 if previous is None else previous.number
        self._previous = previous
        self._sequence = next_number(snapshots_of(self._host.writer), last, self._taken)
        self._burnt = tuple(range(last + 1, self._sequence))

    def _logged_head(self, head: Link | None) -> CachedHead | None:
        intended = self._log.intended()
        if intended is not None:
            if head is not None and (head.number, head.sha256) == (
                intended.sequence,
                intended.sha256,
            ):
                self._log.settle(intended)
            else:
                self._log.abandon_intention()
        return self._log.head()

    def _compare(self, head: Link | None, logged: CachedHead | None) -> None:
        because_of = f"head {head}"
        if logged is None:
            if head is not None and any(True for _ in self._log.packs()):
                self._go_behind(head)
                self._log.forget_everything(None, because_of)
            return
        if head is not None and (head.number, head.sha256) == (logged.sequence, logged.sha256):
            return
        # What this host put last stays known: should the run be cut off, the next one tells again.
        self._log.forget_everything(logged, because_of)
        if head is not None and head.number >= logged.sequence:
            self._go_behind(head)
            return
        self.is_store_damaged = True
        self.warnings.append(
            f"the store lacks snapshot {logged.sequence} of writer {self._host.writer}, which this"
            " host had put: it was removed or the store was rolled back."
            " Everything is sent again; verify the repository against its witness"
        )
        # The gap is left open: every later check shows it.
        self._go_on_behind(Link(number=logged.sequence, sha256=logged.sha256))

    def _go_behind(self, head: Link, when: str = "") -> None:
        self.is_fork = True
        self.warnings.append(
            f"the store holds snapshot {head.number} of writer {self._host.writer}, which this host"
            " does not know: the machine was cloned or rolled back."
            f" Everything is sent again{when}; let only one machine write under this name"
        )
        self._go_on_behind(head)

    def _tell_distrusted(self, numbers: list[int], is_first: bool) -> None:
        """Say what the writer's old keys wrote that the owner does not believe."""
        some = f"snapshot {numbers[0]}"
        if numbers[1:]:
            some = f"{len(numbers)} snapshots, {numbers[0]} to {numbers[-1]},"
        passed_over = f"passed over {some} of writer {self._host.writer}, signed with its old keys:"
        self.warnings.append(
            f"{passed_over} the owner's new epoch does not believe them so far. That is as it"
            " should be"
            if is_first
            else f"{passed_over} somebody has them since the new epoch. Nothing is built on that;"
            " see that the old identity at the store is revoked"
        )

    def _tell_unread(self, numbers: list[int]) -> None:
        """Say that there is more than one run reads."""
        self.is_intruded = True
        self.warnings.append(
            f"{len(numbers)} slots of writer {self._host.writer}, {min(numbers)} to {max(numbers)},"
            " were not looked at yet: somebody filled more than one run reads, and the next go on."
            " See who else has this host's rights at the store, and take that right away"
        )

    def _tell_junk(self, numbers: list[int]) -> None:
        """Say that slots which should be free hold something that no host of ours put there."""
        self.is_intruded = True
        slots = f"slot {numbers[0]} of writer {self._host.writer} holds"
        if numbers[1:]:
            slots = (
                f"{len(numbers)} slots of writer {self._host.writer}, {numbers[0]} to"
                f" {numbers[-1]}, hold"
            )
        self.warnings.append(
            f"{slots} something that is no valid snapshot; it was passed over. Verify the"
            " repository, and see who else has this host's rights at the store"
        )
