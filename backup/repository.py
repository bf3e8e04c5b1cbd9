"""Repository: find, read, compare and restore recovery points.

    repository = Repository.open(vault, keys, identity)
    point = repository.resolve("latest")
    repository.restore(point, Path("/restored"))

- Recovery points (restorable backups) are listed without a key. An identity (private key) decrypts
  their details, entries and content.
- Only signed records are trusted, and content is returned only if its keyed hash matches.
- A restore never writes outside its target. It overwrites only files of an earlier attempt of the
  same restore. It names the paths that it could not restore. If content is damaged, it reads the
  content from other packs, if they have it.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pyrage

from backup.errors import BackupError, Damaged, NotFound, UsageError, WrongKey
from backup.format.canonical_json import from_path_text, to_path_text
from backup.format.manifest import Entry
from backup.format.object_names import snapshot_name
from backup.format.pack import HEADER_BYTES, OpenPack, parse_header
from backup.format.snapshot import Body, Snapshot, open_body
from backup.reader.blob_reader import BlobReader, Heal
from backup.reader.manifest_diff import compare_entries, pair_entries
from backup.reader.manifest_walk import blobs_of, content_of, find_entry, list_folder, walk
from backup.reader.path_search import Search
from backup.reader.path_selection import PathSample, Selection
from backup.reader.recovery_points import RecoveryPoints
from backup.reader.self_healing import BlobHealer
from backup.records import (
    Difference,
    FoundPath,
    Progress,
    RecoveryPoint,
    RecoveryPointDetails,
    RestoreResult,
)
from backup.restorer.restore_run import Request, Restore
from backup.stores import Store
from backup.stores.directory import DirectoryStore
from backup.trust.key_files import Identity, erased_text, open_domains
from backup.trust.root_chain import RootChain, load_root_chain
from backup.trust.snapshot_slots import Slot, read_slot

__all__ = ["Repository", "blobs_of", "walk"]

_SEARCHED_AT_ONCE = 8  # recovery points; each uses some megabytes of memory


class Repository:
    """An opened repository; use `open`."""

    def __init__(
        self,
        vault: Store,
        trust: RootChain,
        domains: dict[tuple[str, int], pyrage.x25519.Identity],
        own_writer: str | None = None,
        damaged_keys: Mapping[tuple[str, int], Damaged] | None = None,
    ) -> None:
        self._vault = vault
        self._domains = domains
        self._damaged_keys = damaged_keys or {}
        self.trust = trust
        self._points = RecoveryPoints(
            vault, trust, own_writer=own_writer, open_details=self._open_details
        )

    @staticmethod
    def open(
        vault: Store,
        keys: Store | None = None,
        identity: Identity | None = None,
        owner: bytes | None = None,
        own_writer: str | None = None,
        key_copies: Sequence[Store] = (),
    ) -> "Repository":
        """Open a repository; restoring needs an identity.

        `owner` is the public key that must have signed the repository, unless the identity names an
        owner key. `own_writer` is the name under which this host makes backups. `key_copies` are
        copies of `keys` (the encrypted private keys), for keys that `keys` lacks.

        Raise `NotFound` if the vault has no repository, `WrongKey` if the identity opens none of
        its keys or is of another repository, and `Damaged` if another owner signed it.
        """
        try:
            trust = load_root_chain(vault, owner=(identity and identity.owner) or owner)
        except Damaged:
            if owner is None and identity is not None and _is_other_repository(vault, identity):
                raise WrongKey(
                    f"{vault.where}: its repository is not the one of this identity. Use"
                    " the identity of that repository, or name the vault of this identity"
                ) from None
            raise
        damaged: dict[tuple[str, int], Damaged] = {}
        domains = {}
        if identity is not None:
            domains = open_domains(trust.root, keys, identity, damaged, key_copies)
        return Repository(vault, trust, domains, own_writer, damaged)

    @property
    def damaged(self) -> dict[tuple[str, int], str]:
        """Return the problems that the last call of `points` found.

        Problems are by writer (backup host) and sequence number. Invalid objects that the writer
        skipped, and snapshots that the owner does not trust, are omitted.
        """
        return self._points.damaged

    def points(
        self, set_name: str | None = None, *, with_expired: bool = False
    ) -> list[RecoveryPoint]:
        """Return the valid, unexpired recovery points, newest last.

        With `with_expired`, expired points are included; packs that they need may be missing. The
        points of one writer are in the order of their sequence numbers, even if its clock was
        wrong. Points of several writers are in the order of time. For this order, a point that is
        dated after the next point of the same writer gets the time of that next point. Damaged or
        forged snapshots are omitted; see `damaged`.
        """
        return self._points.read(set_name, with_expired=with_expired)

    def resolve(
        self, text: str, set_name: str | None = None, *, of_any_host: bool = False
    ) -> RecoveryPoint:
        """Find a point by "latest", "<writer>/latest", a name or a number.

        A name is "<writer>/<sequence>". An expired point is found by its number. Its content can be
        restored as far as it still exists.

        Raise `NotFound`, which names the existing sets or points. Raise `Damaged` if the point of
        this number is damaged, or if the history of its writer forks. Raise `UsageError` if several
        writers have a point of this number, or if "latest" is ambiguous; see `recovery_points`.
        """
        return self._points.resolve(text, set_name, of_any_host=of_any_host)

    def entries(self, point: RecoveryPoint, patterns: Sequence[str] = ()) -> Iterator[Entry]:
        """Yield the entries of a point in path order; see `path_selection`."""
        body, reader = self._open_healing(point)
        selection = Selection(patterns)
        for entry in walk(reader, body, selection):
            if selection.includes(entry.path):
                yield entry

    def list_folder(self, point: RecoveryPoint, path: bytes | str = b"") -> list[Entry]:
        """Return the entries directly in a folder; without a path, the sources.

        For a path that is not a folder, return its own entry; `NotFound` if it does not exist.
        """
        body, reader = self._open_healing(point)
        folder = _to_path(path)
        entries = list(list_folder(reader, body, folder))
        if not entries and (not folder or find_entry(reader, body, folder) is None):
            raise NotFound(f"{to_path_text(folder)}: not in recovery point {point.name}")
        return entries

    def find(self, patterns: Sequence[str], points: Sequence[RecoveryPoint]) -> list[FoundPath]:
        """Find paths in several points; see `path_search` for patterns.

        Points that the identity does not decrypt are omitted. Raise `Damaged` if the stored key of
        a point is damaged.
        """
        known = {domain for domain, _ in (*self._domains, *self._damaged_keys)}
        return Search(patterns).find_versions(
            [point for point in reversed(points) if point.domain in known],
            self._open_healing,
            min(_SEARCHED_AT_ONCE, self._vault.calls_at_once),
        )

    def diff(
        self, before: RecoveryPoint, after: RecoveryPoint, patterns: Sequence[str] = ()
    ) -> Iterator[Difference]:
        """Yield added, removed and changed paths between two points, in order.

        Only the manifest pages that differ are read. Raise `UsageError` if blobs are hashed with
        different keys in the two points, as in points of two writers. After the last difference,
        raise `NotFound` if a pattern selects no path of either point.
        """
        _, old, old_reader = self.open_point(before)
        new, reader = self._open_healing(after)
        places = {(point.writer, point.domain) for point in (before, after)}
        if old.id_key != new.id_key or len(places) > 1:
            raise UsageError(
                f"{before.name} and {after.name} cannot be compared: they are of two writers or"
                " domains. Restore both, and compare the folders"
            )
        selection = Selection(patterns)
        for old_entry, new_entry in pair_entries(reader, old, new):
            entry = old_entry or new_entry
            if entry is not None and selection.includes(entry.path):
                found = compare_entries(reader, old_entry, new_entry)
                if found is not None:
                    yield found
        for pattern in selection.unmatched():
            if not (_contains(old_reader, old, pattern) or _contains(reader, new, pattern)):
                raise NotFound(
                    f"{pattern}: in neither {before.name} nor {after.name}. `ls` lists their paths"
                )

    def stream(self, point: RecoveryPoint, path: bytes | str) -> Iterator[bytes]:
        """Yield the content of one file; holes are zeros.

        `path` is `<source>/<path>`, as bytes or as path text. A piece has 1 byte to 8 MiB. It is
        compared with its id before it is yielded. Later pieces are read ahead. Only the pages that
        lead to the file are read.

        Raise `NotFound`, `UsageError` (not a file) or `WrongKey` before the first piece. `Damaged`
        may be raised after some pieces. These are right, but the consumer must not take them for
        the whole file.
        """
        body, reader = self._open_healing(point)
        path_bytes = _to_path(path)
        entry = find_entry(reader, body, path_bytes)
        if entry is None:
            raise NotFound(
                f"{to_path_text(path_bytes)}: not in recovery point {point.name}. `ls` lists its"
                " paths"
            )
        if entry.kind != "file":
            raise UsageError(f"{entry.text} is a {entry.kind}. Only a file has content")
        return content_of(reader, entry)

    def restore(
        self,
        point: RecoveryPoint,
        to: Path,
        patterns: Sequence[str] | PathSample = (),
        progress: Callable[[Progress], None] | None = None,
        *,
        owner: bool = False,
        syncs: bool = True,
        workers: int | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> RestoreResult:
        """Restore a point, selected paths or a sample into an empty folder `to`.

        Paths become `to/<source>/…`. After a crash, an error or Ctrl-C, the same call continues:
        existing files are compared with the point blob by blob, and only blobs that differ are read
        again. Files and attributes in the target that the point does not have remain there, and are
        not reported. Without `owner`, neither set-id bits nor capabilities are restored; `problems`
        names them.

        When the call returns, the disk has all data. With `syncs` False, the call may return
        earlier. A background process then removes the journal, the file that marks the target as
        unfinished, when the disk has all data. In a process with threads, the call always waits.
        `workers` is the number of worker processes, by default one per processor and at most four.
        None is started if this process has other threads, or if the store is not on a disk.

        If content is damaged or missing, it is read from other packs (`healed`), or its files are
        named in `problems`. If a manifest page cannot be read, the paths that it lists are missing;
        for the top page, raise `Damaged`. Raise `UnsafePath` if `to` has other content, `Busy`
        while another restore writes into it, or `NotWritable` if the disk is full.
        """
        _, body, _ = self.open_point(point)

        request = Request(
            repository=self.trust.root.repository,
            point=point,
            to=to,
            patterns=patterns,
            owner=owner,
            syncs=syncs,
            workers=workers,
            forks=isinstance(self._vault, DirectoryStore),
        )
        return Restore(
            request,
            body=body,
            open_reader=lambda: self._healing(point, body),
            progress=progress,
            now=now,
        ).run()

    def open_point(self, point: RecoveryPoint) -> tuple[Snapshot, Body, BlobReader]:
        """Return a point's public part, its decrypted part and a blob reader.

        Raise `WrongKey` if the identity does not decrypt the point.
        """
        if not self._domains:
            raise WrongKey("identity: none is named. Name the identity file of a custodian")
        name = snapshot_name(point.writer, point.sequence)
        slot = read_slot(self._vault, self.trust, point.writer, name)
        if slot.snapshot is None:
            raise Damaged(f"{slot.problem}")
        body = self._body(slot.snapshot, slot)
        return slot.snapshot, body, self._reader(point, body)

    def _open_healing(self, point: RecoveryPoint) -> tuple[Body, BlobReader]:
        _, body, _ = self.open_point(point)
        return body, self._healing(point, body)[0]

    def _healing(self, point: RecoveryPoint, body: Body) -> tuple[BlobReader, BlobHealer]:
        def others() -> Iterator[tuple[str, Body]]:
            for other in reversed(self.points()):
                if other.name != point.name and (other.writer, other.domain) == (
                    point.writer,
                    point.domain,
                ):
                    with suppress(BackupError):
                        _, found, _ = self.open_point(other)
                        if found.id_key == body.id_key:
                            yield other.name, found

        healer = BlobHealer(
            writer=point.writer, body=body, reader=self._reader(point, body), others=others
        )
        return self._reader(point, body, healer.find), healer

    def _reader(self, point: RecoveryPoint, body: Body, heal: Heal | None = None) -> BlobReader:
        # A recovery point may use packs that are encrypted to earlier keys of its domain.
        identities = [key for (domain, _), key in self._domains.items() if domain == point.domain]
        return BlobReader(
            vault=self._vault,
            writer=point.writer,
            domain=point.domain,
            repository=self.trust.root.repository,
            identities=identities,
            id_key=body.id_key,
            heal=heal,
        )

    def can_open(self, point: RecoveryPoint) -> bool:
        """Return whether the identity has a key of the point's domain."""
        return any(domain == point.domain for domain, _ in self._domains)

    def open_whole_pack(self, data: bytes, writer: str, name: str) -> None:
        """Verify a pack; its content only if the identity decrypts it."""
        header = parse_header(data[:HEADER_BYTES], name)
        if (header.repository, header.writer) != (self.trust.root.repository, writer):
            raise Damaged(f"{name} is a pack of another writer or repository")
        identities = [key for (domain, _), key in self._domains.items() if domain == header.domain]
        if identities:
            OpenPack(header, identities, name).open_all(data)

    def _body(self, snapshot: Snapshot, slot: Slot) -> Body:
        key = self._domains.get((snapshot.domain, snapshot.generation))
        if key is None:
            domain = self.trust.root.domain(snapshot.domain)
            if domain is not None and domain.erased is not None:
                raise WrongKey(erased_text(domain))
            damaged = self._damaged_keys.get((snapshot.domain, snapshot.generation))
            if damaged is not None:
                raise Damaged(
                    f"domain {snapshot.domain} does not open, and the identity may be right:"
                    f" {damaged}. Restore that key from a copy of the key store"
                )
            raise WrongKey(
                f"identity: it does not open domain {snapshot.domain}. Use its custodian's key"
            )
        return open_body(slot.sealed, [key], slot.name)

    def _open_details(self, slot: Slot, snapshot: Snapshot) -> RecoveryPointDetails | None:
        """Return the encrypted details of a point, or None if they do not open."""
        if not self._domains:
            return None
        try:
            body = self._body(snapshot, slot)
        except BackupError:
            return None  # the point is listed nevertheless; `verify` names its problem
        return RecoveryPointDetails(
            consistent_at=body.consistent_at,
            started=body.started,
            ended=body.ended,
            files=body.files,
            directories=body.directories,
            bytes=body.bytes,
            unread=body.unread,
            unread_total=body.unread_total,
            sources=body.sources,
        )


def _contains(reader: BlobReader, body: Body, pattern: str) -> bool:
    selection = Selection([pattern])
    return any(selection.includes(entry.path) for entry in walk(reader, body, selection))


def _to_path(path: bytes | str) -> bytes:
    """Convert a path that a person wrote, as path text or as it is."""
    if isinstance(path, bytes):
        return path
    try:
        path_bytes = from_path_text(path, "the path asked for")
    except Damaged:
        path_bytes = os.fsencode(path)  # not path text: it has a percent sign of its own
    return path_bytes.rstrip(b"/")


def _is_other_repository(vault: Store, identity: Identity) -> bool:
    """Return whether the vault has another repository than the identity names."""
    with suppress(BackupError):
        return load_root_chain(vault).root.repository != identity.repository
    return False
