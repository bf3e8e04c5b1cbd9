"""Encoding of manifest pages; metadata is encoded before blobs are stored.

- A page lists entries; an entry describes one path. Canonical JSON sorts keys alphabetically, so
  `blobs` is the first key of an entry. The other keys of the entry are its metadata. The metadata
  can be encoded before the locations of the blobs are known.
- A reference is the location of a blob: the fields of `manifest.BlobRef`, with indexes into the
  page's table of packs. A very large file has too many references for its entry. Its references are
  in separate pages, the list pages, and the key `lists` of the entry refers to these pages.
- `format.manifest` decodes and checks pages.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from backup.format.canonical_json import to_json, to_path_text
from backup.format.manifest import Kind

_BLOBS = '{"blobs":'
_NO_LISTS = '"lists":[]'
_SCANNER = json.JSONDecoder()
_quote = json.encoder.encode_basestring  # escapes only what canonical JSON escapes


def page_to_bytes(kind: str, packs: Sequence[str], items: Sequence[object]) -> bytes:
    """Encode a page; references in `items` name packs by index in `packs`."""
    return to_json({"kind": kind, "packs": list(packs), "items": items})


def leaf_to_bytes(packs: Sequence[str], entries: Sequence[str]) -> bytes:
    """Encode a leaf page from entries that `entry_to_text` has encoded."""
    names = to_json(list(packs)).decode()
    return f'{{"items":[{",".join(entries)}],"kind":"leaf","packs":{names}}}'.encode()


def metadata_to_text(
    *,
    path: bytes,
    kind: Kind,
    mode: int,
    uid: int,
    gid: int,
    user: str,
    group: str,
    modified_ns: int,
    size: int,
    rare: dict[str, object] | None = None,
) -> str:
    """Encode the metadata of an entry without references to list pages.

    `rare` is the output of `rare_metadata_to_json`. Most entries have no rare metadata. Their text
    is made by string formatting, in a third of the time of `to_json`.
    """
    common = common_metadata(kind, mode, uid, gid, user, group)
    text = fill_metadata(common, path, modified_ns, size)
    return with_metadata(text, rare) if rare else text


def common_metadata(
    kind: Kind, mode: int, uid: int, gid: int, user: str, group: str
) -> tuple[str, str]:
    """Return the start and end of metadata text, the same for many entries."""
    return (
        f'"gid":{gid},"group":{_quote(group)},"kind":"{kind}",{_NO_LISTS},"mode":{mode},',
        f'"uid":{uid},"user":{_quote(user)}}}',
    )


def fill_metadata(common: tuple[str, str], path: bytes, modified_ns: int, size: int) -> str:
    """Encode metadata from the output of `common_metadata` and other fields."""
    seconds, nanoseconds = divmod(modified_ns, 1_000_000_000)
    return (
        f'{common[0]}"modified":[{seconds},{nanoseconds}],"path":{_quote(to_path_text(path))},'
        f'"size":{size},{common[1]}'
    )


def parse_metadata(text: str) -> dict[str, Any]:
    """Parse the output of `metadata_to_text`; omit the empty `lists`."""
    fields: dict[str, Any] = json.loads("{" + text)
    del fields["lists"]
    return fields


def with_metadata(text: str, changes: dict[str, object]) -> str:
    """Return metadata with changed values; None removes a field."""
    fields = {**parse_metadata(text), **changes, "lists": []}
    present = {name: value for name, value in fields.items() if value is not None}
    return to_json(present).decode()[1:]


def entry_to_text(metadata: str, blob_refs: str, list_refs: str = "") -> str:
    """Encode an entry from its metadata and comma-separated references.

    `blob_refs` refer to the blobs of a file, `list_refs` to its list pages.
    """
    if list_refs:
        # JSON escapes quotation marks in values, so no value can contain `_NO_LISTS`.
        metadata = metadata.replace(_NO_LISTS, f'"lists":[{list_refs}]')
    return f"{_BLOBS}[{blob_refs}],{metadata}"


def split_entry(entry: str) -> tuple[list[Any], str]:
    """Split an encoded entry into its references to blobs and its metadata.

    If the entry has references to list pages, they are part of the returned metadata.
    """
    refs, end = _SCANNER.raw_decode(entry, len(_BLOBS))
    return refs, entry[end + 1 :]


def refs_to_texts(refs: Iterable[Sequence[Any]], index: Mapping[int, int]) -> list[str]:
    """Encode references as JSON.

    `index` maps the pack numbers in `refs` to positions in the page's table of packs.
    """
    return [
        f'[{index[pack]},{offset},{stored},{inner},{length},"{id_}",{index[next_pack]}]'
        for pack, offset, stored, inner, length, id_, next_pack in refs
    ]


def rare_metadata_to_json(
    *,
    xattrs: tuple[tuple[bytes, bytes], ...],
    target: bytes | None,
    hard_link: bytes | None,
    device: tuple[int, int] | None,
    holes: tuple[tuple[int, int], ...],
) -> dict[str, object]:
    """Return the metadata that few entries have, without absent fields."""
    value: dict[str, object] = {}
    if holes:
        value["holes"] = [list(hole) for hole in holes]
    if xattrs:
        value["xattrs"] = [
            [to_path_text(name), base64.b64encode(content).decode()] for name, content in xattrs
        ]
    if target is not None:
        value["target"] = to_path_text(target)
    if hard_link is not None:
        value["hard_link"] = to_path_text(hard_link)
    if device is not None:
        value["device"] = list(device)
    return value
