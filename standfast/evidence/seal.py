"""Seal of an evidence folder: writing, and verification of each file.

The seal is a signed in-toto statement about the manifest (`signed_statement`), in a DSSE envelope.
`tree_copy` copies the files, and `custody` records each act on the folder.

Rules
- `manifest.json` is written first and the envelope last. If the envelope exists, everything that it
  covers is on the disk.
- The subject of the statement is the manifest. The items of the manifest contain the hashes of the
  copied files.
- A verification reads all copied files again. It reports every difference in the order of the
  manifest, and then every file that is not in the manifest.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from standfast.errors import Damaged
from standfast.evidence.disposal_certificate import (
    DISPOSAL_FILE,
    read_certificate,
    remains_of_disposal,
)
from standfast.evidence.item_file import FILES_FOLDER, KEY_FILE, stored_problem
from standfast.evidence.manifest import Item, Kind, Manifest, read_manifest
from standfast.evidence.private_files import inherit_owner_of_tree, write_atomically
from standfast.evidence.signed_statement import MANIFEST_FILE as MANIFEST_FILE
from standfast.evidence.signed_statement import (
    STATEMENT_TYPE,
    signed_payload,
    statement_about,
    write_statement,
)
from standfast.records import JsonObject

SEAL_FILE = "seal.dsse.json"
STAMP_FILE = "seal.tsr"  # written by `time_stamp_file`
CUSTODY_FILE = "custody.jsonl"  # written by `custody`
PREDICATE_TYPE = "urn:standfast:evidence:1"


def write_seal(folder: Path, manifest: Manifest, signing_key: Ed25519PrivateKey) -> None:
    """Write the manifest and then its seal to the disk."""
    written = manifest.as_bytes()
    counts = manifest.counts
    predicate: JsonObject = {
        "incident": manifest.incident,
        "source": manifest.source,
        "token": manifest.token,
        "started": manifest.started,
        "ended": manifest.ended,
        "files": counts.files,
        "sizeBytes": counts.size_bytes,
        "unread": counts.unread,
        "incomplete": counts.incomplete,
    }
    write_atomically(folder / MANIFEST_FILE, written)
    statement = statement_about(written, PREDICATE_TYPE, predicate)
    write_statement(folder / SEAL_FILE, statement, signing_key)
    inherit_owner_of_tree(folder)


def read_sealed(folder: Path, public_key: Ed25519PublicKey) -> Manifest:
    """Verify a seal and return its manifest; the collected files are not read.

    Raise Damaged if there is no manifest, or if the seal does not verify.
    """
    return read_manifest(_sealed_bytes(folder, public_key))


def is_sealed(folder: Path, public_key: Ed25519PublicKey) -> bool:
    """Return whether a seal by this key covers the manifest in `folder`."""
    try:
        _sealed_bytes(folder, public_key)
    except Damaged:
        return False
    return True


def manifest_hash(folder: Path) -> str:
    """Return the SHA-256 of the manifest; the seal is not verified."""
    return hashlib.sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest()


def verify_seal(folder: Path, public_key: Ed25519PublicKey) -> list[str]:
    """Return every difference between a folder and its seal.

    Differences of items are in the order of the manifest, followed by files that are not in the
    manifest. If the seal does not verify, this is the only result.
    """
    try:
        manifest = read_sealed(folder, public_key)
    except Damaged as damage:
        return [str(damage)]  # without a valid seal, the manifest proves nothing about the copies
    if os.path.lexists(folder / DISPOSAL_FILE):
        return [*_disposal_problems(folder, public_key), *_unexpected_neighbours(folder)]
    changed = [
        f"{item.path}: {problem}" for item in manifest.items if (problem := _differs(folder, item))
    ]
    return [
        *changed,
        *_key_problems(folder, manifest),
        *_unexpected_files(folder / FILES_FOLDER, manifest),
        *_unexpected_neighbours(folder),
    ]


def _sealed_bytes(folder: Path, public_key: Ed25519PublicKey) -> bytes:
    payload = signed_payload(folder / SEAL_FILE, public_key)
    try:
        written = (folder / MANIFEST_FILE).read_bytes()
    except OSError as error:
        raise Damaged(f"{MANIFEST_FILE} cannot be read: {error.strerror}") from error
    try:
        statement = json.loads(payload)
        if (statement["_type"], statement["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise Damaged(f"{SEAL_FILE} is a statement about something else")
        sealed = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Damaged(f"{SEAL_FILE} cannot be read as a statement") from error
    if sealed != {MANIFEST_FILE: hashlib.sha256(written).hexdigest()}:
        raise Damaged(f"{MANIFEST_FILE} is not the one that was sealed")
    return written


def _differs(folder: Path, item: Item) -> str:
    if item.kind in {Kind.SPECIAL, Kind.UNREAD}:
        return ""  # the item has no content
    try:
        if item.kind is Kind.FILE:
            return stored_problem(folder, item)
        if ".." in item.location.split("/"):
            return "its path leads out of the evidence"
        place = folder / FILES_FOLDER / item.location
        mode = place.lstat().st_mode
        if item.kind is Kind.FOLDER:
            return "" if stat.S_ISDIR(mode) else "is not a folder any more"
        is_same = stat.S_ISLNK(mode) and _printed_target(place) == item.link_target
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if is_same else "is not the link that was sealed"


def _disposal_problems(folder: Path, public_key: Ed25519PublicKey) -> Iterator[str]:
    try:
        read_certificate(folder, public_key)
    except Damaged as damage:
        yield str(damage)
    yield from remains_of_disposal(folder)


def _key_problems(folder: Path, manifest: Manifest) -> Iterator[str]:
    if manifest.encryption is None:
        if os.path.lexists(folder / KEY_FILE):
            yield f"{KEY_FILE}: is not part of the evidence, which is not encrypted"
        return
    try:
        wrapped = (folder / KEY_FILE).read_bytes()
    except OSError as error:
        yield f"{KEY_FILE}: cannot be read: {error.strerror}"
        return
    if hashlib.sha256(wrapped).hexdigest() != manifest.encryption.key_sha256:
        yield f"{KEY_FILE}: is not the one that was sealed"


def _unexpected_files(files: Path, manifest: Manifest) -> Iterator[str]:
    known = {item.location for item in manifest.items}
    for place, folders, names in os.walk(files):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in sorted([*names, *links]):
            location = (Path(place) / name).relative_to(files).as_posix()
            if location not in known:
                shown = os.fsencode(location).decode("utf-8", "backslashreplace")
                yield f"{shown}: is not in the manifest"


def _unexpected_neighbours(folder: Path) -> Iterator[str]:
    ours = {MANIFEST_FILE, SEAL_FILE, STAMP_FILE, CUSTODY_FILE, FILES_FOLDER}
    ours |= {KEY_FILE, DISPOSAL_FILE}
    for name in sorted({place.name for place in folder.iterdir()} - ours):
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        yield f"{shown}: is not part of the evidence"


def _printed_target(link: Path) -> str:
    return os.fsencode(link.readlink()).decode("utf-8", "backslashreplace")
