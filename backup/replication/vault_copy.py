"""Copying a vault to a second site, without any key: to another disk, another bucket, another town.

- Create-only and incremental: what the copy has stays as it is, and only what it lacks is read.
  Cut off anywhere, it goes on from there when it is run again.
- Nothing is believed: a pack is copied when its bytes are what its name says, a record when the
  owner, a trusted keeper or a trusted writer signed it.  What is not is named, and not copied.
- The copy is a valid repository at every moment.  Root records come first, since all else stands
  on them.  A snapshot comes after the packs that it needs and the keep record that it saw.  A keep
  record comes as late as that allows, so that no point of the copy expires before newer ones are
  there; but before a snapshot of which it says that packs were dropped.
- What the copy has is not read again; where it has another size than it must, that is told.
- Packs that the keeper dropped are not copied, junk is not copied, and nothing is ever removed.
- Domain keys are copied only where a store for them is named: who has both sites' packs and keys
  still needs a custodian.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Container, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from backup.errors import AlreadyThere, Damaged, NotFound, UsageError
from backup.findings import FROM_A_COPY, LOOK, Findings
from backup.format.keep_record import keep_from_bytes
from backup.format.object_names import (
    FORMATS,
    KEEPS,
    MAX_BUNDLED_FILE_BYTES,
    MAX_KEEP_RECORD_BYTES,
    MAX_KEY_RECORD_BYTES,
    MAX_ROOT_RECORD_BYTES,
    MAX_SNAPSHOT_BYTES,
    READERS,
    ROOTS,
    copy_in,
    keep_name,
    keys_of,
    pack_name,
    packs_of,
    root_name,
    snapshot_name,
    snapshots_of,
)
from backup.format.pack import MAX_PACK_BYTES
from backup.records import Progress
from backup.replication.copy_report import Kind, ReplicationReport, Tally
from backup.stores import Stat, Store, expect_existing
from backup.stores.bounded_read import read_bounded
from backup.trust.key_files import parse_key_record
from backup.trust.retention_log import RetentionLog, load_retention_log
from backup.trust.root_chain import RootChain, load_root_chain
from backup.trust.snapshot_history import SnapshotHistory, parse_snapshot, read_history

_THREADS = 4
_AHEAD = 8
_LOOKS = 3
_AGAIN = "copy again once it is mended: what is missing is then filled in"
_FILL_IN = "verify the copy there, remove what is damaged of it, and copy again: that fills it in"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Begun:
    """A pack that is on its way, or (without a future) a snapshot that waits for those before."""

    writer: str
    sha256: str = ""
    future: Future[int] | None = None
    sequence: int = 0
    through: int = -1  # the keep records that must be there before it


def replicate_vault(
    vault: Store,
    to: Store,
    *,
    owner: bytes | None = None,
    keys: Store | None = None,
    keys_to: Store | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ReplicationReport:
    """Copy what is new in the vault; and the key records, where both key stores are named.

    `NotFound` when there is no repository, `UsageError` when the copy is another repository's,
    `Damaged` when the first root record is, `StoreUnavailable` when a store does not answer.
    """
    return _Copying(vault, to, owner, progress).run(keys, keys_to)


class _Copying:
    def __init__(
        self,
        vault: Store,
        to: Store,
        owner: bytes | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._vault = vault
        self._to = to
        self._found = Findings()
        self._tally = Tally(progress)
        self._missing: dict[tuple[str, str], str] = {}  # packs, and what is wrong with each
        self._trust, self._histories, self._keeps = self._look(owner)
        # What the copy has and its size, but for packs of strangers.
        self._there: dict[str, int] = {}
        self._sizes: dict[str, int] = {}  # of the vault's snapshots

    def run(self, keys: Store | None, keys_to: Store | None) -> ReplicationReport:
        self._check_target()
        self._there = {stat.name: stat.size_bytes for stat in self._in_copy()}
        self._copy_roots()
        self._copy_documents()
        # Listed after they were read, so that each of those is among these.
        for writer in self._histories:
            listed = self._vault.list(snapshots_of(writer))
            self._sizes.update((stat.name, stat.size_bytes) for stat in listed)
        waiting = deque(self._keeps_to_copy())
        with ThreadPoolExecutor(_THREADS) as pool:
            try:
                self._copy_points(pool, waiting)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        self._copy_keeps(waiting, through=None)
        self._name_what_is_wrong()
        if keys is not None and keys_to is not None:
            self._copy_keys(keys, keys_to)
        return ReplicationReport(counts=self._tally.counts, findings=self._found.all())

    # What there is

    def _look(
        self, owner: bytes | None
    ) -> tuple[RootChain, dict[str, SnapshotHistory], RetentionLog]:
        """Read all records on one root record, though another may be signed meanwhile."""
        trust = load_root_chain(self._vault, owner=owner)
        for _ in range(_LOOKS):
            histories = {
                writer: SnapshotHistory(
                    writer, read_history(self._vault, trust, writer), trust.removal_time(writer)
                )
                for writer in trust.root.writer_ids
            }
            # After the snapshots, so that every record which one of them saw is among these.
            keeps = load_retention_log(self._vault, trust)
            again = load_root_chain(self._vault, owner=owner)
            if again.links == trust.links:
                break
            trust = again
        return trust, histories, keeps

    def _check_target(self) -> None:
        first = root_name(0)
        try:
            there = read_bounded(self._to, first, MAX_ROOT_RECORD_BYTES)
        except NotFound:
            return
        if hashlib.sha256(there).hexdigest() != self._trust.links[0].sha256:
            raise UsageError(
                "the place of the copy holds another repository: name an empty place; nothing was"
                " changed"
            )

    def _in_copy(self) -> Iterator[Stat]:
        prefixes = [ROOTS, KEEPS, FORMATS, READERS]
        for writer in self._histories:
            prefixes += [packs_of(writer), snapshots_of(writer)]
        for prefix in prefixes:
            yield from self._to.list(prefix)

    def _compare_size(self, name: str, size: int) -> None:
        there = self._there[name]
        if there != size:
            problem = f"has {there} bytes in the copy and {size} in the vault"
            self._found.error(name, problem, _FILL_IN, kind="copy")

    # Records

    def _copy_roots(self) -> None:
        for name, problem in self._trust.problems:
            self._found.error(name, problem, FROM_A_COPY)
        for link in self._trust.links:
            self._copy_judged(
                "root records", root_name(link.number), MAX_ROOT_RECORD_BYTES, link.sha256
            )

    def _copy_documents(self) -> None:
        for prefix in (FORMATS, READERS):
            for stat in self._vault.list(prefix):
                wanted = copy_in(stat.name)
                if wanted is None:
                    continue
                if stat.name in self._there:
                    self._tally.already("documents")
                    self._compare_size(stat.name, stat.size_bytes)
                    continue
                try:
                    data = read_bounded(self._vault, stat.name, MAX_BUNDLED_FILE_BYTES)
                except Damaged as error:
                    self._found.error(stat.name, str(error), FROM_A_COPY)
                    continue
                if hashlib.sha256(data).hexdigest() != wanted:
                    self._found.error(
                        stat.name, "its bytes are not what its name says", FROM_A_COPY
                    )
                    continue
                self._place("documents", stat.name, data, self._there)

    def _keeps_to_copy(self) -> list[int]:
        """The records that count, and those that a snapshot saw although they no longer do."""
        counted = {link.number for link in self._keeps.links}
        seen = {
            (snapshot.keep.number, snapshot.keep.sha256)
            for history in self._histories.values()
            for snapshot in history.snapshots.values()
            if snapshot.keep is not None
        }
        return sorted(
            n for n, sha256 in self._keeps.slots.items() if n in counted or (n, sha256) in seen
        )

    def _copy_keeps(self, waiting: deque[int], through: int | None) -> None:
        while waiting and (through is None or waiting[0] <= through):
            number = waiting.popleft()
            name = keep_name(number)
            if name in self._there and waiting:
                self._tally.already("keep records")
                continue
            self._copy_judged(
                "keep records", name, MAX_KEEP_RECORD_BYTES, self._keeps.slots[number]
            )

    def _copy_judged(self, kind: Kind, name: str, largest: int, sha256: str) -> None:
        """Copy a record that was read and judged before, if it is read so again."""
        data = read_bounded(self._vault, name, largest)
        if hashlib.sha256(data).hexdigest() == sha256:
            self._place(kind, name, data, self._there)
        else:
            problem = "was read otherwise a moment ago; it was not copied"
            self._found.error(name, problem, _AGAIN)

    # Points

    def _copy_points(self, pool: ThreadPoolExecutor, waiting: deque[int]) -> None:
        """Copy packs a few at a time, and each snapshot once every pack before it is there."""
        begun: deque[_Begun] = deque()
        packs_begun = 0
        for through, writer, sequence in self._in_order():
            for sha256 in self._packs_to_copy(writer, sequence):
                future = pool.submit(self._copy_pack, writer, sha256)
                begun.append(_Begun(writer=writer, sha256=sha256, future=future))
                packs_begun += 1
            begun.append(_Begun(writer=writer, sequence=sequence, through=through))
            while begun and (packs_begun > _AHEAD or begun[0].future is None):
                packs_begun -= self._finish(begun.popleft(), waiting)
        while begun:
            self._finish(begun.popleft(), waiting)

    def _finish(self, one: "_Begun", waiting: deque[int]) -> int:
        """Wait for a pack, or put a snapshot; how many packs that was."""
        if one.future is None:
            self._copy_keeps(waiting, one.through)
            self._copy_snapshot(one.writer, one.sequence)
            return 0
        try:
            size = one.future.result()
        except NotFound:
            self._missing[one.writer, one.sha256] = "is missing although a snapshot names it"
        except Damaged as error:
            self._missing[one.writer, one.sha256] = str(error)
        else:
            self._tally.copied("packs", pack_name(one.writer, one.sha256), size)
        return 1

    def _in_order(self) -> list[tuple[int, str, int]]:
        """Every snapshot with the keep record that must be there before it, a writer's in order."""
        dropped_by = self._dropped_by()
        found = []
        for writer, history in self._histories.items():
            through = -1
            for sequence, snapshot in sorted(history.snapshots.items()):
                if snapshot.keep is not None:
                    through = max(through, snapshot.keep.number)
                # Of what the copy has, it has the packs, too, and nothing has to go before it.
                is_new = snapshot_name(writer, sequence) not in self._there
                for sha256 in history.known_packs_of(sequence) if is_new and dropped_by else ():
                    through = max(through, dropped_by.get((writer, sha256), -1))
                found.append((through, writer, sequence))
        return sorted(found)

    def _dropped_by(self) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for link in self._keeps.links if self._keeps.dropped else ():
            name = keep_name(link.number)
            record = keep_from_bytes(read_bounded(self._vault, name, MAX_KEEP_RECORD_BYTES), name)
            found.update(dict.fromkeys(record.dropped, link.number))
        return found

    def _packs_to_copy(self, writer: str, sequence: int) -> list[str]:
        wanted = []
        for sha256, size in self._histories[writer].snapshots[sequence].packs:
            name = pack_name(writer, sha256)
            if name in self._there:
                self._tally.already("packs")
                if (writer, sha256) not in self._keeps.dropped:
                    self._compare_size(name, size)
            elif (writer, sha256) not in self._keeps.dropped:
                wanted.append(sha256)
        return wanted

    def _copy_pack(self, writer: str, sha256: str) -> int:
        """Copy one pack, in a thread; its size, or 0 when the copy has it meanwhile."""
        name = pack_name(writer, sha256)
        data = read_bounded(self._vault, name, MAX_PACK_BYTES)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Damaged("its bytes are not what its name says")
        try:
            self._to.put(name, data)
        except AlreadyThere:
            return 0
        return len(data)

    def _copy_snapshot(self, writer: str, sequence: int) -> None:
        name = snapshot_name(writer, sequence)
        if name in self._there and sequence != max(self._histories[writer].snapshots):
            self._tally.already("snapshots")
            self._compare_size(name, self._sizes.get(name, self._there[name]))
            return
        try:
            data = read_bounded(self._vault, name, MAX_SNAPSHOT_BYTES)
            parse_snapshot(data, self._trust, writer, sequence, name)
        except (Damaged, NotFound) as error:
            self._found.error(name, str(error), FROM_A_COPY)
            return
        self._place("snapshots", name, data, self._there)

    def _name_what_is_wrong(self) -> None:
        for name, problem in self._keeps.problems:
            self._found.warning(name, f"{problem}; it was not copied", LOOK, kind="no keep record")
        for history in self._histories.values():
            history.check(self._found)
        # The keeper may have dropped a pack since the look at the beginning.
        dropped = load_retention_log(self._vault, self._trust).dropped if self._missing else set()
        for (writer, sha256), problem in self._missing.items():
            if (writer, sha256) not in dropped:
                self._found.error(
                    pack_name(writer, sha256), f"{problem}; it was not copied", _AGAIN, kind="pack"
                )

    # Keys

    def _copy_keys(self, keys: Store, to: Store) -> None:
        for domain in self._trust.root.domains:
            prefix = keys_of(domain.id, domain.generation)
            there = {stat.name for stat in to.list(prefix)}
            here = {stat.name for stat in keys.list(prefix)}
            for name in sorted(there if domain.erased is not None else there - here):
                self._found.error(
                    name,
                    "is a key record that the key store no longer has, and the copy still does",
                    "remove it from the copy of the key store: whom it opens for was taken out, or"
                    " the domain was erased",
                )
            if domain.erased is not None:
                continue
            for name in sorted(here):
                try:
                    data = read_bounded(keys, name, MAX_KEY_RECORD_BYTES)
                    parse_key_record(data, self._trust.root, domain, name)
                except Damaged as error:
                    self._found.error(name, str(error), FROM_A_COPY)
                    continue
                self._place("key records", name, data, there, to)

    # Both

    def _place(
        self, kind: Kind, name: str, data: bytes, there: Container[str], to: Store | None = None
    ) -> None:
        """Put an object that was checked; where one of its name is there, compare the two."""
        store = to or self._to
        if name not in there:
            try:
                store.put(name, data)
            except AlreadyThere:
                pass
            else:
                self._tally.copied(kind, name, len(data))
                return
        self._tally.already(kind)
        with expect_existing(name):
            found = store.get_range(name, 0, len(data) + 1)
        if found != data:
            self._found.error(
                name,
                "is another one in the copy than in the vault",
                "find out which of the two was rolled back or damaged, before either is relied on",
            )
