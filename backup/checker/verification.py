"""Verification run: all checks of a vault, a witness and the key records.

    report = verify(vault, owner=owner_public_key)
    for finding in report.findings:
        print(finding.object, finding.problem, finding.what_to_do)

- Without a key, the run checks signatures, gaps in the sequence numbers of snapshots, and whether
  each snapshot contains the hash of the previous one. It compares the vault (the folder or bucket
  with the encrypted backups) with the witness, a record of the newest snapshots on another machine.
  It also checks the key records, which contain the encrypted private keys, and the presence and
  size of each pack that a snapshot names.
- With `read`, the run also reads every pack and compares its hash with its name. So each flipped
  bit is found.
- With a key (an identity), the run also checks all manifest pages and blobs of the recovery points,
  and with `read` every authentication tag. A sample checks all manifest pages and random pieces of
  the content, and reports its confidence.
- If the store locks objects, the first run and each run with `read` check all locks. Other runs
  check the locks of new objects, and a thirtieth of the other locks per day.
- Only a run with a key finds false content that a compromised writer (backup host) signed, such as
  references to missing blobs.
- A vault that lost its newest snapshot looks like a vault in which this snapshot was never made.
  Only a witness shows the difference. So store the `heads` of a report (number and hash of each
  newest snapshot) on another machine, as the witness of the next run.
- A finding names the object, the problem and the action. The run changes nothing. It ends early
  only if the store does not answer, or if no root record (the owner's signed list of hosts and
  keys) can be used.
"""

import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime

