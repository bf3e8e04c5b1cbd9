"""The manifest: what a recovery point holds, as a tree of pages.

- A leaf page lists entries in path order: component by component, each compared as bytes (so "a/b"
  comes before "a-b").  Node pages list pages.  A file with many blobs keeps its references in
  lists.
- Pages and lists are JSON stored as blobs.  Each has a table of pack names; a reference is
  [pack, offset, stored, inner, length, id, next]: a frame on the tape and a slice of its raw bytes.
- Parsing checks types and sizes.  Whether a path is safe to write is for who writes it.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from backup.errors import Damaged
from backup.format.canonical import (
    LARGEST_INTEGER,
    from_json,
    from_path_text,
    to_json,
    to_path_text,
)
from backup.format.fields import Fields, from_hex
from backup.format.frame import LARGEST_RAW, LARGEST_STORED
from backup.format.pack import CAPACITY

Kind = Literal["file", "directory", "symlink", "fifo", "block-device", "character-device"]
_KINDS: dict[str, Kind] = {
    "file": "file",
    "directory": "directory",
    "symlink": "symlink",
    "fifo": "fifo",
    "block-device": "block-device",
    "character-device": "character-device",
}

NO_PACK = -1


@dataclass(frozen=True, kw_only=True, slots=True)
class BlobRef:
    """Where a blob lies: a slice of a frame that begins in `pack` and may go on in `next`."""

    pack: bytes  # SHA-256, 32 bytes
    offset: int  # of the frame in the pack's payload
    stored: int  # size of the frame as stored
    inner: int  # of the blob in the frame's raw bytes
    length: int
    id: bytes  # BLAKE3 of the blob, keyed with the snapshot's id key
    next: bytes | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One path of a recovery point."""

    path: bytes  # "<source>/<path in the source>"
    kind: Kind
    mode: int  # permission bits, 0 to 0o7777
    uid: int
    gid: int
    user: str  # the name on the source machine, or empty
    group: str
    modified_ns: int
    size: int
    blobs: tuple[BlobRef, ...]
    lists: tuple[BlobRef, ...]  # where the references are when there are many
    holes: tuple[tuple[int, int], ...]  # (start, length), not part of any blob
    xattrs: tuple[tuple[bytes, bytes], ...]
    target: bytes | None  # of a symlink
    hard_link: bytes | None  # an earlier path that is the same file
    device: tuple[int, int] | None

    @property
    def text(self) -> str:
        """The path for display, as FORMAT.md's path text."""
        return to_path_text(self.path)


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    """A page as its parent lists it."""

    first: bytes  # the first path below it
    last: bytes
    entries: int
    page: BlobRef


def path_key(path: bytes) -> bytes:
    """What paths are sorted by."""
    return path.replace(b"/", b"\0")


def ref_to_json(ref: BlobRef) -> list[object]:
    """A reference outside of a page: pack names in place of numbers."""
    following = None if ref.next is None else ref.next.hex()
    return [
        ref.pack.hex(), ref.offset, ref.stored, ref.inner, ref.length, ref.id.hex(), following
    ]  # fmt: skip


def ref_from_json(value: object, where: str) -> BlobRef:
    """Decode a reference outside of a page."""
    if not isinstance(value, list) or len(value) != 7:
        raise _wrong(where)
    packs = [from_hex(value[0], 32, where)]
    following = NO_PACK
    if value[6] is not None:
        packs.append(from_hex(value[6], 32, where))
        following = 1
    return _ref([0, *value[1:6], following], packs, where)


def page_to_bytes(kind: str, packs: Sequence[str], items: Sequence[object]) -> bytes:
    """Encode a page; `items` are JSON values whose references number into `packs`."""
    return to_json({"kind": kind, "packs": list(packs), "items": items})


def leaf_from_bytes(data: bytes, where: str) -> list[Entry]:
    """Decode a leaf page."""
    items, packs = _page(data, "leaf", where)
    return [_entry(item, packs, where) for item in items]


def node_from_bytes(data: bytes, where: str) -> list[Child]:
    """Decode a node page."""
    items, packs = _page(data, "node", where)
    children = []
    for item in items:
        fields = Fields(item, where, ("first", "last", "entries", "page"))
        children.append(
            Child(
                first=fields.path("first"),
                last=fields.path("last"),
                entries=fields.integer("entries"),
                page=_ref(fields.raw("page"), packs, where),
            )
        )
    return children


def list_from_bytes(data: bytes, where: str) -> list[BlobRef]:
    """Decode a list of references."""
    items, packs = _page(data, "list", where)
    return [_ref(item, packs, where) for item in items]


