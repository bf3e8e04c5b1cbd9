"""Wrapped data key of one folder: the age file `key.age`, and its copies.

    INCIDENT/SOURCE/TOKEN/key.age          next to the manifest, which has its hash
    FOLDER/INCIDENT/SOURCE/TOKEN.age       in each folder of `custody.key_copies`

The data key encrypts the files of one evidence folder. It is wrapped, that is, encrypted to the
custodians: the people that can open the evidence.

Rules
- Each custodian can decrypt the key alone, with an age identity or an SSH key.
- The chain of custody (the folder's record of all acts) names each copy before it is written.
  Therefore a disposal finds the copy even after the configuration was changed.
- The key is never copied to the bucket, because Object Lock would prevent its destruction.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from backup.errors import BackupError
from backup.ownership.custodian_public_key import Custodian, parse_custodians, wrap
from standfast.errors import ConfigurationError, Damaged, Refused
from standfast.evidence.custody import Act, append_custody, read_custody
from standfast.evidence.item_file import KEY_FILE
from standfast.evidence.manifest import Encryption, Manifest
from standfast.evidence.private_files import make_private, write_atomically
from standfast.records import Now

_KEY_COPIED = "key copied to "


def read_custodians(custodians: Sequence[str]) -> tuple[Custodian, ...]:
    """Parse the public keys of the custodians; ConfigurationError if invalid."""
    try:
        return parse_custodians(custodians, "custody.custodians")
    except BackupError:
        raise ConfigurationError(
            "custody.custodians: one is not a public key. Write it as age-keygen prints it, or an "
            "SSH key of type ed25519 or rsa"
        ) from None


def write_key(folder: Path, key: bytes, custodians: Sequence[str]) -> Encryption:
    """Write the wrapped key of a new folder to the disk."""
    wrapped = wrap(key, read_custodians(custodians))
    write_atomically(folder / KEY_FILE, wrapped)
    return Encryption(custodians=tuple(custodians), key_sha256=hashlib.sha256(wrapped).hexdigest())


def key_places(folder: Path, key_copies: Sequence[Path]) -> list[Path]:
    """Return the file of the wrapped key, then its configured copies."""
    incident, source = folder.parent.parent.name, folder.parent.name
    copies = [place / incident / source / f"{folder.name}.age" for place in key_copies]
    return [folder / KEY_FILE, *copies]


def is_key_copied(folder: Path, key_copies: Sequence[Path]) -> bool:
    """Return whether the folder has no key, or each of `key_copies` has it."""
    original, *copies = key_places(folder, key_copies)
    return not original.exists() or all(copy.exists() for copy in copies)


def recorded_copies(folder: Path) -> list[Path]:
    """Return the copies of the key that the chain of custody names."""
    return [
        Path(entry.detail.removeprefix(_KEY_COPIED))
        for entry in read_custody(folder)
        if entry.act is Act.TRANSFERRED and entry.detail.startswith(_KEY_COPIED)
    ]


def copy_key(folder: Path, key_copies: Sequence[Path], who: str, clock: Now) -> None:
    """Write the missing copies of the key; OSError if one cannot be written.

    Raise Damaged if the chain of custody does not verify.
    """
    original, *copies = key_places(folder, key_copies)
    for copy, place in zip(copies, key_copies, strict=True):
        if not copy.exists() and original.exists():
            place.stat()  # if a network share is not mounted, do not create its folder on this disk
            if copy not in recorded_copies(folder):
                detail = f"{_KEY_COPIED}{copy}"
                append_custody(folder, at=clock(), who=who, act=Act.TRANSFERRED, detail=detail)
            make_private(copy.parent)
            write_atomically(copy, original.read_bytes())


def open_key(
    folder: Path, manifest: Manifest, key_copies: Sequence[Path], identity: Sequence[object]
) -> bytes | None:
    """Return the data key of a folder; None if its items are not encrypted.

    Raise Damaged if no copy of the wrapped key has the hash in the manifest, and Refused if
    `identity` (keys of pyrage) belongs to no custodian.
    """
    import pyrage

    if manifest.encryption is None:
        return None
    for place in key_places(folder, key_copies):
        try:
            wrapped = place.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(wrapped).hexdigest() != manifest.encryption.key_sha256:
            continue
        try:
            key: bytes = pyrage.decrypt(wrapped, list(identity))
        except pyrage.DecryptError:
            raise Refused(
                "identity: it belongs to no custodian of this evidence. Name the file of a "
                "custodian with --identity"
            ) from None
        return key
    raise Damaged(
        f"{folder.parent.name}/{folder.name}: no copy of its key is the key that was sealed"
    )
