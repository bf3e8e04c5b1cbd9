"""The seal over a manifest: an in-toto statement in a DSSE envelope, signed with Ed25519.

Owns sealing and checking a sealed folder. Leaves the copies to `tree` and custody to `custody`.

Rules
- `manifest.json` first, the envelope last: where the envelope stands, all that it speaks for is on
  disk.
- The statement's subject is the manifest; the manifest's items carry the hashes of the copies.
- The envelope is securesystemslib's: it is light (a tenth of a second, loaded when first needed),
  typed, and what the in-toto tools of an outside examiner read. It looks for the signature by key
  id, which the DSSE specification leaves open; our seals have one signature with the id of its key.
- A check re-reads every copy, names everything that differs in the manifest's order, and everything
  that is there and should not be.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from standfast.errors import Damaged
from standfast.evidence.durable_files import inherit_owner_of_tree, write_atomically
from standfast.evidence.manifest import Item, Kind, Manifest, read_manifest
from standfast.records import JsonObject, canonical

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope

MANIFEST_FILE = "manifest.json"
SEAL_FILE = "seal.dsse.json"
STAMP_FILE = "seal.tsr"  # which `time_stamp` keeps
CUSTODY_FILE = "custody.jsonl"  # which `custody` keeps
FILES_FOLDER = "files"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:standfast:evidence:1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

_BLOCK = 1024 * 1024


def write_seal(folder: Path, manifest: Manifest, signing_key: Ed25519PrivateKey) -> None:
    """Write the manifest and the seal over it, durably and in that order."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import CryptoSigner

    written = manifest.as_bytes()
    counts = manifest.counts
    statement: JsonObject = {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": MANIFEST_FILE, "digest": {"sha256": hashlib.sha256(written).hexdigest()}}
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "incident": manifest.incident,
            "source": manifest.source,
            "token": manifest.token,
            "started": manifest.started,
            "ended": manifest.ended,
            "files": counts.files,
            "sizeBytes": counts.size_bytes,
            "unread": counts.unread,
        },
    }
    envelope = Envelope(canonical(statement), PAYLOAD_TYPE, {})
    envelope.sign(CryptoSigner(signing_key))
    write_atomically(folder / MANIFEST_FILE, written)
    write_atomically(folder / SEAL_FILE, canonical(envelope.to_dict()))
    inherit_owner_of_tree(folder)


def read_sealed(folder: Path, public_key: Ed25519PublicKey) -> Manifest:
    """Read a manifest that its seal vouches for, without looking at the copies.

    Raises Damaged when there is none, or the seal does not hold.
    """
    return read_manifest(_sealed_bytes(folder, public_key))


def is_sealed(folder: Path, public_key: Ed25519PublicKey) -> bool:
    """Does a seal by this key stand in `folder`, over the manifest that is there?"""
    try:
        _sealed_bytes(folder, public_key)
    except Damaged:
        return False
    return True


def verify_seal(folder: Path, public_key: Ed25519PublicKey) -> list[str]:
    """Give every way in which `folder` is not what was sealed; nothing when it is.

    The items in the manifest's order, then what should not be there; or the seal alone, when it
    does not hold.
    """
    try:
        manifest = read_sealed(folder, public_key)
    except Damaged as damage:
        return [str(damage)]  # a manifest that nobody vouches for says nothing about the copies
    files = folder / FILES_FOLDER
    changed = [
        f"{item.path}: {problem}" for item in manifest.items if (problem := _differs(files, item))
    ]
    return [*changed, *_strangers(files, manifest), *_beside(folder)]


def _sealed_bytes(folder: Path, public_key: Ed25519PublicKey) -> bytes:
    payload = _signed_payload(folder / SEAL_FILE, public_key)
    try:
        written = (folder / MANIFEST_FILE).read_bytes()
    except OSError as error:
        raise Damaged(f"{MANIFEST_FILE} cannot be read: {error.strerror}") from error
    try:
        statement = json.loads(payload)
        if (statement["_type"], statement["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
            raise Damaged(f"{SEAL_FILE} is a statement about something else")
        sealed = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Damaged(f"{SEAL_FILE} cannot be read as a statement") from error
    if sealed != {MANIFEST_FILE: hashlib.sha256(written).hexdigest()}:
        raise Damaged(f"{MANIFEST_FILE} is not the one that was sealed")
    return written


def _signed_payload(file: Path, public_key: Ed25519PublicKey) -> bytes:
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import SSlibKey

    try:
        raw = file.read_bytes()
    except OSError as error:
        raise Damaged(f"{SEAL_FILE} cannot be read: {error.strerror}") from error
    envelope = _envelope(raw)
    if canonical(envelope.to_dict()) != raw:  # base64 has bits that say nothing; custody hashes all
        raise Damaged(f"{SEAL_FILE} is not written as it was sealed")
    try:
        envelope.verify([SSlibKey.from_crypto(public_key)], 1)
    except VerificationError as error:
        raise Damaged(f"{SEAL_FILE} is not signed by the key it is checked with") from error
    if envelope.payload_type != PAYLOAD_TYPE:
        raise Damaged(f"{SEAL_FILE} carries something else than a statement")
    return envelope.payload


def _envelope(raw: bytes) -> "Envelope":
    from securesystemslib.dsse import Envelope

    try:
        return Envelope.from_dict(json.loads(raw))
    except Exception as error:  # the library names no one error for an envelope that is none
        raise Damaged(f"{SEAL_FILE} cannot be read as an envelope") from error


def _differs(files: Path, item: Item) -> str:
    if item.kind in {Kind.SPECIAL, Kind.UNREAD}:
        return ""  # noted only; nothing was kept
    if ".." in item.location.split("/"):
        return "its path leads out of the evidence"
    place = files / item.location
    try:
        found = place.lstat()
        match item.kind:
            case Kind.FOLDER:
                return "" if stat.S_ISDIR(found.st_mode) else "is no folder any more"
            case Kind.LINK:
                is_same = stat.S_ISLNK(found.st_mode) and _printed_target(place) == item.link_target
                return "" if is_same else "is no longer the link it was"
        if not stat.S_ISREG(found.st_mode):
            return "is no file any more"
        if found.st_size != item.size_bytes:
            return f"has {found.st_size} bytes instead of {item.size_bytes}"
        return "" if _sha256(place) == item.sha256 else "its content is not what was collected"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _strangers(files: Path, manifest: Manifest) -> Iterator[str]:
    known = {item.location for item in manifest.items}
    for place, folders, names in os.walk(files):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in sorted([*names, *links]):
            location = (Path(place) / name).relative_to(files).as_posix()
            if location not in known:
                shown = os.fsencode(location).decode("utf-8", "backslashreplace")
                yield f"{shown}: is not in the manifest"


def _beside(folder: Path) -> Iterator[str]:
    ours = {MANIFEST_FILE, SEAL_FILE, STAMP_FILE, FILES_FOLDER, CUSTODY_FILE}
    for name in sorted({place.name for place in folder.iterdir()} - ours):
        yield f"{os.fsencode(name).decode('utf-8', 'backslashreplace')}: is no part of the evidence"


def _printed_target(link: Path) -> str:
    return os.fsencode(link.readlink()).decode("utf-8", "backslashreplace")


def _sha256(file: Path) -> str:
    hashed = hashlib.sha256()
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        while block := stream.read(_BLOCK):
            hashed.update(block)
    return hashed.hexdigest()