def metadata_to_json(entry: Entry) -> dict[str, object]:
    """An entry without its references; what does not apply is left out."""
    seconds, nanoseconds = divmod(entry.modified_ns, 1_000_000_000)
    value: dict[str, object] = {
        "path": to_path_text(entry.path),
        "kind": entry.kind,
        "mode": entry.mode,
        "uid": entry.uid,
        "gid": entry.gid,
        "user": entry.user,
        "group": entry.group,
        "modified": [seconds, nanoseconds],
        "size": entry.size,
    }
    if entry.holes:
        value["holes"] = [list(hole) for hole in entry.holes]
    if entry.xattrs:
        value["xattrs"] = [
            [to_path_text(name), base64.b64encode(content).decode()]
            for name, content in entry.xattrs
        ]
    if entry.target is not None:
        value["target"] = to_path_text(entry.target)
    if entry.hard_link is not None:
        value["hard_link"] = to_path_text(entry.hard_link)
    if entry.device is not None:
        value["device"] = list(entry.device)
    return value


_ALWAYS = frozenset(
    ("path", "kind", "mode", "uid", "gid", "user", "group", "modified", "size", "blobs", "lists")
)
_SOMETIMES = frozenset(("holes", "xattrs", "target", "hard_link", "device"))


def _page(data: bytes, kind: str, where: str) -> tuple[list[Any], list[bytes]]:
    fields = Fields(from_json(data, where), where, ("kind", "packs", "items"))
    if fields.text("kind") != kind:
        raise Damaged(f"{where} is no {kind} page; verify the repository")
    return fields.items("items"), [from_hex(item, 32, where) for item in fields.items("packs")]


def _entry(value: object, packs: list[bytes], where: str) -> Entry:
    if not isinstance(value, dict) or not value.keys() >= _ALWAYS:
        raise _wrong(where)
    fields = Fields(value, where, _ALWAYS | (_SOMETIMES & value.keys()))
    kind = _KINDS.get(fields.text("kind"))
    target = fields.path("target") if "target" in value else None
    device = tuple(fields.integers("device")) if "device" in value else None
    if kind is None or (kind == "symlink") != (target is not None):
        raise _wrong(where)
    if (kind in ("block-device", "character-device")) != (device is not None):
        raise _wrong(where)
    entry = Entry(
        path=fields.path("path"),
        kind=kind,
        mode=fields.integer("mode", high=0o7777),
        uid=fields.integer("uid", high=2**32 - 1),
        gid=fields.integer("gid", high=2**32 - 1),
        user=fields.text("user"),
        group=fields.text("group"),
        modified_ns=_nanoseconds(fields.items("modified"), where),
        size=fields.integer("size"),
        blobs=tuple(_ref(item, packs, where) for item in fields.items("blobs")),
        lists=tuple(_ref(item, packs, where) for item in fields.items("lists")),
        holes=tuple(_hole(item, where) for item in fields.items("holes"))
        if "holes" in value
        else (),
        xattrs=tuple(_xattr(item, where) for item in fields.items("xattrs"))
        if "xattrs" in value
        else (),
        target=target,
        hard_link=fields.path("hard_link") if "hard_link" in value else None,
        device=None if device is None else _pair(device, where),
    )
    _check_holes(entry, where)
    return entry


def _check_holes(entry: Entry, where: str) -> None:
    position = 0
    for start, length in entry.holes:
        if start < position or length < 1:
            raise _wrong(where)
        position = start + length
    if position > entry.size:
        raise _wrong(where)


def _ref(value: Any, packs: list[bytes], where: str) -> BlobRef:
    match value:
        case [pack, offset, stored, inner, length, id_, following] if all(
            type(number) is int for number in (pack, offset, stored, inner, length, following)
        ):
            goes_on = offset + stored > CAPACITY
            if (
                0 <= pack < len(packs)
                and 0 <= offset < CAPACITY
                and 0 < stored <= LARGEST_STORED
                and 0 <= inner <= LARGEST_RAW
                and 0 <= length <= LARGEST_RAW - inner
                and goes_on == (following != NO_PACK)
                and NO_PACK <= following < len(packs)
            ):
                return BlobRef(
                    pack=packs[pack],
                    offset=offset,
                    stored=stored,
                    inner=inner,
                    length=length,
                    id=from_hex(id_, 32, where),
                    next=packs[following] if goes_on else None,
                )
    raise _wrong(where)


def _nanoseconds(value: list[Any], where: str) -> int:
    match value:
        case [int(seconds), int(nanoseconds)] if (
            abs(seconds) <= LARGEST_INTEGER and 0 <= nanoseconds < 1_000_000_000
        ):
            return seconds * 1_000_000_000 + nanoseconds
    raise _wrong(where)


def _hole(value: object, where: str) -> tuple[int, int]:
    match value:
        case [int(start), int(length)] if start >= 0 and length > 0:
            return start, length
    raise _wrong(where)


def _xattr(value: object, where: str) -> tuple[bytes, bytes]:
    match value:
        case [str(name), str(content)]:
            try:
                return from_path_text(name, where), base64.b64decode(content, validate=True)
            except (binascii.Error, ValueError):
                pass
    raise _wrong(where)


def _pair(value: tuple[int, ...], where: str) -> tuple[int, int]:
    match value:
        case (first, second):
            return first, second
    raise _wrong(where)


def _wrong(where: str) -> Damaged:
    return Damaged(f"{where} holds an entry that no writer writes; verify the repository")
