"""Checking a repository: without any key what its history and bytes say, with one what they hold.

- Keyless: signatures, the sequence without holes, the hash of each snapshot before, the witness,
  every named pack there with its size.  `read` reads every byte: a pack's name is the hash of
  them, so each flipped bit is found.
- Keyed (an identity): besides, every tag of every pack read, and every blob that any point reaches;
  or every page, and of the content a random sample, with the confidence that it gives.
- Each object's own lock, where the store locks: all without an earlier look and with `read`; else
  what is new, and a thirtieth of the rest a day.  See `backup/checker/lock_check.py`.
- What the keeper's records freed may be gone; what a point that has not expired needs may not.
- Only the keyed check finds what a writer that was taken over stored wrongly: garbage under a
  good signature, references into nothing.
- Without a witness a removed newest snapshot looks like one never made: keep `heads` elsewhere.
- A finding names the object and what to do.  Nothing is changed, and nothing ends the check early
  but a store that does not answer.
"""

import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime

from backup.checker.content_check import Contents
from backup.checker.lock_check import Locks
from backup.checker.pack_check import Packs
from backup.checker.sampling import Sample
from backup.errors import BackupError, Damaged, StoreUnavailable, UsageError
from backup.findings import FROM_A_COPY, LOOK, TAKE_THE_RIGHT, Findings
from backup.format.keep_record import PackId
from backup.format.object_names import (
    KEEPS,
    MAX_BUNDLED_FILE_BYTES,
    MAX_KEY_RECORD_BYTES,
    ROOTS,
    copy_in,
    keep_name,
    keys_of,
    number_in,
    pack_in,
    root_name,
    snapshot_name,
    snapshots_of,
)
from backup.records import Depth, Head, LockSummary, Progress, VerifyReport
from backup.repository import Repository
from backup.stores import Stat, Store
from backup.stores.bounded_read import read_bounded
from backup.stores.parallel_reads import beside
from backup.trust.key_files import Identity, erased_text, parse_key_record
from backup.trust.retention_log import RetentionLog, load_retention_log
from backup.trust.root_chain import RootChain, load_root_chain
from backup.trust.snapshot_history import SnapshotHistory, read_history


