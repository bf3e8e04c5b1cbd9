"""Manifest: decodes pages; checks order, first and last path, and count.

- The manifest is a tree of pages. A leaf page lists entries (paths) in path order. A node page
  lists other pages. Paths are compared component by component, as bytes, so "a/b" comes before
  "a-b".
- A reference is the location of a blob: a frame (compressed content) in one or two packs, and the
  place of the blob in the decompressed frame. It is encoded as a list of the fields of `BlobRef`.
- If a file has many blobs, the references are in separate pages, the list pages. The entry refers
  to these pages in `lists`.
- All pages are JSON, stored as blobs. Each page has a table of pack names; its references name
  packs by their index in this table.
- The decoder checks types, sizes and order. It also checks that a page has the first path, the last
  path and the number of entries that the node above states. Paths ascend through the whole tree. So
  no page occurs twice in a valid tree, and a reader cannot loop in a forged one.
- The decoder does not check whether a path is safe to write, such as one with `..`; the restore
  checks this.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from backup.errors import Damaged
from backup.format.canonical_json import MAX_INTEGER, from_json, from_path_text, to_path_text
from backup.format.frame import MAX_RAW_BYTES, MAX_STORED_BYTES
from backup.format.pack import CAPACITY
from backup.format.strict_fields import Fields, check_ascending, from_base64, from_hex

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
_MAX_DEVICE = 2**32 - 1
_MAX_ID = 2**32 - 1  # number of a user or a group


class BlobRef(NamedTuple):
    """Location of a blob: a part of a frame in `pack`, continued in `next`.

    It is a tuple, because a page has thousands of references.
    """

    pack: bytes  # SHA-256, 32 bytes
    offset: int  # of the frame in the pack's payload
    stored: int  # size of the frame as stored
    inner: int  # offset of the blob in the decoded frame
    length: int  # size of the blob in bytes
    id: bytes  # BLAKE3 hash of the blob, keyed with the id key in the snapshot
    next: bytes | None  # pack in which the frame ends, if it does not end in `pack`

    @property
    def packs(self) -> frozenset[bytes]:
        """Return the packs that contain the frame: one or two."""
        return frozenset((self.pack,) if self.next is None else (self.pack, self.next))


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One path of a recovery point."""

    path: bytes  # "<source>/<path in the source>"
    kind: Kind
    mode: int  # permission bits, 0 to 0o7777
    uid: int
    gid: int
    user: str  # name on the source machine, or empty
    group: str
    modified_ns: int
    size: int
    blobs: tuple[BlobRef, ...]
    lists: tuple[BlobRef, ...]  # list pages with the references of a file with many blobs
    holes: tuple[tuple[int, int], ...]  # (start, length) of zeros that no blob contains
    xattrs: tuple[tuple[bytes, bytes], ...]
    target: bytes | None  # of a symlink
    hard_link: bytes | None  # earlier path of the same file, with its content
    device: tuple[int, int] | None

    @property
    def text(self) -> str:
        """Return the path as printable text."""
        return to_path_text(self.path)


@dataclass(frozen=True, kw_only=True, slots=True)
class Child:
    """A page as the node above describes it."""

    first: bytes  # first path in the page or below it
    last: bytes
    entries: int  # number of entries in the page or below it
    page: BlobRef


def path_key(path: bytes) -> bytes:
    """Return the sort key of a path."""
    return path.replace(b"/", b"\0")


def ref_to_json(ref: BlobRef) -> list[object]:
    """Encode a reference outside of a page, with names of packs, not indexes."""
    next_pack = None if ref.next is None else ref.next.hex()
    return [
        ref.pack.hex(), ref.offset, ref.stored, ref.inner, ref.length, ref.id.hex(), next_pack
    ]  # fmt: skip


def ref_from_json(value: object, where: str) -> BlobRef:
    """Decode a reference outside of a page."""
    if not isinstance(value, list) or len(value) != 7:
        raise _invalid(where)
    packs = [from_hex(value[0], 32, where)]
    next_pack = NO_PACK
    if value[6] is not None:
        packs.append(from_hex(value[6], 32, where))
        next_pack = 1
    return _ref([0, *value[1:6], next_pack], packs, where)


def leaf_from_bytes(
    data: bytes,
    where: str,
    child: Child | None = None,
    selects: Callable[[bytes], bool] | None = None,
) -> list[Entry]:
    """Decode the entries of a leaf page, or only those that `selects` accepts.

    `selects` receives the path of an entry. `child` is the description in the node above.
    """
    items, packs = _page(data, "leaf", where)
    try:
        paths = [from_path_text(item["path"], where) for item in items]
    except (TypeError, KeyError):
        raise _invalid(where) from None
    check_ascending([path_key(path) for path in paths], "paths", where)
    _check_child(child, paths[0], paths[-1], len(paths), where)
    return [
        entry_from_item(item, path, packs, where)
        for item, path in zip(items, paths, strict=True)
        if selects is None or selects(path)
    ]


def node_from_bytes(data: bytes, where: str, child: Child | None = None) -> list[Child]:
    """Decode a node page; `child` is its description in the node above."""
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
    if any(path_key(child_page.first) > path_key(child_page.last) for child_page in children):
        raise _invalid(where)
    if any(path_key(a.last) >= path_key(b.first) for a, b in pairwise(children)):
        raise _invalid(where)
    entries = sum(child_page.entries for child_page in children)
    _check_child(child, children[0].first, children[-1].last, entries, where)
    return children


def list_from_bytes(data: bytes, where: str) -> Iterator[BlobRef]:
    """Decode the references of a list page lazily."""
    items, packs = _page(data, "list", where)
    return (_ref(item, packs, where) for item in items)


