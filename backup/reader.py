"""Finding recovery points and bringing them back.

- Points are found without any key; their sealed details, entries and content need an identity.
- Nothing is believed that is not signed, and no content is given whose keyed hash does not fit.
- "latest" is the newest point of a run that came to its end; an interim one only when there is no
  other.
- A restore never writes outside its target, never into a folder that holds something, and names
  what it could not bring back.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pyrage

from backup.blob_reader import BlobReader, fetch_ahead
from backup.errors import BackupError, Damaged, NotFound, UsageError, WrongKey
from backup.format.layout import snapshot_name
from backup.format.manifest import (
    BlobRef,
    Entry,
    leaf_from_bytes,
    list_from_bytes,
    node_from_bytes,
)
from backup.format.pack import HEADER_BYTES, OpenPack, parse_header
from backup.format.snapshot import Body, Snapshot, open_body
from backup.history import Slot, read_history, read_slot
from backup.keys import Identity, open_domains
from backup.records import Point, PointDetails, Problem, Progress, RestoreResult
from backup.restore import TreeWriter
from backup.selection import Selection
from backup.stores import Store
from backup.trust import Trust, load_trust

_THREADS = 3
_PROGRESS_STEPS = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """One step of a restore: a file takes a "make", its blobs and an "end"."""

    action: Literal["make", "blob", "end", "link", "give up"]
    entry: Entry
    ref: BlobRef | None = None
    reason: str = ""


class Repository:
    """An opened repository; `open` makes one."""

    def __init__(
        self,
        vault: Store,
        trust: Trust,
        domains: dict[tuple[str, int], pyrage.x25519.Identity],
    ) -> None:
        self._vault = vault
        self._domains = domains
        self.trust = trust

    @staticmethod
    def open(
        vault: Store, keys: Store | None = None, identity: Identity | None = None
    ) -> "Repository":
        """Open for listing, and with an identity for restoring.

        `NotFound` when the store holds no repository, `WrongKey` when the identity opens none of
        its domains.
        """
        owner = None if identity is None else identity.owner
        trust = load_trust(vault, owner=owner)
        domains = {} if identity is None else open_domains(trust.root, keys, identity)
        return Repository(vault, trust, domains)

    def points(self, set_name: str | None = None) -> list[Point]:
        """Every valid recovery point, of one set or of all, newest last.

        Snapshots that are damaged or forged are left out here; `verify` names them.
        """
        found = [
            self._point(slot)
            for writer in sorted({writer.id for writer in self.trust.root.writers})
            for slot in read_history(self._vault, self.trust, writer)
            if slot.snapshot is not None and set_name in (None, slot.snapshot.set_name)
        ]
        return sorted(found, key=lambda point: (point.time, point.writer, point.sequence))

    def resolve(self, text: str, set_name: str | None = None) -> Point:
        """Find a point by "latest", "<writer>/<sequence>" or a bare sequence.

        `NotFound` names what there is; `UsageError` when a bare sequence fits several writers.
        """
        points = self.points(set_name)
        if text == "latest":
            ended = [point for point in points if not point.is_interim]
            if ended or points:
                return (ended or points)[-1]
        writer, _, digits = text.rpartition("/")
        fitting = [
            point
            for point in points
            if digits.isascii()
            and digits.isdigit()
            and point.sequence == int(digits)
            and writer in ("", point.writer)
        ]
        if len(fitting) == 1:
            return fitting[0]
        of_set = "" if set_name is None else f" of set {set_name}"
        if fitting:
            names = ", ".join(point.name for point in fitting)
            raise UsageError(f"{text} is the number of several points: name one of {names}")
        newest = ", ".join(point.name for point in points[-5:]) or "none"
        raise NotFound(
            f"there is no recovery point {text!r}{of_set};"
            f" there are {len(points)}, the newest: {newest}"
        )

    def entries(self, point: Point, patterns: Sequence[str] = ()) -> Iterator[Entry]:
        """Give what a point holds, in path order; see `selection` for patterns."""
        _, body, reader = self.open_point(point)
        selection = Selection(patterns)
        for entry in walk(reader, body, selection):
            if selection.takes(entry.path):
                yield entry

    def read_file(self, point: Point, entry: Entry) -> Iterator[bytes]:
        """Give a file's content piece by piece, without holes; `Damaged` when a piece is."""
        _, _, reader = self.open_point(point)
        for ref in blobs_of(reader, entry):
            yield reader.blob(ref)

    def restore(
        self,
        point: Point,
        to: Path,
        patterns: Sequence[str] = (),
        progress: Callable[[Progress], None] | None = None,
        *,
        owner: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> RestoreResult:
        """Write a point, or what the patterns select, into an empty folder as `to/<source>/…`.

        Damaged or missing content costs the files that it belongs to, each named in `problems`; a
        page of the manifest that cannot be read raises `Damaged`.  `UnsafePath` when `to` is not
        empty; `NotWritable` when the disk is full, and what was written so far stays.
        """
        started = now()
        _, body, reader = self.open_point(point)
        selection = Selection(patterns)
        with ThreadPoolExecutor(_THREADS) as pool, TreeWriter(to, owner=owner) as tree:
            steps = _steps(reader, body, selection)
            work = fetch_ahead(reader, steps, lambda step: step.ref, pool)
            for count, (step, content) in enumerate(work):
                _apply(tree, reader, step, content)
                if progress is not None and count % _PROGRESS_STEPS == 0:
                    progress(_progress(tree, step.entry))
        if progress is not None:
            progress(_progress(tree, None))
        unmatched = (
            Problem(path=pattern, reason="selects nothing in this point")
            for pattern in selection.unmatched()
        )
        return RestoreResult(
            files=tree.files,
            directories=tree.directories,
            bytes=tree.bytes,
            problems=(*tree.problems, *unmatched),
            started=started,
            ended=now(),
        )

    def open_point(self, point: Point) -> tuple[Snapshot, Body, BlobReader]:
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
        # Packs of an earlier generation may be used by a point of a later one.
        identities = [key for (domain, _), key in self._domains.items() if domain == point.domain]
        reader = BlobReader(
            vault=self._vault,
            writer=point.writer,
            domain=point.domain,
            repository=self.trust.root.repository,
            identities=identities,
            id_key=body.id_key,
        )
        return slot.snapshot, body, reader

    def opens(self, point: Point) -> bool:
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
            raise WrongKey(
                f"this identity does not open domain {snapshot.domain}; take its custodian's key"
            )
        return open_body(slot.sealed, [key], slot.name)

    def _point(self, slot: Slot) -> Point:
        snapshot = slot.snapshot
        assert snapshot is not None  # noqa: S101 - the caller looked
        details = None
        if self._domains:
            # A point whose body does not open is still there: `verify` says what is wrong with it.
            try:
                details = _details(self._body(snapshot, slot))
            except BackupError:
                details = None
        return Point(
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


def walk(reader: BlobReader, body: Body, selection: Selection) -> Iterator[Entry]:
    """Give the entries of every page that may hold something selected, in path order."""

    def below(ref: BlobRef, depth: int) -> Iterator[Entry]:
        where = f"page {ref.id.hex()[:16]} of the manifest"
        data = reader.blob(ref)
        if depth == 0:
            yield from leaf_from_bytes(data, where)
            return
        for child in node_from_bytes(data, where):
            if selection.may_lie_between(child.first, child.last):
                yield from below(child.page, depth - 1)

    yield from below(body.root, body.depth)


def blobs_of(reader: BlobReader, entry: Entry) -> Iterator[BlobRef]:
    """Give the references of a file in order, its lists being read as they are reached."""
    for ref in entry.lists:
        yield from list_from_bytes(reader.blob(ref), f"a list of {entry.text}")
    yield from entry.blobs


def _steps(reader: BlobReader, body: Body, selection: Selection) -> Iterator[_Step]:
    above: list[Entry] = []  # folders that were not selected, in case something in them is
    for entry in walk(reader, body, selection):
        if not selection.takes(entry.path):
            if entry.kind == "directory":
                while above and not entry.path.startswith(above[-1].path + b"/"):
                    above.pop()
                above.append(entry)
            continue
        for folder in above:
            if entry.path.startswith(folder.path + b"/"):
                yield _Step(action="make", entry=folder)
        above.clear()
        if entry.hard_link is not None and selection.would_take(entry.hard_link):
            yield _Step(action="link", entry=entry)
        else:
            yield from _steps_of(reader, entry)


def _steps_of(reader: BlobReader, entry: Entry) -> Iterator[_Step]:
    yield _Step(action="make", entry=entry)
    if entry.kind != "file":
        return
    try:
        for ref in blobs_of(reader, entry):
            yield _Step(action="blob", entry=entry, ref=ref)
    except BackupError as error:
        yield _Step(action="give up", entry=entry, reason=str(error))
    yield _Step(action="end", entry=entry)


def _apply(
    tree: TreeWriter, reader: BlobReader, step: _Step, content: bytes | BackupError | None
) -> None:
    match step.action:
        case "make" if step.entry.kind == "file":
            tree.begin(step.entry)
        case "make":
            tree.add(step.entry)
        case "blob" if isinstance(content, bytes):
            tree.write(content)
        case "blob" if isinstance(content, BackupError):
            tree.give_up(f"not restored: {content}")
        case "give up":
            tree.give_up(f"not restored: {step.reason}")
        case "end":
            tree.end()
        case "link" if not tree.link(step.entry):
            # The first name was not restored: this one has the references to stand on its own.
            for own in _steps_of(reader, step.entry):
                _apply(tree, reader, own, _content_of(reader, own))


def _content_of(reader: BlobReader, step: _Step) -> bytes | BackupError | None:
    try:
        return None if step.ref is None else reader.blob(step.ref)
    except BackupError as error:
        return error


def _details(body: Body) -> PointDetails:
    return PointDetails(
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


def _progress(tree: TreeWriter, entry: Entry | None) -> Progress:
    return Progress(
        phase="restoring",
        path="" if entry is None else entry.text,
        files=tree.files,
        bytes_done=tree.bytes,
        bytes_new=0,
    )
