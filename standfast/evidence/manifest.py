"""Manifest of frozen evidence: items, hashes, canonical JSON.

Frozen evidence is a folder of collected files. `seal` signs its manifest.

Rules
- The manifest is canonical JSON (RFC 8785), so that equal manifests have equal hashes.
- A path is written as text. If it is not UTF-8, the text is escaped, and the bytes of the path are
  added in base64.
- A path that could not be read is an item too, with the reason.
- Manifests of older versions have no `clock`. They are encoded without `clock` again, so that their
  hash does not change.
"""

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from standfast.errors import Damaged
from standfast.evidence.host_clock import HostClock
from standfast.records import JsonObject, canonical

FORMAT = "standfast-evidence/1"
ENCRYPTED_FORMAT = "standfast-evidence/2"  # format of manifests whose items are encrypted


class Kind(StrEnum):
    """Kind of an item; UNREAD is the only kind that was not collected."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"  # stored as a link, never followed
    SPECIAL = "special"  # a device, socket or pipe: recorded without content
    UNREAD = "unread"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One path that the collection found.

    Times are texts in UTC, in the form of `records.timestamp`.
    """

    path: str
    kind: Kind
    path_bytes: str = ""  # base64, only if the path is not UTF-8
    size_bytes: int = 0
    sha256: str = ""
    sealed_size_bytes: int = 0  # size of the encrypted file; 0 if the item is not encrypted
    sealed_sha256: str = ""
    link_target: str = ""
    modified: str = ""
    accessed: str = ""
    status_changed: str = ""
    mode: str = ""  # octal
    uid: int = 0
    gid: int = 0
    is_changed: bool = False  # True if the file changed while it was copied
    reason: str = ""  # UNREAD: the reason; FILE: the missing part and the reason

    @property
    def location(self) -> str:
        """Return the path of the copy below `files/`, decoded by `os.fsdecode`."""
        raw = base64.b64decode(self.path_bytes) if self.path_bytes else self.path.encode()
        return os.fsdecode(raw).lstrip("/")

    @property
    def stored_size_bytes(self) -> int:
        """Return the size of the file on the disk, which may be encrypted."""
        return self.sealed_size_bytes if self.sealed_sha256 else self.size_bytes

    @property
    def stored_sha256(self) -> str:
        """Return the SHA-256 of the file on the disk, which may be encrypted."""
        return self.sealed_sha256 or self.sha256


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Numbers of items in a manifest, by kind."""

    files: int
    size_bytes: int
    folders: int
    links: int
    special: int
    unread: int
    incomplete: int  # files that were collected only in part
    changed: int
    excluded: int


@dataclass(frozen=True, kw_only=True)
class Encryption:
    """Encryption of the items of one folder."""

    custodians: tuple[str, ...]  # public keys of people; each of them can decrypt the data key
    key_sha256: str  # SHA-256 of the encrypted data key


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The manifest of one source, from one collection."""

    incident: str
    source: str
    token: str
    collector: str
    reason: str
    host: str
    version: str  # version of this program
    started: str
    ended: str
    paths: tuple[str, ...]
    exclude: tuple[str, ...]
    excluded: int
    items: tuple[Item, ...]
    clock: HostClock | None = None  # offset of the host's clock; None if not recorded
    encryption: Encryption | None = None

    @property
    def counts(self) -> Counts:
        kinds = [item.kind for item in self.items]
        return Counts(
            files=kinds.count(Kind.FILE),
            size_bytes=sum(item.size_bytes for item in self.items),
            folders=kinds.count(Kind.FOLDER),
            links=kinds.count(Kind.LINK),
            special=kinds.count(Kind.SPECIAL),
            unread=kinds.count(Kind.UNREAD),
            incomplete=sum(item.kind is Kind.FILE and item.reason != "" for item in self.items),
            changed=sum(item.is_changed for item in self.items),
            excluded=self.excluded,
        )

    def as_bytes(self) -> bytes:
        """Encode the manifest; `read_manifest` decodes it."""
        body = asdict(self)
        body["items"] = [_without_blanks(item) for item in body["items"]]
        if self.clock is None:
            del body["clock"]
        if self.encryption is None:
            del body["encryption"]
        written: JsonObject = {
            "format": ENCRYPTED_FORMAT if self.encryption else FORMAT,
            "tool": "standfast",
            "method": "copied and hashed with SHA-256 in one pass",
            **body,
        }
        return canonical(written)


def read_manifest(raw: bytes) -> Manifest:
    """Decode the output of `Manifest.as_bytes`; raise `Damaged` if invalid."""
    try:
        body = json.loads(raw)
        written_format = body.pop("format")
        del body["tool"], body["method"]
        body["paths"] = tuple(map(str, body["paths"]))
        body["exclude"] = tuple(map(str, body["exclude"]))
        body["items"] = tuple(
            Item(**{**item, "kind": Kind(item["kind"])}) for item in body["items"]
        )
        if "clock" in body:
            body["clock"] = HostClock(**body["clock"])
        if "encryption" in body:
            keys = body["encryption"]
            body["encryption"] = Encryption(
                custodians=tuple(map(str, keys["custodians"])), key_sha256=str(keys["key_sha256"])
            )
        manifest = Manifest(**body)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Damaged("the manifest is not in the format that this program writes") from error
    if written_format != (ENCRYPTED_FORMAT if manifest.encryption else FORMAT):
        raise Damaged(f"the manifest is not in the format {FORMAT} or {ENCRYPTED_FORMAT}")
    return manifest


def written_path(path: str) -> tuple[str, str]:
    """Return a path as text, and in base64 if it is not valid UTF-8.

    The path is in the form of the file system (`os.fsdecode`).
    """
    raw = os.fsencode(path)
    try:
        return raw.decode(), ""
    except UnicodeDecodeError:
        return raw.decode("utf-8", "backslashreplace"), base64.b64encode(raw).decode()


def _without_blanks(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if value not in ("", False)}