def _check_child(child: Child | None, first: bytes, last: bytes, entries: int, where: str) -> None:
    if child is not None and (child.first, child.last, child.entries) != (first, last, entries):
        raise Damaged(f"{where} is not the page that its parent describes. Verify the vault")


_ALWAYS = frozenset(
    ("path", "kind", "mode", "uid", "gid", "user", "group", "modified", "size", "blobs", "lists")
)
_usual_fields = itemgetter("kind", "mode", "uid", "gid", "user", "group", "size", "blobs", "lists")
_OPTIONAL = frozenset(("holes", "xattrs", "target", "hard_link", "device"))


def _page(data: bytes, kind: str, where: str) -> tuple[list[Any], list[bytes]]:
    fields = Fields(from_json(data, where), where, ("kind", "packs", "items"))
    if fields.text("kind") != kind:
        raise Damaged(f"{where} is not a {kind} page. Verify the vault")
    items = fields.items("items")
    if not items:
        raise Damaged(f"{where} is an empty page. Verify the vault")
    return items, [from_hex(item, 32, where) for item in fields.items("packs")]


def entry_from_item(value: object, path: bytes, packs: list[bytes], where: str) -> Entry:
    """Decode the item of a leaf page that has this path."""
    plain = _plain_entry(value, path, packs, where)
    return _full_entry(value, path, packs, where) if plain is None else plain


def _plain_entry(value: Any, path: bytes, packs: list[bytes], where: str) -> Entry | None:
    """Decode an entry without optional fields, in half the time.

    Return None if the entry has optional fields or a field is invalid.
    """
    if type(value) is not dict or value.keys() != _ALWAYS:
        return None
    kind, mode, uid, gid, user, group, size, blobs, lists = _usual_fields(value)
    if not (
        type(mode) is type(uid) is type(gid) is type(size) is int
        and type(user) is type(group) is str
        and type(blobs) is type(lists) is list
        and kind in ("file", "directory", "fifo")
        and 0 <= mode <= 0o7777
        and 0 <= uid <= _MAX_ID
        and 0 <= gid <= _MAX_ID
        and 0 <= size <= MAX_INTEGER
    ):
        return None
    return Entry(
        path=path,
        kind=kind,
        mode=mode,
        uid=uid,
        gid=gid,
        user=user,
        group=group,
        modified_ns=_nanoseconds(value["modified"], where),
        size=size,
        blobs=tuple([_ref(item, packs, where) for item in blobs]),
        lists=tuple([_ref(item, packs, where) for item in lists]),
        holes=(),
        xattrs=(),
        target=None,
        hard_link=None,
        device=None,
    )


def _full_entry(value: object, path: bytes, packs: list[bytes], where: str) -> Entry:
    if not isinstance(value, dict) or not value.keys() >= _ALWAYS:
        raise _invalid(where)
    fields = Fields(value, where, _ALWAYS | (_OPTIONAL & value.keys()))
    kind = _KINDS.get(fields.text("kind"))
    target = fields.path("target") if "target" in value else None
    device = tuple(fields.integers("device")) if "device" in value else None
    if kind is None or (kind == "symlink") != (target is not None):
        raise _invalid(where)
    if (kind in ("block-device", "character-device")) != (device is not None):
        raise _invalid(where)
    entry = Entry(
        path=path,
        kind=kind,
        mode=fields.integer("mode", high=0o7777),
        uid=fields.integer("uid", high=_MAX_ID),
        gid=fields.integer("gid", high=_MAX_ID),
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
            raise _invalid(where)
        position = start + length
    if position > entry.size:
        raise _invalid(where)


def _ref(value: Any, packs: list[bytes], where: str) -> BlobRef:
    match value:
        case [pack, offset, stored, inner, length, id_, next_pack] if (
            type(pack) is type(offset) is type(stored) is int
            and type(inner) is type(length) is type(next_pack) is int
        ):
            continues = offset + stored > CAPACITY
            if (
                0 <= pack < len(packs)
                and 0 <= offset < CAPACITY
                and 0 < stored <= MAX_STORED_BYTES
                and 0 <= inner <= MAX_RAW_BYTES
                and 0 <= length <= MAX_RAW_BYTES - inner
                and continues == (next_pack != NO_PACK)
                and NO_PACK <= next_pack < len(packs)
            ):
                values = (
                    packs[pack], offset, stored, inner, length, from_hex(id_, 32, where),
                    packs[next_pack] if continues else None,
                )  # fmt: skip
                return _new_ref(BlobRef, values)  # like `BlobRef(...)`, in half the time
    raise _invalid(where)


_new_ref = tuple.__new__


def _nanoseconds(value: object, where: str) -> int:
    if type(value) is list and len(value) == 2:
        seconds, nanoseconds = value
        if (
            type(seconds) is type(nanoseconds) is int
            and abs(seconds) <= MAX_INTEGER
            and 0 <= nanoseconds < 1_000_000_000
        ):
            return seconds * 1_000_000_000 + nanoseconds
    raise _invalid(where)


def _hole(value: object, where: str) -> tuple[int, int]:
    match value:
        case [int(start), int(length)] if (
            start >= 0 and length > 0 and start is not True and length is not True
        ):
            return start, length
    raise _invalid(where)


def _xattr(value: object, where: str) -> tuple[bytes, bytes]:
    match value:
        case [str(name), str(content)]:
            return from_path_text(name, where), from_base64(content, where)
    raise _invalid(where)


def _pair(value: tuple[int, ...], where: str) -> tuple[int, int]:
    match value:
        case (first, second) if max(value) <= _MAX_DEVICE:
            return first, second
    raise _invalid(where)


def _invalid(where: str) -> Damaged:
    return Damaged(f"{where} has an invalid entry. Verify the vault")