def verify(
    vault: Store,
    *,
    keys: Store | None = None,
    identity: Identity | None = None,
    read: bool = False,
    sample: Sample | None = None,
    witness: Sequence[Head] = (),
    owner: bytes | None = None,
    locks_right_at: datetime | None = None,
    distrusted: Collection[PackId] = (),
    progress: Callable[[Progress], None] | None = None,
    random: Callable[[int], bytes] = os.urandom,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> VerifyReport:
    """Check everything that can be checked with what is given; findings are the result, not errors.

    `sample` takes an identity and looks at so many pieces of content instead of all.  `witness` are
    heads of an earlier report, kept elsewhere; `owner` is the owner's public key, from the recovery
    card.  `locks_right_at` is when the last verification began, where its report's `locks` were
    right; the caller remembers it, and without it all are looked at.  `distrusted` are packs that
    the writer was told of, besides those that the keeper distrusts.  `NotFound` when the store
    holds no repository at all, `WrongKey` when the identity is of another one, `StoreUnavailable`
    when the store does not answer, `UsageError` for a sample without an identity.
    """
    if sample is not None and identity is None:
        raise UsageError("a sample of the content is opened with a key; give a custodian's")
    check = _Check(vault, keys, progress, now(), None if read else locks_right_at, distrusted)
    return check.run(
        identity=identity, read=read, sample=sample, random=random, witness=witness, owner=owner
    )


class _Check:
    def __init__(
        self,
        vault: Store,
        keys: Store | None,
        progress: Callable[[Progress], None] | None,
        now: datetime,
        locks_right_at: datetime | None,
        distrusted: Collection[PackId],
    ) -> None:
        self._vault = vault
        self._keys = keys
        self._found = Findings()
        self._progress = progress
        self._now = now
        self._locks_right_at = locks_right_at
        self._distrusted = distrusted
        self._bytes_read = 0

    def run(
        self,
        *,
        identity: Identity | None,
        read: bool,
        sample: Sample | None,
        random: Callable[[int], bytes],
        witness: Sequence[Head],
        owner: bytes | None,
    ) -> VerifyReport:
        try:
            trust = load_root_chain(self._vault, owner=owner)
        except Damaged as error:
            self._found.error(root_name(0), str(error), FROM_A_COPY)
            return VerifyReport(
                findings=self._found.all(), points=0, packs=0, bytes_read=0, heads=(), saw=()
            )
        repository = None
        if identity is not None:
            repository = Repository.open(self._vault, self._keys, identity)
        kept = beside(self._vault, lambda: load_retention_log(self._vault, trust))
        for name, problem in trust.problems:
            self._found.error(name, problem, FROM_A_COPY)
        if self._keys is not None:
            self._check_keys(trust, self._keys)
        histories = {
            writer: SnapshotHistory(
                writer, read_history(self._vault, trust, writer), trust.removed(writer)
            )
            for writer in trust.root.writer_ids
        }
        keeps = kept()
        for name, problem in keeps.problems:
            self._check_keep_slot(name, problem, keeps)
        packs = {
            writer: Packs(self._vault, history, keeps, self._found, self._distrusted)
            for writer, history in histories.items()
        }
        for writer, history in histories.items():
            history.check(self._found)
            history.check_witness(witness, self._found)
            self._check_keep_links(history, keeps)
            packs[writer].look()
        locks = self._check_listing(histories, packs, witness)
        if read:
            for one in packs.values():
                one.read(repository, self._tell)
        saw: list[Depth] = ["looking", "reading"] if read else ["looking"]
        sampled = None
        if repository is not None:
            contents = Contents(repository, packs, self._found, self._tell)
            if sample is not None:
                sampled = contents.sample(sample, random)
            else:
                contents.check()
                saw += ["opening"] if contents.opened_all else []
        for one in packs.values():
            one.report()
        return VerifyReport(
            findings=self._found.all(),
            points=sum(len(history.snapshots) for history in histories.values()),
            packs=sum(len(history.packs) for history in histories.values()),
            bytes_read=self._bytes_read,
            heads=tuple(head for h in histories.values() if (head := h.head()) is not None),
            saw=tuple(saw),
            sampled=sampled,
            locks=locks,
            damaged_packs=tuple(name for one in packs.values() for name in one.damaged),
        )

    def _check_keep_slot(self, name: str, problem: str, keeps: RetentionLog) -> None:
        """What a later record passed over was junk, or is of a keeper who was retired since."""
        number = number_in(name, KEEPS)
        if number is not None and keeps.head is not None and number < keeps.head.number:
            problem = f"{problem}; the records after it passed it over"
            self._found.warning(name, problem, LOOK, kind="passed over")
        else:
            self._found.error(name, problem, FROM_A_COPY)

    def _check_keep_links(self, history: SnapshotHistory, keeps: RetentionLog) -> None:
        """A keep record that a writer saw once is there for ever."""
        for snapshot in history.snapshots.values():
            link = snapshot.keep
            if link is not None and keeps.slots.get(link.number) != link.sha256:
                self._found.error(
                    keep_name(link.number),
                    f"is not the keep record that snapshot {snapshot.sequence} of"
                    f" {history.writer} saw: it was removed or replaced",
                    FROM_A_COPY,
                    kind="keep link",
                )

    def _check_keys(self, trust: RootChain, keys: Store) -> None:
        for domain in trust.root.domains:
            prefix = keys_of(domain.id, domain.generation)
            names = [stat.name for stat in keys.list(prefix)]
            if domain.erased is not None:
                self._found.note(prefix, erased_text(domain), "nothing: this is not damage")
                if names:
                    self._found.error(
                        names[0],
                        f"domain {domain.id} was erased on {domain.erased:%Y-%m-%d}, and its key is"
                        " still there",
                        "let the owner run the erasure again, to its end",
                    )
                continue
            if not names:
                self._found.error(
                    prefix,
                    "there is no key of this domain: nothing of it can ever be restored",
                    "restore the key record from a copy: `standfast backup keys copy FOLDER`",
                )
            for name in names:
                try:
                    data = read_bounded(keys, name, MAX_KEY_RECORD_BYTES)
                    parse_key_record(data, trust.root, domain, name)
                except StoreUnavailable:
                    raise
                except BackupError as error:
                    self._found.error(name, str(error), FROM_A_COPY)

    def _locks(self, packs: Mapping[str, Packs]) -> Locks | None:
        default = self._vault.describe().lock
        if default is None:
            return None
        return Locks(
            self._vault,
            default,
            packs,
            self._found,
            self._tell,
            now=self._now,
            since=self._locks_right_at,
        )

    def _check_listing(
        self,
        histories: dict[str, SnapshotHistory],
        packs: Mapping[str, Packs],
        witness: Sequence[Head],
    ) -> LockSummary | None:
        for head in witness:
            if head.writer not in histories:
                self._found.error(
                    snapshot_name(head.writer, head.sequence),
                    "the witness knows this writer, and no root record does",
                    "look at the root records: the repository was replaced or rolled back",
                )
        locks = self._locks(packs)
        for stat in self._vault.list(""):
            if not is_as_named(self._vault, stat):
                self._found.error(stat.name, "its bytes are not what its name says", FROM_A_COPY)
            if not _is_ours(stat.name, histories):
                self._found.warning(stat.name, "is nothing that this format has", LOOK)
            elif locks is not None:
                locks.look(stat)
            if stat.is_hidden:
                self._found.warning(
                    stat.name, "was deleted by a marker, and is read beneath it", TAKE_THE_RIGHT
                )
            if stat.later_versions:
                self._found.warning(
                    stat.name,
                    f"{stat.later_versions} later versions were put over it; the first is read",
                    TAKE_THE_RIGHT,
                )
        return None if locks is None else locks.end()

    def _tell(self, path: str, bytes_read: int) -> None:
        self._bytes_read += bytes_read
        if self._progress is not None:
            self._progress(
                Progress(
                    phase="verifying",
                    path=path,
                    files=0,
                    bytes_done=self._bytes_read,
                    bytes_new=0,
                )
            )


def is_as_named(vault: Store, stat: Stat) -> bool:
    """Whether a copy of FORMAT.md or of the break-glass reader is what it is named after.

    Anything else is, too: its bytes are judged elsewhere.
    """
    sha256 = copy_in(stat.name)
    if sha256 is None:
        return True
    is_read = stat.size_bytes <= MAX_BUNDLED_FILE_BYTES
    return is_read and hashlib.sha256(vault.get(stat.name)).hexdigest() == sha256


def _is_ours(name: str, histories: dict[str, SnapshotHistory]) -> bool:
    if number_in(name, ROOTS) is not None or number_in(name, KEEPS) is not None or copy_in(name):
        return True
    pack = pack_in(name)
    if pack is not None:
        return pack[0] in histories
    return any(number_in(name, snapshots_of(writer)) is not None for writer in histories)
