"""Finding recovery points and bringing them back.

- Points are found without any key; their sealed details, entries and content need an identity.
- Nothing is believed that is not signed, and no content is given whose keyed hash does not fit.
- "latest" is the newest point of a run that came to its end; an interim one only when there is no
  other.  It is refused where the writer's history forks.  Among several sets nobody guesses: the
  set is named.  Nor among several hosts, but that the host on which this runs means its own.
- A restore never writes outside its target, never over something else than an earlier try of the
  same, and names what it could not bring back.
- What is brought back may be healed from another point; a reader that `open_point` gives tells
  what is, and heals nothing.
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
from backup.reader.history_forks import leaves_out, require_unforked_history
from backup.reader.manifest_diff import difference, differences
from backup.reader.manifest_walk import blobs_of, content_of, find_entry, list_folder, walk
from backup.reader.path_search import Search
from backup.reader.path_selection import Selection
from backup.reader.self_healing import BlobHealer
from backup.records import (
    Difference,
    FoundPath,
    Progress,
    RecoveryPoint,
    RecoveryPointDetails,
    RestoreResult,
)
from backup.stores import Stat, Store
from backup.stores.directory import DirectoryStore
from backup.stores.parallel_reads import start_beside
from backup.trust.key_files import Identity, erased_text, open_domains
from backup.trust.retention_log import load_retention_log
from backup.trust.root_chain import RootChain, load_root_chain
from backup.trust.snapshot_history import Slot, read_history, read_slot, superseded_snapshots

__all__ = ["Repository", "blobs_of", "walk"]

_SEARCHED_AT_ONCE = 8  # points; each holds some megabytes of what it read


class Repository:
    """An opened repository; `open` makes one."""

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
        self._own_writer = own_writer
        self.trust = trust
        self.damaged: dict[tuple[str, int], str] = {}
        self._forks: dict[tuple[str, int], int] = {}
        self._junk: dict[Stat, Slot] = {}  # what holds no snapshot is read once

    @staticmethod
    def open(
        vault: Store,
        keys: Store | None = None,
        identity: Identity | None = None,
        owner: bytes | None = None,
        own_writer: str | None = None,
        key_copies: Sequence[Store] = (),
    ) -> "Repository":
        """Open for listing, and with an identity for restoring.

        `owner` is the public key that must have signed it, unless the identity names one;
        `own_writer` the host on which this runs; `key_copies` hold what `keys` may have lost.
        `NotFound` when the store holds no repository, `WrongKey` when the identity opens none of
        its domains or is of another repository; where `owner` knows better, that is `Damaged`.
        """
        try:
            trust = load_root_chain(vault, owner=(identity and identity.owner) or owner)
        except Damaged:
            if owner is None and identity is not None and _is_of_another(vault, identity):
                raise WrongKey(
                    f"{vault.where} holds another repository than this identity was made for: take"
                    " the custodian's file of that one, or name the vault of this"
                ) from None
            raise
        damaged: dict[tuple[str, int], Damaged] = {}
        domains = {}
        if identity is not None:
            domains = open_domains(trust.root, keys, identity, damaged, key_copies)
        return Repository(vault, trust, domains, own_writer, damaged)

    def points(
        self, set_name: str | None = None, *, with_expired: bool = False
    ) -> list[RecoveryPoint]:
        """Every valid recovery point that has not expired, of one set or of all, newest last.

        What an expired point needs may be gone, in part or all of it.

        Points of one writer stand in the order of their sequence, whatever its clock said; those of
        several by time, where none counts as later than the ones that its writer made after it.
        Snapshots that are damaged or forged are left out; `damaged` has them after a call, by
        writer and sequence, with what is wrong: but not those that their writer passed over, nor
        those beyond the owner's trust.
        """
        self.damaged.clear()
        self._forks.clear()
        kept = None
        if not with_expired:
            kept = start_beside(self._vault, lambda: load_retention_log(self._vault, self.trust))
        all_points: list[tuple[datetime, RecoveryPoint]] = []
        for writer in sorted({writer.id for writer in self.trust.root.writers}):
            points = []
            junk: dict[int, datetime | None] = {}
            made: datetime | None = None
            before: Slot | None = None
            for slot in read_history(self._vault, self.trust, writer, self._junk):
                if slot.snapshot is not None:
                    points.append(self._point(slot, slot.snapshot))
                    made = slot.stored
                    if before is not None and leaves_out(slot, before):
                        self._forks[writer, before.sequence] = slot.sequence
                    before = slot
                    for sequence in slot.snapshot.burnt:
                        self.damaged.pop((writer, sequence), None)
                elif not slot.is_distrusted:
                    junk[slot.sequence] = slot.stored
                    self.damaged[writer, slot.sequence] = slot.problem or ""
            newest = points[-1].sequence if points else 0
            for sequence in superseded_snapshots(junk, newest, made):
                del self.damaged[writer, sequence]
            latest = datetime.max.replace(tzinfo=UTC)
            for point in reversed(points):
                latest = min(latest, point.time)
                all_points.append((latest, point))
        expired = () if kept is None else kept().expired
        for id_ in self._forks.keys() & set(expired):
            del self._forks[id_]
        found = [
            (latest, point)
            for latest, point in all_points
            if (point.writer, point.sequence) not in expired and set_name in (None, point.set_name)
        ]
        found.sort(key=lambda one: (one[0], one[1].writer, one[1].sequence))
        return [point for _, point in found]

    def resolve(
        self, text: str, set_name: str | None = None, *, of_any_host: bool = False
    ) -> RecoveryPoint:
        """Find a point by "latest", "<writer>/latest", "<writer>/<sequence>" or a bare sequence.

        An expired point is found by its number, and what is left of it can be restored.
        `NotFound` names what there is, sets or points; `Damaged` when there is one by that number
        that is not what was written, or "latest" is of a history that forks; `UsageError` when a
        bare sequence fits several writers, or "latest" would choose among several sets, or hosts
        unless it is `of_any_host`.
        """
        points = self.points(set_name)
        writer, _, digits = text.rpartition("/")
        if digits == "latest":
            latest = self._latest(points, writer, of_any_host)
            if latest is not None:
                require_unforked_history(latest, points, self._forks)
                return latest
        fitting: list[RecoveryPoint] = []
        if digits.isascii() and digits.isdigit():
            sequence = digits.lstrip("0")  # as text: Python makes no number of thousands of digits
            fitting = [
                point
                for point in self.points(set_name, with_expired=True)
                if str(point.sequence) == sequence and writer in ("", point.writer)
            ]
        if len(fitting) == 1:
            return fitting[0]
        if not fitting:
            self._refuse_damaged(text)
        sets = sorted({point.set_name for point in self.points(with_expired=True)})
        if not sets:
            raise NotFound(
                "there is no recovery point in the vault yet: make one with `backup run`, or see"
                " that the right vault is named"
            )
        if set_name is not None and set_name not in sets:
            raise NotFound(
                f"there is no set {set_name!r} in the vault; there are: {', '.join(sets)}"
            )
        of_set = "" if set_name is None else f" of set {set_name}"
        if fitting:
            names = ", ".join(point.name for point in fitting)
            raise UsageError(f"{text} is the number of several points: name one of {names}")
        newest = ", ".join(point.name for point in points[-5:]) or "none"
        there = (
            f"are {len(points)}, the newest:" if len(points) > 1 else "is only" if points else "is"
        )
        raise NotFound(f"there is no recovery point {text!r}{of_set}; there {there} {newest}")

    def _latest(
        self, points: list[RecoveryPoint], writer: str, of_any_host: bool
    ) -> RecoveryPoint | None:
        writers = sorted({point.writer for point in points})
        if not (writer or of_any_host) and self._own_writer in writers:
            writer = self._own_writer or ""
        if writer:
            points = [point for point in points if point.writer == writer]
        sets = sorted({point.set_name for point in points})
        if len(sets) > 1:
            raise UsageError(
                "there are recovery points of several sets, and the latest of all may be of"
                f" another than you mean: say of which with --set: {', '.join(sets)}"
            )
        if len(writers) > 1 and not (writer or of_any_host):
            names = ", ".join(f"{name}/latest" for name in writers)
            raise UsageError(
                "there are recovery points of several hosts, and the latest of all may be of"
                f" another than you mean: name one of {names}"
            )
        ended = [point for point in points if not point.is_interim]
        return (ended or points)[-1] if points else None

    def _refuse_damaged(self, text: str) -> None:
        writer, _, digits = text.rpartition("/")
        for (owner, sequence), problem in self.damaged.items():
            asked = "latest" if digits == "latest" else digits.lstrip("0")
            if asked in ("latest", f"{sequence}") and writer in ("", owner):
                raise Damaged(
                    f"what was recovery point {owner}/{sequence:010d} cannot be used: {problem}."
                    " `verify` names what else is wrong"
                )

    def entries(self, point: RecoveryPoint, patterns: Sequence[str] = ()) -> Iterator[Entry]:
        """Give what a point holds, in path order; see `selection` for patterns."""
        _, body, reader = self._open_healing(point)
        selection = Selection(patterns)
        for entry in walk(reader, body, selection):
            if selection.takes(entry.path):
                yield entry

    def list_folder(self, point: RecoveryPoint, path: bytes | str = b"") -> list[Entry]:
        """What lies directly in a folder, in path order; without a path, the sources.

        A path that is no folder gives itself.  `NotFound` when there is nothing by that name.
        """
        _, body, reader = self._open_healing(point)
        folder = _as_path(path)
        found = list(list_folder(reader, body, folder))
        if not found and (not folder or find_entry(reader, body, folder) is None):
            raise NotFound(f"{point.name} holds no {to_path_text(folder)}")
        return found

    def find(self, patterns: Sequence[str], points: Sequence[RecoveryPoint]) -> list[FoundPath]:
        """Look for paths in several points; see `searching` for what a pattern means there.

        Points whose domain the identity does not open are left out; `Damaged` when that is for a
        damaged key.
        """
        known = {domain for domain, _ in (*self._domains, *self._damaged_keys)}

        def opened(point: RecoveryPoint) -> tuple[Body, BlobReader]:
            _, body, reader = self._open_healing(point)
            return body, reader

        return Search(patterns).through(
            [point for point in reversed(points) if point.domain in known],
            opened,
            min(_SEARCHED_AT_ONCE, self._vault.calls_at_once),
        )

    def diff(
        self, before: RecoveryPoint, after: RecoveryPoint, patterns: Sequence[str] = ()
    ) -> Iterator[Difference]:
        """Give what was added, removed and changed between two points, in path order.

        Reads only the pages that are not in both.  `UsageError` when the points have different id
        keys, as those of two writers do; in the end `NotFound` for a pattern that selects nothing
        in either.
        """
        _, old, old_reader = self.open_point(before)
        _, new, reader = self._open_healing(after)
        places = {(point.writer, point.domain) for point in (before, after)}
        if old.id_key != new.id_key or len(places) > 1:
            raise UsageError(
                f"{before.name} and {after.name} have nothing to compare them by: they are of two"
                " writers or domains; restore both, and compare the folders"
            )
        selection = Selection(patterns)
        for a, b in differences(reader, old, new):
            entry = a or b
            if entry is not None and selection.takes(entry.path):
                found = difference(reader, a, b)
                if found is not None:
                    yield found
        for pattern in selection.unmatched():
            if not (_holds(old_reader, old, pattern) or _holds(reader, new, pattern)):
                raise NotFound(
                    f"neither {before.name} nor {after.name} holds {pattern}; `ls` lists what"
                    " there is"
                )

    def stream(self, point: RecoveryPoint, path: bytes | str) -> Iterator[bytes]:
        """Give the content of one file from its first byte to its last, holes as zeros.

        `path` is `<source>/<path>`, as bytes or as path text.  Pieces are not empty and at most 8
        MiB; each was compared with its id before it is given, and the next ones are read
        meanwhile.  Nothing else of the point is read than the pages that lead to the file.
        Before the first piece: `NotFound` when the point has no such path, `UsageError` when it
        is no file, `WrongKey`.  `Damaged` can come later, when what was given so far is right but
        not all: who consumes this must not take a stream that raised for the file.
        """
        _, body, reader = self._open_healing(point)
        wanted = _as_path(path)
        entry = find_entry(reader, body, wanted)
        if entry is None:
            raise NotFound(
                f"{point.name} holds no {to_path_text(wanted)}; `ls` lists what there is"
            )
        if entry.kind != "file":
            raise UsageError(f"{entry.text} is a {entry.kind}; only a file has content to give")
        return content_of(reader, entry)

    def read_file(self, point: RecoveryPoint, entry: Entry) -> Iterator[bytes]:
        """The same for a file that was found already."""
        return content_of(self._open_healing(point)[2], entry)

    def restore(
        self,
        point: RecoveryPoint,
        to: Path,
        patterns: Sequence[str] = (),
        progress: Callable[[Progress], None] | None = None,
        *,
        owner: bool = False,
        syncs: bool = True,
        lanes: int | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> RestoreResult:
        """Write a point, or what the patterns select, into an empty folder as `to/<source>/…`.

        After a crash, an error or a Ctrl-C the same call goes on: what is there is compared with
        the point piece by piece, and only what does not fit is read again.  What the point does
        not have, be it a file or an attribute, stays there and is not told.  Without `owner`
        neither set-id bits nor capabilities come back, and `problems` says so.

        When it returns, the disk has everything; with `syncs` False it need not, and a process that
        is left behind removes the journal when it has (one with threads waits all the same).
        `lanes` work side by side, by default one for each processor and four at most; in a process
        that has no other thread and with a store on a disk they are processes.

        Damaged or missing content costs the files that it belongs to, each named in `problems`,
        unless another point has it: see `healed`.  A page of the manifest that cannot be read costs
        what it lists; only the top one raises `Damaged`.  `UnsafePath` when `to` holds anything
        else, `Busy` while another restore writes there, `NotWritable` when the disk is full.
        """
        _, body, _ = self.open_point(point)

        # Only here: it takes processes, which listing and comparing need not import.
        from backup.restorer.restore_run import Request, Restore

        def open_reader() -> tuple[BlobReader, BlobHealer]:
            return self._healing(point, body)

        request = Request(
            repository=self.trust.root.repository,
            point=point,
            to=to,
            patterns=patterns,
            owner=owner,
            syncs=syncs,
            lanes=lanes,
            forks=isinstance(self._vault, DirectoryStore),
        )
        return Restore(
            request, body=body, open_reader=open_reader, progress=progress, now=now
        ).run()

    def open_point(self, point: RecoveryPoint) -> tuple[Snapshot, Body, BlobReader]:
        """The point's public part, its sealed part and a reader of its blobs.

        `WrongKey` when the identity does not open its domain.
        """
        if not self._domains:
            raise WrongKey("without an identity nothing can be read; give a custodian's key")
        name = snapshot_name(point.writer, point.sequence)
        slot = read_slot(self._vault, self.trust, point.writer, name)
        if slot.snapshot is None:
            raise Damaged(f"{slot.problem}")
        body = self._body(slot.snapshot, slot)
        return slot.snapshot, body, self._reader(point, body)

    def _open_healing(self, point: RecoveryPoint) -> tuple[Snapshot, Body, BlobReader]:
        snapshot, body, _ = self.open_point(point)
        return snapshot, body, self._healing(point, body)[0]

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
        # Packs of an earlier generation may be used by a point of a later one.
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
        """Whether the identity holds a key of the point's domain."""
        return any(domain == point.domain for domain, _ in self._domains)

    def open_whole_pack(self, data: bytes, writer: str, name: str) -> None:
        """Check header, tags and salt of a pack of any domain that the identity opens."""
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
                    f" {damaged}. Bring that key back from a copy of the key store"
                )
            raise WrongKey(
                f"this identity does not open domain {snapshot.domain}; take its custodian's key"
            )
        return open_body(slot.sealed, [key], slot.name)

    def _point(self, slot: Slot, snapshot: Snapshot) -> RecoveryPoint:
        details = None
        if self._domains:
            # A point whose body does not open is still there: `verify` says what is wrong with it.
            try:
                details = _details(self._body(snapshot, slot))
            except BackupError:
                details = None
        return RecoveryPoint(
            writer=snapshot.writer,
            sequence=snapshot.sequence,
            set_name=snapshot.set_name,
            domain=snapshot.domain,
            time=snapshot.time,
            complete=snapshot.state == "complete",
            is_interim=snapshot.state == "interim",
            bytes_new=sum(size for _, size in snapshot.packs),
            object_name=slot.name,
            sha256=slot.sha256,
            details=details,
        )


def _holds(reader: BlobReader, body: Body, pattern: str) -> bool:
    selection = Selection([pattern])
    return any(selection.takes(entry.path) for entry in walk(reader, body, selection))


def _as_path(path: bytes | str) -> bytes:
    """A path as people may write it: with a slash at the end, and as path text or plainly."""
    if isinstance(path, bytes):
        return path
    try:
        found = from_path_text(path, "the path asked for")
    except Damaged:
        found = os.fsencode(path)  # a percent sign or a control character that means itself
    return found.rstrip(b"/")


def _details(body: Body) -> RecoveryPointDetails:
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


def _is_of_another(vault: Store, identity: Identity) -> bool:
    """Whether the store holds a whole repository, and not the one that the identity names."""
    with suppress(BackupError):
        return load_root_chain(vault).root.repository != identity.repository
    return False
