"""Checking a repository: without any key what its history and bytes say, with one what they hold.

- Keyless: signatures, the sequence without holes, the hash of each snapshot before, the witness,
  every named pack there with its size.  `read` reads every byte: a pack's name is the hash of
  them, so each flipped bit is found.
- Keyed (an identity): besides, every tag of every pack read, and every blob that any point reaches.
- Only the keyed check finds what a writer that was taken over stored wrongly: garbage under a
  good signature, references into nothing.
- Without a witness a removed newest snapshot looks like one never made: keep `heads` elsewhere.
- A finding names the object and what to do.  Nothing is changed, and nothing ends the check early
  but a store that does not answer.
"""

import hashlib
from collections.abc import Callable, Sequence

from backup.contents import Contents
from backup.errors import BackupError, Damaged, NotFound, WrongKey
from backup.findings import FROM_A_COPY, LOOK, TAKE_THE_RIGHT, Findings
from backup.format.layout import (
    ROOTS,
    keys_of,
    number_in,
    pack_in,
    pack_name,
    packs_of,
    root_name,
    snapshot_name,
    snapshots_of,
)
from backup.history import History, read_history
from backup.keys import Identity, parse_key_record
from backup.reader import Repository
from backup.records import Head, Progress, VerifyReport
from backup.stores import Store
from backup.trust import Trust, load_trust


def verify(
    vault: Store,
    *,
    keys: Store | None = None,
    identity: Identity | None = None,
    read: bool = False,
    witness: Sequence[Head] = (),
    owner: bytes | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> VerifyReport:
    """Check everything that can be checked with what is given; findings are the result, not errors.

    `witness` are heads of an earlier report, kept elsewhere; `owner` is the owner's public key,
    from the recovery card.  `NotFound` when the store holds no repository at all, `WrongKey` when
    the identity is of another one, `StoreUnavailable` when the store does not answer.
    """
    return _Check(vault, keys, progress).run(
        identity=identity, read=read, witness=witness, owner=owner
    )


class _Check:
    def __init__(
        self, vault: Store, keys: Store | None, progress: Callable[[Progress], None] | None
    ) -> None:
        self._vault = vault
        self._keys = keys
        self._found = Findings()
        self._progress = progress
        self._bytes_read = 0

    def run(
        self,
        *,
        identity: Identity | None,
        read: bool,
        witness: Sequence[Head],
        owner: bytes | None,
    ) -> VerifyReport:
        try:
            trust = load_trust(self._vault, owner=owner)
        except Damaged as error:
            self._found.error(root_name(0), str(error), FROM_A_COPY)
            return VerifyReport(
                findings=self._found.all(), points=0, packs=0, bytes_read=0, heads=()
            )
        repository = None
        if identity is not None:
            repository = Repository.open(self._vault, self._keys, identity)
        for name, problem in trust.problems:
            self._found.error(name, problem, FROM_A_COPY)
        if self._keys is not None:
            self._check_keys(trust, self._keys)
        writers = sorted({writer.id for writer in trust.root.writers})
        histories = {
            writer: History(writer, list(read_history(self._vault, trust, writer)))
            for writer in writers
        }
        for history in histories.values():
            history.check(self._found)
            history.check_witness(witness, self._found)
            self._check_packs(history)
        self._check_strangers(histories, witness)
        if read:
            for history in histories.values():
                self._read_packs(history, repository)
        if repository is not None:
            contents = Contents(repository, histories, self._found, self._tell)
            contents.check()
            self._bytes_read += contents.bytes_read
        return VerifyReport(
            findings=self._found.all(),
            points=sum(len(history.snapshots) for history in histories.values()),
            packs=sum(len(history.packs) for history in histories.values()),
            bytes_read=self._bytes_read,
            heads=tuple(head for h in histories.values() if (head := h.head()) is not None),
        )

    def _check_keys(self, trust: Trust, keys: Store) -> None:
        for domain in trust.root.domains:
            prefix = keys_of(domain.id, domain.generation)
            names = [stat.name for stat in keys.list(prefix)]
            if not names:
                self._found.error(
                    prefix,
                    "there is no key of this domain: nothing of it can ever be restored",
                    "restore the key record from a copy of the key store",
                )
            for name in names:
                try:
                    record = parse_key_record(keys.get(name), trust.root, domain, name)
                    if record.recipient != domain.recipient:
                        raise Damaged(f"{name} holds another key than the root record names")
                except BackupError as error:
                    self._found.error(name, str(error), FROM_A_COPY)

    def _check_packs(self, history: History) -> None:
        sizes: dict[str, int] = {}
        for stat in self._vault.list(packs_of(history.writer)):
            sizes[stat.name] = stat.size_bytes
        unnamed = len(sizes)
        for sha256, size in history.packs.items():
            name = pack_name(history.writer, sha256)
            if name not in sizes:
                self._found.error(name, "is missing although a snapshot names it", FROM_A_COPY)
                continue
            unnamed -= 1
            if sizes[name] != size:
                self._found.error(
                    name, f"has {sizes[name]} bytes where its snapshot says {size}", FROM_A_COPY
                )
        if unnamed:
            self._found.note(
                packs_of(history.writer),
                f"{unnamed} packs are named by no snapshot: a run was interrupted, or is going on",
                "nothing: they are harmless, and the next run uses what it can",
            )

    def _check_strangers(self, histories: dict[str, History], witness: Sequence[Head]) -> None:
        for head in witness:
            if head.writer not in histories:
                self._found.error(
                    snapshot_name(head.writer, head.sequence),
                    "the witness knows this writer, and no root record does",
                    "look at the root records: the repository was replaced or rolled back",
                )
        for stat in self._vault.list(""):
            if not _is_ours(stat.name, histories):
                self._found.warning(stat.name, "is nothing that this format has", LOOK)
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

    def _read_packs(self, history: History, repository: Repository | None) -> None:
        for sha256 in history.packs:
            name = pack_name(history.writer, sha256)
            try:
                data = self._vault.get(name)
            except NotFound:
                continue  # said by the listing
            self._bytes_read += len(data)
            self._tell(name)
            if hashlib.sha256(data).hexdigest() != sha256:
                self._found.error(name, "its bytes are not what its name says", FROM_A_COPY)
            elif repository is not None:
                try:
                    repository.open_whole_pack(data, history.writer, name)
                except WrongKey:
                    self._found.error(
                        name, "does not open with the domain's key", "back its content up again"
                    )
                except BackupError as error:
                    self._found.error(name, str(error), "back its content up again")

    def _tell(self, path: str) -> None:
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


def _is_ours(name: str, histories: dict[str, History]) -> bool:
    if number_in(name, ROOTS) is not None:
        return True
    pack = pack_in(name)
    if pack is not None:
        return pack[0] in histories
    return any(number_in(name, snapshots_of(writer)) is not None for writer in histories)
