"""Encoding of pages in the upload cache: rows, outlines and pack use.

- The upload cache is a file on the backup host. It keeps the manifest pages of earlier runs. A row
  is the entry of one path in a page. A page that can be compared as a whole has an outline, which
  contains the paths and stat vectors (size, times and inode) of its rows. The outline is stored
  apart from the rows, because a run mostly reads only the outline. The encoded rows of such a page
  omit the paths and vectors.
- The same field of all rows is stored as one list (a column). So a page is encoded and decoded in a
  few calls, however many rows it has.
- Only this host reads the encoded bytes. A change of the encoding needs a new version number of the
  cache file.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter

import zstandard

from backup.archiver.archiver_records import NO_PACK, BlobLocation, Outline, Ref, Row
from backup.format.frame import Effort, compress
from backup.format.manifest_encoding import split_entry
from backup.sources.files.file_status import Vector, vectors_from_bytes, vectors_to_bytes

_PACKS = itemgetter(BlobLocation._fields.index("pack"), BlobLocation._fields.index("next"))
_LENGTH = itemgetter(BlobLocation._fields.index("length"))


def rows_to_bytes(
    rows: Sequence[Row], entries: Sequence[str], packs: Sequence[int], *, has_outline: bool
) -> bytes:
    """Encode rows; each of their blobs has a location in a pack.

    `entries` are the manifest entries of the rows. They refer to packs by index in `packs`.
    """
    value: dict[str, object] = {
        "packs": packs,
        "sizes": [row.size for row in rows],
        "lists": {
            number: [row.text, row.lists, row.list_packs]
            for number, row in enumerate(rows)
            if row.lists
        },
    }
    if not has_outline:
        value["paths"] = _paths_to_text([row.path for row in rows])
        value["vectors"] = [row.vector for row in rows]
    # `json.dumps` writes no newline. So the first line is the value, and each other line an entry.
    lines = [json.dumps(value, separators=(",", ":")), *entries]
    return compress("\n".join(lines).encode(), Effort.PAGE)


def rows_from_bytes(data: bytes, outline: Outline | None) -> Iterator[Row]:
    """Decode the output of `rows_to_bytes`; `outline` is that of the page."""
    head, *entries = zstandard.ZstdDecompressor().decompress(data).decode().split("\n")
    value = json.loads(head)
    packs = [*value["packs"], NO_PACK]  # index -1 refers to the last item, which means no pack
    paths: Sequence[bytes]
    vectors: Sequence[Vector | None]
    if outline is None:
        paths = _paths_from_text(value["paths"])
        vectors = [None if vector is None else tuple(vector) for vector in value["vectors"]]
    else:
        paths, vectors = outline.paths, outline.vectors
    columns = (paths, value["sizes"], vectors)
    for number, (entry, path, size, vector) in enumerate(zip(entries, *columns, strict=True)):
        refs, text = split_entry(entry)
        blobs: list[Ref] = [
            BlobLocation(packs[pack], offset, stored, inner, length, id_, packs[next_pack])
            for pack, offset, stored, inner, length, id_, next_pack in refs
        ]
        row = Row(path, text, size, vector, blobs)
        if str(number) in value["lists"]:
            row.text, lists, list_packs = value["lists"][str(number)]
            row.lists = [BlobLocation(*item) for item in lists]
            row.list_packs = [(pack, size) for pack, size in list_packs]
        yield row


def outline_to_bytes(rows: Sequence[Row], packs: Iterable[int]) -> bytes | None:
    """Encode the outline of rows, or return None if it cannot be made.

    It cannot be made if a row has no stat vector, or if the vectors have different lengths because
    the rows are from sources of different kinds.
    """
    vectors = [row.vector for row in rows if row.vector is not None]
    if len(vectors) < len(rows) or len(set(map(len, vectors))) > 1:
        return None
    value = {
        "packs": sorted(packs),
        "paths": _paths_to_text([row.path for row in rows]),
        "marks": " ".join([row.content_mark() for row in rows]),
        "width": len(vectors[0]),
    }
    try:
        numbers = vectors_to_bytes(vectors)
    except OverflowError:
        columns = list(zip(*vectors, strict=True))
        numbers = json.dumps(columns, separators=(",", ":")).encode()
        value["is_json"] = True
    head = json.dumps(value, separators=(",", ":")).encode()
    return compress(head + b"\n" + numbers, Effort.PAGE)


def outline_from_bytes(data: bytes, leaf: str) -> Outline:
    """Decode the output of `outline_to_bytes` for a page with this blob id."""
    head, _, numbers = zstandard.ZstdDecompressor().decompress(data).partition(b"\n")
    value = json.loads(head)
    if "is_json" in value:
        vectors: list[Vector] = list(zip(*json.loads(numbers), strict=True))
    else:
        vectors = vectors_from_bytes(numbers, value["width"])
    return Outline(
        leaf=leaf,
        packs=frozenset(value["packs"]),
        paths=_paths_from_text(value["paths"]),
        vectors=vectors,
        marks=value["marks"].split(" "),
    )


def _paths_to_text(paths: Iterable[bytes]) -> str:
    # One text for all paths is split in one call per page.
    return b"\0".join(paths).decode("latin-1")


def _paths_from_text(text: str) -> list[bytes]:
    return text.encode("latin-1").split(b"\0")


def bytes_by_pack(locations: Iterable[BlobLocation]) -> Counter[int]:
    """Return the bytes per pack; a blob in two packs counts in both."""
    found: Counter[int] = Counter()
    for (pack, next_pack), together in groupby(locations, _PACKS):
        length = sum(map(_LENGTH, together))
        found[pack] += length
        if next_pack != NO_PACK:
            found[next_pack] += length
    return found


def pack_uses(locations: Iterable[BlobLocation], rows: Iterable[Row]) -> list[tuple[int, int]]:
    """Return the bytes that the rows of a page use in each pack.

    `locations` are the locations of the blobs and list pages of all rows. A list page contains the
    blob locations of a very large file. Content that several rows share counts once. `rows` are
    only the rows with list pages.
    """
    uses = bytes_by_pack({location.id: location for location in locations}.values())
    for row in rows:
        uses.update(dict(row.list_packs))
    return list(uses.items())
