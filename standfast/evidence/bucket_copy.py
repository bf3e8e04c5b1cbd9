"""Sealed folders, copied into a store that keeps them against whoever owns this host.

Owns what lies there, the copying, and the look at it. Leaves opening the store to operations, and
what locks its objects to the bucket and its settings.

    INCIDENT/SOURCE/TOKEN/manifest.json
                         /seal.dsse.json
                         /seal.tsr                 the time stamp, where there is one
                         /custody/00000002         the chain, with so many lines
                         /files/SHA256/00000001    the pieces of a file of that hash, in order

Rules
- Nothing is put twice or replaced. What is there already, of a copy that was cut off or of
  somebody else, is read back and has to be the same.
- The seal comes after the pieces, the chain last: where it stands, all that it speaks for is there.
- Then the folder's own chain gets a line: TRANSFERRED, with where to. The copy of that is made the
  next time; a copy is whole when it has the chain as it was at one time or another.
- A time stamp may come after the copy: it is put then, with the chain, and has a line of its own.
- A look reads the manifest, the seal and the chain, and of the pieces their sizes; their bytes were
  checked by the store when it took them, and are locked since.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from backup.errors import AlreadyThere
from backup.stores import Stat, Store
from backup.stores.parallel_reads import run_concurrently
from standfast.errors import Damaged
from standfast.evidence.custody import CUSTODY_FILE, Act, append_custody, read_custody
from standfast.evidence.manifest import Kind, Manifest, read_manifest
from standfast.evidence.seal import FILES_FOLDER, MANIFEST_FILE, SEAL_FILE, STAMP_FILE
from standfast.records import Now

PIECE_BYTES = 8 * 1024 * 1024
_BEGINNING = "copied to "
_OF_STAMP = "time stamp copied to "


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """Where copies go: what it is called, and how it is opened, when something is to be copied."""

    where: str
    open: Callable[[], Store]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One object of a copy: so many bytes of a file, from `start` on."""

    name: str
    file: Path
    start: int
    size_bytes: int

    def read(self) -> bytes:
        descriptor = os.open(self.file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            stream.seek(self.start)
            return stream.read(self.size_bytes)


@dataclass(frozen=True, kw_only=True)
class Copy:
    """What a look at a copy came to; whole when nothing is wrong with it."""

    problems: tuple[str, ...]
    objects: int
    locked_until: datetime | None = None  # the first lock that ends; None: not all are locked
    may_be_bypassed: bool = False  # by who has the right to: a lock is in GOVERNANCE mode


def is_copied(folder: Path, where: str) -> bool:
    """Does the chain of custody say that this folder was copied there? Damaged as it reads it."""
    return _says(folder, _BEGINNING + where)


def is_stamp_copied(folder: Path, where: str) -> bool:
    """Does it say so of the time stamp, or is there none?"""
    return not (folder / STAMP_FILE).exists() or _says(folder, _OF_STAMP + where)


def copy_folder(folder: Path, name: str, store: Store, where: str, who: str, clock: Now) -> int:
    """Put what is not there yet of a sealed folder below `name`; give the number of objects put.

    Call it again after any error, or a death: it goes on. Damaged when the store holds something
    else under such a name; the store's own errors otherwise.
    """
    manifest = read_manifest((folder / MANIFEST_FILE).read_bytes())
    there = {stat.name for stat in store.list(f"{name}/")}
    pieces = list(_pieces(folder, name, manifest))
    missing = [piece for piece in pieces if piece.name not in there]
    for piece in pieces:
        if piece.name in there:
            _need_same(store, piece)
    put = sum(run_concurrently(lambda piece: _put(store, piece), missing, store.calls_at_once))
    last = _last(folder, name)
    for piece in last:
        put += _put(store, piece) if piece.name not in there else _need_same(store, piece)
    if not is_copied(folder, where):
        append_custody(folder, at=clock(), who=who, act=Act.TRANSFERRED, detail=_BEGINNING + where)
    _note_stamp(folder, last, where, who, clock)
    return put


def copy_stamp(folder: Path, name: str, store: Store, where: str, who: str, clock: Now) -> None:
    """Put the time stamp of a folder that was copied before, and its chain; errors likewise."""
    last = _last(folder, name)[2:]
    for piece in last:
        _put(store, piece)
    _note_stamp(folder, last, where, who, clock)


def inspect_copy(folder: Path, name: str, store: Store, now: datetime) -> Copy:
    """Hold what the store has against a sealed folder; its errors come out."""
    manifest = read_manifest((folder / MANIFEST_FILE).read_bytes())
    there = {stat.name: stat for stat in store.list(f"{name}/")}
    chains = sorted(one for one in there if one.startswith(f"{name}/custody/"))
    read_back = _last(folder, name)[:-1]
    expected = [*_pieces(folder, name, manifest), *read_back]
    problems = [
        f"{piece.name}: {problem}"
        for piece in expected
        if (problem := _differs(there.get(piece.name), piece))
    ]
    problems += [
        f"{piece.name}: is not what lies here"
        for piece in read_back
        if piece.name in there and store.get(piece.name) != piece.read()
    ]
    if not chains:
        problems.append(f"{name}/custody: no chain of custody is there")
    elif not (folder / CUSTODY_FILE).read_bytes().startswith(store.get(chains[-1])):
        problems.append(f"{chains[-1]}: the chain of custody here is not a later one of it")
    names = [*(piece.name for piece in expected if piece.name in there), *chains[-1:]]
    locks = list(run_concurrently(store.lock_of, names, store.calls_at_once))
    ends = [lock.until for lock in locks if lock is not None and lock.until > now]
    return Copy(
        problems=tuple(problems),
        objects=len(names),
        locked_until=min(ends) if ends and len(ends) == len(names) else None,
        may_be_bypassed=any(lock is not None and lock.mode == "GOVERNANCE" for lock in locks),
    )


def _pieces(folder: Path, name: str, manifest: Manifest) -> Iterator[Piece]:
    files = {
        item.sha256: item
        for item in manifest.items
        if item.kind is Kind.FILE and ".." not in item.location.split("/")
    }
    for sha256, item in files.items():
        for number, start in enumerate(range(0, item.size_bytes, PIECE_BYTES), 1):
            yield Piece(
                name=f"{name}/files/{sha256}/{number:08}",
                file=folder / FILES_FOLDER / item.location,
                start=start,
                size_bytes=min(PIECE_BYTES, item.size_bytes - start),
            )


def _last(folder: Path, name: str) -> list[Piece]:
    """Give what is put last, in this order: manifest, seal, its stamp if any, chain of custody."""
    lines = len(read_custody(folder))
    stamp = {STAMP_FILE: STAMP_FILE} if (folder / STAMP_FILE).exists() else {}
    names = {
        MANIFEST_FILE: MANIFEST_FILE,
        SEAL_FILE: SEAL_FILE,
        **stamp,
        CUSTODY_FILE: f"custody/{lines:08}",
    }
    return [
        Piece(
            name=f"{name}/{there}",
            file=folder / here,
            start=0,
            size_bytes=(folder / here).stat().st_size,
        )
        for here, there in names.items()
    ]


def _says(folder: Path, detail: str) -> bool:
    return any(
        entry.act is Act.TRANSFERRED and entry.detail == detail for entry in read_custody(folder)
    )


def _note_stamp(folder: Path, put: Sequence[Piece], where: str, who: str, clock: Now) -> None:
    """Note that the stamp is there, where it was among what was put: it may just have come."""
    is_put = any(piece.file.name == STAMP_FILE for piece in put)
    if is_put and not is_stamp_copied(folder, where):
        append_custody(folder, at=clock(), who=who, act=Act.TRANSFERRED, detail=_OF_STAMP + where)


def _put(store: Store, piece: Piece) -> int:
    data = piece.read()
    if len(data) != piece.size_bytes:
        raise Damaged(f"{piece.file} is not what was collected; nothing of it was copied")
    try:
        store.put(piece.name, data)
    except AlreadyThere:
        return _need_same(store, piece)
    return 1


def _need_same(store: Store, piece: Piece) -> int:
    if store.get(piece.name) != piece.read():
        raise Damaged(
            f"{piece.name} is there already and holds something else; find out who put it there"
        )
    return 0


def _differs(stat: Stat | None, piece: Piece) -> str:
    if stat is None:
        return "is not there"
    if stat.size_bytes != piece.size_bytes:
        return f"has {stat.size_bytes} bytes instead of {piece.size_bytes}"
    return "a delete marker lies over it" if stat.is_hidden else ""