from backup.checker.content_check import ContentCheck
from backup.checker.lock_check import LockCheck
from backup.checker.pack_check import PackCheck
from backup.checker.sampling import Sample
from backup.errors import BackupError, Damaged, StoreUnavailable, UsageError
from backup.findings import FIND_AUTHOR, FROM_A_COPY, REVOKE_RIGHT, Findings
from backup.format.keep_record import PackId
from backup.format.object_names import (
    KEEPS,
    MAX_BUNDLED_FILE_BYTES,
    MAX_KEY_RECORD_BYTES,
    ROOTS,
    bundled_sha256,
    keep_name,
    key_prefix,
    parse_number,
    parse_pack_name,
    root_name,
    snapshot_name,
    snapshot_prefix,
)
from backup.records import Depth, Head, LockSummary, Progress, VerifyReport
from backup.repository import Repository
from backup.stores import Stat, Store
from backup.stores.bounded_read import read_bounded
from backup.stores.parallel_reads import start_in_background
from backup.trust.key_files import Identity, erased_text, parse_key_record
from backup.trust.retention_log import RetentionLog, load_retention_log
from backup.trust.root_chain import RootChain, load_root_chain
from backup.trust.snapshot_history import SnapshotHistory
from backup.trust.snapshot_slots import read_history


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
    """Run all checks that are possible with the given keys.

    - `sample` needs an identity; random pieces are checked instead of all content.
    - `witness` contains the `heads` of an earlier report, stored on another machine.
    - `owner` is the public key of the owner (the person with the offline signing key), as printed
      on the recovery card.
    - `locks_right_at` is the start of the last verification that found all locks right. The caller
      stores it. Without it, all locks are checked.
    - `distrusted` are packs that are known to be damaged, in addition to those in the keep records,
      the signed lists of the keeper (the machine that may expire backups).

    Raise `NotFound` if the vault has no repository, `WrongKey` if the identity belongs to another
    repository, `StoreUnavailable` if a store does not answer, and `UsageError` for a sample without
    an identity.
    """
    if sample is not None and identity is None:
        raise UsageError("sample: it needs a key to decrypt content. Give a custodian's identity.")
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
        read_log = start_in_background(self._vault, lambda: load_retention_log(self._vault, trust))
        for name, problem in trust.problems:
            self._found.error(name, problem, FROM_A_COPY)
        if self._keys is not None:
            self._check_keys(trust, self._keys)
        histories = {
            writer: SnapshotHistory(
                writer, read_history(self._vault, trust, writer), trust.removal_time(writer)
            )
            for writer in trust.root.writer_ids
        }
        log = read_log()
        for name, problem in log.problems:
            self._check_keep_slot(name, problem, log)
        packs = {
            writer: PackCheck(self._vault, history, log, self._found, self._distrusted)
            for writer, history in histories.items()
        }
        for writer, history in histories.items():
            history.check(self._found)
            history.check_witness(witness, self._found)
            self._check_keep_links(history, log)
            packs[writer].check_listing()
        locks = self._check_listing(histories, packs, witness)
        if read:
            for check in packs.values():
                check.read(repository, self._report)
        saw: list[Depth] = ["looking", "reading"] if read else ["looking"]
        sampled = None
        if repository is not None:
            contents = ContentCheck(repository, packs, self._found, self._report)
            if sample is not None:
                sampled = contents.sample(sample, random)
            else:
                contents.check()
                saw += ["opening"] if contents.opened_all else []
        for check in packs.values():
            check.report()
        return VerifyReport(
            findings=self._found.all(),
            points=sum(len(history.snapshots) for history in histories.values()),
            packs=sum(len(history.packs) for history in histories.values()),
            bytes_read=self._bytes_read,
            heads=tuple(head for h in histories.values() if (head := h.head()) is not None),
            saw=tuple(saw),
            sampled=sampled,
            locks=locks,
            damaged_packs=tuple(name for check in packs.values() for name in check.damaged),
        )

    def _check_keep_slot(self, name: str, problem: str, log: RetentionLog) -> None:
        """Report an object that has the name of a keep record but is not valid."""
        number = parse_number(name, KEEPS)
        if number is not None and log.head is not None and number < log.head.number:
            problem = f"{problem}; the later records were written without it"
            self._found.warning(name, problem, FIND_AUTHOR, kind="passed over")
        else:
            self._found.error(name, problem, FROM_A_COPY)

    def _check_keep_links(self, history: SnapshotHistory, log: RetentionLog) -> None:
        """Report missing keep records that snapshots refer to."""
        for snapshot in history.snapshots.values():
            link = snapshot.keep_record
            if link is not None and log.slots.get(link.number) != link.sha256:
                self._found.error(
                    keep_name(link.number),
                    f"is not the keep record that snapshot {snapshot.sequence} of"
                    f" {history.writer} saw: it was removed or replaced",
                    FROM_A_COPY,
                    kind="keep link",
                )

    def _check_keys(self, trust: RootChain, keys: Store) -> None:
        for domain in trust.root.domains:
            prefix = key_prefix(domain.id, domain.generation)
            names = [stat.name for stat in keys.list(prefix)]
            if domain.erased is not None:
                self._found.note(prefix, erased_text(domain), "nothing: this is not damage")
                if names:
                    self._found.error(
                        names[0],
                        f"domain {domain.id} was erased on {domain.erased:%Y-%m-%d}, but its key"
                        " still exists",
                        "let the owner run the erasure again, to its end",
                    )
                continue
            if not names:
                self._found.error(
                    prefix,
                    "there is no key of this domain: nothing in it can be restored",
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

    def _lock_check(self, packs: Mapping[str, PackCheck]) -> LockCheck | None:
        default = self._vault.describe().lock
        if default is None:
            return None
        return LockCheck(
            self._vault,
            default,
            packs,
            self._found,
            self._report,
            now=self._now,
            since=self._locks_right_at,
        )

    def _check_listing(
        self,
        histories: dict[str, SnapshotHistory],
        packs: Mapping[str, PackCheck],
        witness: Sequence[Head],
    ) -> LockSummary | None:
        for head in witness:
            if head.writer not in histories:
                self._found.error(
                    snapshot_name(head.writer, head.sequence),
                    "the witness knows this writer, but no root record does",
                    "check the root records: the repository was replaced or rolled back",
                )
        locks = self._lock_check(packs)
        for stat in self._vault.list(""):
            if not is_as_named(self._vault, stat):
                self._found.error(stat.name, "its bytes do not match its name", FROM_A_COPY)
            if not _is_ours(stat.name, histories):
                self._found.warning(stat.name, "is not an object of this format", FIND_AUTHOR)
            elif locks is not None:
                locks.add(stat)
            if stat.is_hidden:
                self._found.warning(
                    stat.name,
                    "is hidden by a delete marker; the version before the marker is read",
                    REVOKE_RIGHT,
                )
            if stat.later_versions:
                self._found.warning(
                    stat.name,
                    f"it has {stat.later_versions} later versions; the first version is read",
                    REVOKE_RIGHT,
                )
        return None if locks is None else locks.finish()

    def _report(self, path: str, bytes_read: int) -> None:
        self._bytes_read += bytes_read
        if self._progress is not None:
            self._progress(
                Progress(
                    phase="verifying", path=path, files=0, bytes_done=self._bytes_read, bytes_new=0
                )
            )


def is_as_named(vault: Store, stat: Stat) -> bool:
    """Return whether a bundled file, such as FORMAT.md, matches its name.

    Return True for any other object: other checks compare its content.
    """
    sha256 = bundled_sha256(stat.name)
    if sha256 is None:
        return True
    is_read = stat.size_bytes <= MAX_BUNDLED_FILE_BYTES
    return is_read and hashlib.sha256(vault.get(stat.name)).hexdigest() == sha256


def _is_ours(name: str, histories: dict[str, SnapshotHistory]) -> bool:
    if (
        parse_number(name, ROOTS) is not None
        or parse_number(name, KEEPS) is not None
        or bundled_sha256(name)
    ):
        return True
    pack = parse_pack_name(name)
    if pack is not None:
        return pack[0] in histories
    return any(parse_number(name, snapshot_prefix(writer)) is not None for writer in histories)
