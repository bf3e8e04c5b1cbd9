"""Copy of a sealed evidence folder in a bucket: names, upload, inspection.

    INCIDENT/SOURCE/TOKEN/manifest.json
                         /seal.dsse.json
                         /seal.tsr                 the time stamp, if there is one
                         /custody/00000002         the chain with its number of lines
                         /files/SHA256/00000001    the pieces of the file with this hash, in order

An evidence folder contains copied files, a manifest with their hashes, a seal (signed statement
over the manifest), and a chain of custody (the file of all acts on the folder). Object Lock
protects the copy in the bucket against an intruder who controls this host. The settings of the
bucket decide how its objects are locked.

Rules
- No object is written twice or replaced. If an object exists already, from an interrupted copy or
  from somebody else, it is read and must be identical.
- The seal is written after the pieces of the files, and the chain of custody is written last. If
  the chain exists in the bucket, everything that it covers exists there.
- After the copy, the local chain gets a line TRANSFERRED with the name of the bucket. The chain in
  the bucket does not have this line. Thus a copy is complete if its chain is equal to the beginning
  of the local chain.
- A time stamp may be obtained after the copy. It is then uploaded with the new chain, and the local
  chain gets another line TRANSFERRED.
- An inspection of a copy reads the manifest, the seal and the chain, and compares the sizes of the
  pieces. It does not read the pieces, because the bucket compared them with a checksum at the
  upload, and Object Lock has prevented changes since then.
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
from standfast.evidence.item_file import FILES_FOLDER
from standfast.evidence.manifest import Kind, Manifest, read_manifest
from standfast.evidence.seal import MANIFEST_FILE, SEAL_FILE, STAMP_FILE
from standfast.records import Now

PIECE_BYTES = 8 * 1024 * 1024
_BEGINNING = "copied to "  # beginning of the detail of a line TRANSFERRED
_OF_STAMP = "time stamp copied to "


@dataclass(frozen=True, kw_only=True)
class CopyDestination:
    """A destination of copies: its name, and the function that opens it."""

    where: str
    open: Callable[[], Store]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One object of a copy: `size_bytes` bytes of a file from offset `start`."""

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
    """The result of an inspection; the copy is complete if it has no problems."""

    problems: tuple[str, ...]
    objects: int
    locked_until: datetime | None = None  # end of the shortest lock; None: not all locked
    may_be_bypassed: bool = False  # a lock is in GOVERNANCE mode: some accounts may remove it


def is_copied(folder: Path, where: str) -> bool:
    """Return whether the chain of custody records a copy to this store.

    Raise Damaged if the chain does not verify.
    """
    return _has_transfer(folder, _BEGINNING + where)


def recorded_stores(folder: Path) -> list[str]:
    """Return the stores to which the chain of custody records a copy."""
    return [
        entry.detail.removeprefix(_BEGINNING)
        for entry in read_custody(folder)
        if entry.act is Act.TRANSFERRED and entry.detail.startswith(_BEGINNING)
    ]


def is_stamp_copied(folder: Path, where: str) -> bool:
    """Return whether the time stamp was copied too, or the folder has none."""
    return not (folder / STAMP_FILE).exists() or _has_transfer(folder, _OF_STAMP + where)


def copy_folder(folder: Path, name: str, store: Store, where: str, who: str, clock: Now) -> int:
    """Copy the missing objects of a sealed folder; return their number.

    `name` is the prefix of the objects. After an error or a crash, another call continues the copy.
    Raise Damaged if an object of the same name has other content, and the errors of the store.
    """
    manifest = read_manifest((folder / MANIFEST_FILE).read_bytes())
    existing = {stat.name for stat in store.list(f"{name}/")}
    pieces = list(_pieces(folder, name, manifest))
    missing = [piece for piece in pieces if piece.name not in existing]
    for piece in pieces:
        if piece.name in existing:
            _require_same(store, piece)
    put = sum(run_concurrently(lambda piece: _put(store, piece), missing, store.calls_at_once))
    last = _final_objects(folder, name)
    for piece in last:
        put += _put(store, piece) if piece.name not in existing else _require_same(store, piece)
    if not is_copied(folder, where):
        append_custody(folder, at=clock(), who=who, act=Act.TRANSFERRED, detail=_BEGINNING + where)
    _note_stamp(folder, last, where, who, clock)
    return put


def copy_stamp(folder: Path, name: str, store: Store, where: str, who: str, clock: Now) -> None:
    """Copy the time stamp and the chain of a folder that was copied before.

    Raise the same errors as `copy_folder`.
    """
    last = _final_objects(folder, name)[2:]
    for piece in last:
        _put(store, piece)
    _note_stamp(folder, last, where, who, clock)


def inspect_copy(folder: Path, name: str, store: Store, now: datetime) -> Copy:
    """Compare a copy with its sealed folder; raise the errors of the store."""
    manifest = read_manifest((folder / MANIFEST_FILE).read_bytes())
    existing = {stat.name: stat for stat in store.list(f"{name}/")}
    chains = sorted(
        object_name for object_name in existing if object_name.startswith(f"{name}/custody/")
    )
    read_back = _final_objects(folder, name)[:-1]
    expected = [*_pieces(folder, name, manifest), *read_back]
    problems = [
        f"{piece.name}: {problem}"
        for piece in expected
        if (problem := _differs(existing.get(piece.name), piece))
    ]
    problems += [
        f"{piece.name}: differs from the file here"
        for piece in read_back
        if piece.name in existing and store.get(piece.name) != piece.read()
    ]
    if not chains:
        problems.append(f"{name}/custody: the chain of custody is missing")
    elif not (folder / CUSTODY_FILE).read_bytes().startswith(store.get(chains[-1])):
        problems.append(f"{chains[-1]}: the chain of custody here does not continue it")
    names = [*(piece.name for piece in expected if piece.name in existing), *chains[-1:]]
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
        item.stored_sha256: item
        for item in manifest.items
        if item.kind is Kind.FILE and ".." not in item.location.split("/")
    }
    for sha256, item in files.items():
        for number, start in enumerate(range(0, item.stored_size_bytes, PIECE_BYTES), 1):
            yield Piece(
                name=f"{name}/files/{sha256}/{number:08}",
                file=folder / FILES_FOLDER / item.location,
                start=start,
                size_bytes=min(PIECE_BYTES, item.stored_size_bytes - start),
            )


def _final_objects(folder: Path, name: str) -> list[Piece]:
    """Return the objects that are written last, in the order of writing."""
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
            name=f"{name}/{object_name}",
            file=folder / file_name,
            start=0,
            size_bytes=(folder / file_name).stat().st_size,
        )
        for file_name, object_name in names.items()
    ]


def _has_transfer(folder: Path, detail: str) -> bool:
    return any(
        entry.act is Act.TRANSFERRED and entry.detail == detail for entry in read_custody(folder)
    )


def _note_stamp(folder: Path, put: Sequence[Piece], where: str, who: str, clock: Now) -> None:
    """Record the copy of the time stamp, if `put` contains it."""
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
        return _require_same(store, piece)
    return 1


def _require_same(store: Store, piece: Piece) -> int:
    if store.get(piece.name) != piece.read():
        raise Damaged(f"{piece.name}: it exists with other content. Find out who wrote it.")
    return 0


def _differs(stat: Stat | None, piece: Piece) -> str:
    if stat is None:
        return "is missing"
    if stat.size_bytes != piece.size_bytes:
        return f"has {stat.size_bytes} bytes instead of {piece.size_bytes}"
    return "is hidden by a delete marker" if stat.is_hidden else ""
