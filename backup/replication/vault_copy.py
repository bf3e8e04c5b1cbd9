"""Vault copy: order and checks of the copied objects; without a key.

- A vault is the folder or bucket with the encrypted backups. A pack is a container of backup
  content. A snapshot is the signed object that makes a recovery point (restorable backup) exist.
- Existing objects of the copy are never changed or removed. Existing packs are not read again, but
  a wrong size is reported. After an interruption, the next run copies what is missing.
- A pack is copied if a snapshot names it and its own name is the SHA-256 of its bytes. A signed
  object is copied if its author is trusted: the owner for root records (lists of trusted keys), a
  keeper for keep records (lists of expired points), a backup host (writer) for snapshots.
- The copy is a valid repository at every moment. Root records are copied first, because all other
  objects refer to them. A snapshot is copied after its packs and the keep record that it names.
- A keep record is copied as late as this order allows, so that points do not expire in the copy
  before newer points exist. But a keep record of removed packs is copied before the snapshots that
  need these packs. Otherwise their absence would look like damage. Removed packs are not copied.
- Key records (encrypted private keys) are copied only to a store that the caller passes.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Container, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from backup.errors import AlreadyThere, Damaged, NotFound, UsageError
from backup.findings import FIND_AUTHOR, FROM_A_COPY, Findings
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
    bundled_sha256,
    keep_name,
    key_prefix,
    pack_name,
    pack_prefix,
    root_name,
    snapshot_name,
    snapshot_prefix,
)
from backup.format.pack import MAX_PACK_BYTES
from backup.records import Progress
from backup.replication.copy_report import Kind, ReplicationReport, Tally
from backup.stores import Stat, Store, expect_existing
from backup.stores.bounded_read import read_bounded
from backup.system.interruptible_wait import result_of
from backup.trust.key_files import parse_key_record
from backup.trust.retention_log import RetentionLog, load_retention_log
from backup.trust.root_chain import RootChain, load_root_chain
from backup.trust.snapshot_history import SnapshotHistory
from backup.trust.snapshot_slots import parse_snapshot, read_history

_THREADS = 4
_AHEAD = 8
_READ_ATTEMPTS = 3  # to read all records while no new root record is signed
_REPEAT = "copy again after it is repaired: missing objects are then copied"
_VERIFY_COPY = "verify the copy there, remove its damaged objects, and copy again"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pending:
    """A pack that is being copied, or a snapshot that waits for its packs."""

    writer: str
    sha256: str = ""
    future: Future[int] | None = None  # None for a snapshot
    sequence: int = 0
    through: int = -1  # keep records up to this number are put before the snapshot


def replicate_vault(
    vault: Store,
    to: Store,
    *,
    owner: bytes | None = None,
    keys: Store | None = None,
    keys_to: Store | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ReplicationReport:
    """Copy missing objects of a vault; key records if `keys_to` is passed.

    Raise `NotFound` if the vault has no repository, `Damaged` if its first root record is invalid,
    `UsageError` if the copy has another repository, and `StoreUnavailable`.
    """
    return _VaultCopy(vault, to, owner, progress).run(keys, keys_to)


class _VaultCopy:
    def __init__(
        self,
        vault: Store,
        to: Store,
        owner: bytes | None,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._vault = vault
        self._to = to
        self._findings = Findings()
        self._tally = Tally(progress)
        self._missing: dict[tuple[str, str], str] = {}  # packs, with the problem of each
        self._trust, self._histories, self._log = self._read_records(owner)
        # Objects of the copy with their sizes, except packs of unknown writers.
        self._existing: dict[str, int] = {}
        self._sizes: dict[str, int] = {}  # of the vault's snapshots

    def run(self, keys: Store | None, keys_to: Store | None) -> ReplicationReport:
        self._check_target()
        self._existing = {stat.name: stat.size_bytes for stat in self._list_copy()}
        self._copy_roots()
        self._copy_documents()
        # List the snapshots after reading them, so that the listing has all of them.
        for writer in self._histories:
            listed = self._vault.list(snapshot_prefix(writer))
            self._sizes.update((stat.name, stat.size_bytes) for stat in listed)
        waiting = deque(self._keep_records_to_copy())
        with ThreadPoolExecutor(_THREADS) as pool:
            try:
                self._copy_points(pool, waiting)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        self._copy_keep_records(waiting, through=None)
        self._report_problems()
        if keys is not None and keys_to is not None:
            self._copy_keys(keys, keys_to)
        return ReplicationReport(counts=self._tally.counts, findings=self._findings.all())

    # Records of the vault and of the copy

    def _read_records(
        self, owner: bytes | None
    ) -> tuple[RootChain, dict[str, SnapshotHistory], RetentionLog]:
        """Read all records; repeat if a root record was signed in the meantime."""
        trust = load_root_chain(self._vault, owner=owner)
        for _ in range(_READ_ATTEMPTS):
            histories = {
                writer: SnapshotHistory(
                    writer, read_history(self._vault, trust, writer), trust.removal_time(writer)
                )
                for writer in trust.root.writer_ids
            }
            # Read the keep records last, because snapshots may name the newest of them.
            log = load_retention_log(self._vault, trust)
            reread = load_root_chain(self._vault, owner=owner)
            if reread.links == trust.links:
                break
            trust = reread
        return trust, histories, log

    def _check_target(self) -> None:
        first = root_name(0)
        try:
            existing = read_bounded(self._to, first, MAX_ROOT_RECORD_BYTES)
        except NotFound:
            return
        if hashlib.sha256(existing).hexdigest() != self._trust.links[0].sha256:
            raise UsageError(
                "copy: it has another repository; nothing was changed. Name an empty place."
            )

    def _list_copy(self) -> Iterator[Stat]:
        prefixes = [ROOTS, KEEPS, FORMATS, READERS]
        for writer in self._histories:
            prefixes += [pack_prefix(writer), snapshot_prefix(writer)]
        for prefix in prefixes:
            yield from self._to.list(prefix)

    def _compare_size(self, name: str, size: int) -> None:
        existing = self._existing[name]
        if existing != size:
            problem = f"has {existing} bytes in the copy, but {size} in the vault"
            self._findings.error(name, problem, _VERIFY_COPY, kind="copy")

    # Records

    def _copy_roots(self) -> None:
        for name, problem in self._trust.problems:
            self._findings.error(name, problem, FROM_A_COPY)
        for link in self._trust.links:
            self._copy_verified(
                "root records", root_name(link.number), MAX_ROOT_RECORD_BYTES, link.sha256
            )

    def _copy_documents(self) -> None:
        for prefix in (FORMATS, READERS):
            for stat in self._vault.list(prefix):
                expected = bundled_sha256(stat.name)
                if expected is None:
                    continue
                if stat.name in self._existing:
                    self._tally.count_existing("documents")
                    self._compare_size(stat.name, stat.size_bytes)
                    continue
                try:
                    data = read_bounded(self._vault, stat.name, MAX_BUNDLED_FILE_BYTES)
                except Damaged as error:
                    self._findings.error(stat.name, str(error), FROM_A_COPY)
                    continue
                if hashlib.sha256(data).hexdigest() != expected:
                    self._findings.error(stat.name, "its bytes do not match its name", FROM_A_COPY)
                    continue
                self._put_or_compare("documents", stat.name, data, self._existing)

    def _keep_records_to_copy(self) -> list[int]:
        """Return the keep records of the chain, and those that a snapshot names."""
        counted = {link.number for link in self._log.links}
        seen = {
            (snapshot.keep_record.number, snapshot.keep_record.sha256)
            for history in self._histories.values()
            for snapshot in history.snapshots.values()
            if snapshot.keep_record is not None
        }
        return sorted(
            number
            for number, sha256 in self._log.slots.items()
            if number in counted or (number, sha256) in seen
        )

    def _copy_keep_records(self, waiting: deque[int], through: int | None) -> None:
        while waiting and (through is None or waiting[0] <= through):
            number = waiting.popleft()
            name = keep_name(number)
            if name in self._existing and waiting:
                self._tally.count_existing("keep records")
                continue
            self._copy_verified(
                "keep records", name, MAX_KEEP_RECORD_BYTES, self._log.slots[number]
            )

    def _copy_verified(self, kind: Kind, name: str, max_bytes: int, sha256: str) -> None:
        """Copy a verified record, unless it changed after the check."""
        data = read_bounded(self._vault, name, max_bytes)
        if hashlib.sha256(data).hexdigest() == sha256:
            self._put_or_compare(kind, name, data, self._existing)
        else:
            problem = "changed since it was read; it was not copied"
            self._findings.error(name, problem, _REPEAT)

    # Recovery points

    def _copy_points(self, pool: ThreadPoolExecutor, waiting: deque[int]) -> None:
        """Copy a few packs at a time; put each snapshot after its packs."""
        pending: deque[_Pending] = deque()
        pending_packs = 0
        for through, writer, sequence in self._ordered_snapshots():
            for sha256 in self._packs_to_copy(writer, sequence):
                future = pool.submit(self._copy_pack, writer, sha256)
                pending.append(_Pending(writer=writer, sha256=sha256, future=future))
                pending_packs += 1
            pending.append(_Pending(writer=writer, sequence=sequence, through=through))
            while pending and (pending_packs > _AHEAD or pending[0].future is None):
                pending_packs -= self._finish(pending.popleft(), waiting)
        while pending:
            self._finish(pending.popleft(), waiting)

    def _finish(self, item: "_Pending", waiting: deque[int]) -> int:
        """Wait for a pack, or put a snapshot; return 1 for a pack, else 0."""
        if item.future is None:
            self._copy_keep_records(waiting, item.through)
            self._copy_snapshot(item.writer, item.sequence)
            return 0
        try:
            size = result_of(item.future)
        except NotFound:
            self._missing[item.writer, item.sha256] = "is missing although a snapshot names it"
        except Damaged as error:
            self._missing[item.writer, item.sha256] = str(error)
        else:
            self._tally.count_copied("packs", pack_name(item.writer, item.sha256), size)
        return 1

    def _ordered_snapshots(self) -> list[tuple[int, str, int]]:
        """Return snapshots as (last keep record to copy first, writer, sequence)."""
        dropped_by = self._drop_records()
        ordered = []
        for writer, history in self._histories.items():
            through = -1
            for sequence, snapshot in sorted(history.snapshots.items()):
                if snapshot.keep_record is not None:
                    through = max(through, snapshot.keep_record.number)
                # Only a new snapshot waits: a snapshot in the copy has its packs there already.
                is_new = snapshot_name(writer, sequence) not in self._existing
                for sha256 in history.known_packs(sequence) if is_new and dropped_by else ():
                    through = max(through, dropped_by.get((writer, sha256), -1))
                ordered.append((through, writer, sequence))
        return sorted(ordered)

    def _drop_records(self) -> dict[tuple[str, str], int]:
        numbers: dict[tuple[str, str], int] = {}
        for link in self._log.links if self._log.dropped else ():
            name = keep_name(link.number)
            record = keep_from_bytes(read_bounded(self._vault, name, MAX_KEEP_RECORD_BYTES), name)
            numbers.update(dict.fromkeys(record.dropped, link.number))
        return numbers

    def _packs_to_copy(self, writer: str, sequence: int) -> list[str]:
        expected = []
        for sha256, size in self._histories[writer].snapshots[sequence].packs:
            name = pack_name(writer, sha256)
            if name in self._existing:
                self._tally.count_existing("packs")
                if (writer, sha256) not in self._log.dropped:
                    self._compare_size(name, size)
            elif (writer, sha256) not in self._log.dropped:
                expected.append(sha256)
        return expected

    def _copy_pack(self, writer: str, sha256: str) -> int:
        """Copy one pack in a thread; return its size, or 0 if the copy has it."""
        name = pack_name(writer, sha256)
        data = read_bounded(self._vault, name, MAX_PACK_BYTES)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Damaged("its bytes do not match its name")
        try:
            self._to.put(name, data)
        except AlreadyThere:
            return 0
        return len(data)

    def _copy_snapshot(self, writer: str, sequence: int) -> None:
        name = snapshot_name(writer, sequence)
        if name in self._existing and sequence != max(self._histories[writer].snapshots):
            self._tally.count_existing("snapshots")
            self._compare_size(name, self._sizes.get(name, self._existing[name]))
            return
        try:
            data = read_bounded(self._vault, name, MAX_SNAPSHOT_BYTES)
            parse_snapshot(data, self._trust, writer, sequence, name)
        except (Damaged, NotFound) as error:
            self._findings.error(name, str(error), FROM_A_COPY)
            return
        self._put_or_compare("snapshots", name, data, self._existing)

    def _report_problems(self) -> None:
        for name, problem in self._log.problems:
            self._findings.warning(
                name, f"{problem}; it was not copied", FIND_AUTHOR, kind="no keep record"
            )
        for history in self._histories.values():
            history.check(self._findings)
        # Do not report packs that the keeper has dropped since the records were read.
        dropped = load_retention_log(self._vault, self._trust).dropped if self._missing else set()
        for (writer, sha256), problem in self._missing.items():
            if (writer, sha256) not in dropped:
                self._findings.error(
                    pack_name(writer, sha256), f"{problem}; it was not copied", _REPEAT, kind="pack"
                )

    # Keys

    def _copy_keys(self, keys: Store, to: Store) -> None:
        for domain in self._trust.root.domains:
            prefix = key_prefix(domain.id, domain.generation)
            existing = {stat.name for stat in to.list(prefix)}
            stored = {stat.name for stat in keys.list(prefix)}
            for name in sorted(existing if domain.erased is not None else existing - stored):
                self._findings.error(
                    name,
                    "is a key record that the key store no longer has, but the copy has",
                    "remove it from the copy of the key store: a custodian was retired, or"
                    " the domain was erased",
                )
            if domain.erased is not None:
                continue
            for name in sorted(stored):
                try:
                    data = read_bounded(keys, name, MAX_KEY_RECORD_BYTES)
                    parse_key_record(data, self._trust.root, domain, name)
                except Damaged as error:
                    self._findings.error(name, str(error), FROM_A_COPY)
                    continue
                self._put_or_compare("key records", name, data, existing, to)

    def _put_or_compare(
        self, kind: Kind, name: str, data: bytes, existing: Container[str], to: Store | None = None
    ) -> None:
        """Put a verified object; if it exists, compare the existing content."""
        store = to or self._to
        if name not in existing:
            try:
                store.put(name, data)
            except AlreadyThere:
                pass
            else:
                self._tally.count_copied(kind, name, len(data))
                return
        self._tally.count_existing(kind)
        with expect_existing(name):
            found = store.get_range(name, 0, len(data) + 1)
        if found != data:
            self._findings.error(
                name,
                "differs between the copy and the vault",
                "find out which of the two was rolled back or damaged before using either",
            )
