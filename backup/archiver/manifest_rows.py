"""Manifest rows: made from paths that a walk finds, and from hard links.

A row is the manifest entry of one path. Its metadata is encoded exactly as in its manifest page.
"""

from functools import lru_cache
from stat import S_IMODE

from backup.archiver.archiver_records import Row
from backup.format.canonical_json import to_path_text
from backup.format.manifest_encoding import (
    common_metadata,
    fill_metadata,
    metadata_to_text,
    rare_metadata_to_json,
    with_metadata,
)
from backup.sources import Found, ReadFile
from backup.sources.files.file_status import Vector, group_name, user_name

_HARD_LINK = '"hard_link":'


def new_row(
    path: bytes, found: Found, *, xattrs: tuple[tuple[bytes, bytes], ...] = (), size: int = 0
) -> Row:
    """Return the row of a path, without content."""
    text = metadata_text(path, found, xattrs, size)
    return Row(path=path, text=text, size=size, vector=found.vector)


def metadata_text(
    path: bytes,
    found: Found,
    xattrs: tuple[tuple[bytes, bytes], ...],
    size: int,
    holes: tuple[tuple[int, int], ...] = (),
) -> str:
    """Return the encoded metadata of a path.

    `size` is the number of bytes that were read. It may differ from the size that the walk found.
    """
    rare = None
    if xattrs or holes or found.kind not in ("file", "directory"):
        rare = rare_metadata_to_json(
            xattrs=xattrs, target=found.target, hard_link=None, device=found.device, holes=holes
        )
    return metadata_to_text(
        path=path,
        kind=found.kind,
        mode=found.mode,
        uid=found.uid,
        gid=found.gid,
        user=found.user,
        group=found.group,
        modified_ns=found.modified_ns,
        size=size,
        rare=rare,
    )


def plain_text(path: bytes, vector: Vector) -> str:
    """Return the encoded metadata of a file, made from its stat vector alone.

    The stat vector contains the file's size, times, mode and owner.
    """
    _, size, modified_ns, _, mode, uid, gid = vector
    return fill_metadata(_common_of_file(mode, uid, gid), path, modified_ns, size)


def read_text(path: bytes, file: ReadFile) -> str:
    """Return the encoded metadata of a small file that the walk has read.

    Such a file can have extended attributes, but no holes and no other rare metadata.
    """
    text = plain_text(path, file.vector)
    if not file.xattrs:
        return text
    rare = rare_metadata_to_json(
        xattrs=file.xattrs, target=None, hard_link=None, device=None, holes=()
    )
    return with_metadata(text, rare)


@lru_cache(maxsize=1024)
def _common_of_file(mode: int, uid: int, gid: int) -> tuple[str, str]:
    return common_metadata("file", S_IMODE(mode), uid, gid, user_name(uid), group_name(gid))


def hard_link_row(path: bytes, first: Row) -> Row:
    """Return the row of a further hard link to the file of `first`."""
    names: dict[str, object] = {"path": to_path_text(path), "hard_link": to_path_text(first.path)}
    return Row(
        path=path,
        text=with_metadata(first.text, names),
        size=first.size,
        vector=first.vector,
        blobs=list(first.blobs),
        lists=first.lists,
        list_packs=first.list_packs,
    )


def without_hard_link(row: Row) -> Row:
    """Remove the hard link from a row of an earlier run, if it has one.

    The path that the hard link names may belong to another file now.
    """
    if _HARD_LINK in row.text:
        row.text = with_metadata(row.text, {"hard_link": None})
    return row
