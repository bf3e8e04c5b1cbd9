"""Encryption of personal columns; handles, MACs; key files.

This module creates and reads the key files, and encrypts single values; it does not depend on the
tables.

Rules
- The installation (one configured Standfast) has one key for accounts and enrolled people; each
  incident has one key for its customers. Each key is a separate file, outside the ledger (the
  database) and its immutable backups. So the deletion of an incident's key makes its customers'
  data unreadable, and the hash chain of the audit log stays valid.
- A value is sealed by AES-256-GCM with a random nonce. The context of the value (table, column and
  primary key of the row) is authenticated too, so a value that was moved to another column or row
  cannot be decrypted.
- A handle is an HMAC of a name. With the same key, one person always has the same handle; the
  handle reveals nothing else about the person.
- A key and its folder are synced to the disk before any value is sealed with the key.
"""

import hmac
import json
import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from standfast.errors import ConfigurationError, Damaged, Unavailable
from standfast.records import Json, JsonObject, canonical

_NONCE_BYTES = 12
_KEY_BYTES = 32
_HANDLE_HEX = 32  # 128 bits: no collision among a billion people
_SCOPE = re.compile(r"[a-z0-9-]{1,64}")

INSTALLATION = "installation"


class ColumnCipher:
    """Cipher with one key for each scope: installation or incident."""

    def __init__(self, folder: Path, *, random: Callable[[int], bytes] = os.urandom) -> None:
        self._folder = folder
        self._random = random
        self._keys: dict[str, bytes] = {}
        self._ciphers: dict[str, AESGCM] = {}
        self._handle_keys: dict[str, bytes] = {}

    def create(self, scope: str) -> None:
        """Create the key of a scope durably, unless it exists."""
        path = self._path(scope)
        draft = path.with_suffix(f".{secrets.token_hex(8)}.draft")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except PermissionError:
            raise ConfigurationError(
                f"key folder {self._folder}: this user may not write there. Run as the user that "
                "owns it."
            ) from None
        except OSError as error:
            raise self._unwritten(error) from None
        try:
            try:
                _set_owner_of(self._folder, descriptor)
                os.write(descriptor, self._random(_KEY_BYTES))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.link(draft, path)  # fails if the key exists: a key is never replaced
        except FileExistsError:
            return
        except OSError as error:
            raise self._unwritten(error) from None
        finally:
            draft.unlink()
        _sync_folder(self._folder)

    def has(self, scope: str) -> bool:
        """Return whether the key of a scope exists."""
        return self._path(scope).exists()

    def erase(self, scope: str) -> None:
        """Delete the key of a scope; values sealed with it become unreadable."""
        self._path(scope).unlink(missing_ok=True)
        _sync_folder(self._folder)
        self._keys.pop(scope, None)
        self._ciphers.pop(scope, None)
        self._handle_keys.pop(scope, None)

    def seal(self, scope: str, context: str, value: JsonObject) -> bytes:
        """Encrypt `value`; decryption needs the same `context`."""
        return self.seal_written(scope, context, canonical(value))

    def seal_written(self, scope: str, context: str, written: bytes) -> bytes:
        """Encrypt bytes that are canonical JSON; `open` decrypts them."""
        nonce = self._random(_NONCE_BYTES)  # not drawn earlier: a fork would use the nonce twice
        return nonce + self._cipher(scope).encrypt(nonce, written, context.encode())

    def open(self, scope: str, context: str, sealed: bytes) -> JsonObject:
        """Decrypt a sealed value; Damaged when it was changed or moved."""
        try:
            plain = self._cipher(scope).decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode()
            )
        except (InvalidTag, ValueError, TypeError):  # changed, truncated, or not bytes
            raise Damaged(
                f"sealed value {context}: cannot be decrypted with key {scope!r}, so it was "
                "changed or sealed with another key. Run `standfast audit verify`."
            ) from None
        return cast("JsonObject", json.loads(plain.decode()))

    def handle(self, scope: str, name: str) -> str:
        """Return the handle of a person or account under this scope's key."""
        key = self._handle_keys.get(scope)
        if key is None:
            key = hmac.digest(self._key(scope), b"standfast handle", "sha256")
            self._handle_keys[scope] = key
        return hmac.digest(key, name.encode(), "sha256").hex()[:_HANDLE_HEX]

    def mac(self, context: str, value: Json) -> str:
        """Return a MAC under the installation's key."""
        key = hmac.digest(self._key(INSTALLATION), b"standfast mac", "sha256")
        return hmac.digest(key, context.encode() + b"\n" + canonical(value), "sha256").hex()

    def seal_of_event(self, event_hash: str) -> str:
        """Return the MAC that proves that this program wrote an event."""
        return self.mac("event", event_hash)

    def signing_key(self) -> Ed25519PrivateKey:
        """Return the key that signs the audit chain and seals evidence."""
        seed = hmac.digest(self._key(INSTALLATION), b"standfast head", "sha256")
        return Ed25519PrivateKey.from_private_bytes(seed)

    def _unwritten(self, error: OSError) -> Unavailable:
        return Unavailable(
            f"key folder {self._folder}: cannot be written, {error.strerror}. Free space there, "
            "then run this again. Until then work by hand, from `standfast playbook show NAME`."
        )

    def _cipher(self, scope: str) -> AESGCM:
        cipher = self._ciphers.get(scope)
        if cipher is None:
            cipher = AESGCM(hmac.digest(self._key(scope), b"standfast seal", "sha256"))
            self._ciphers[scope] = cipher
        return cipher

    def _key(self, scope: str) -> bytes:
        if scope not in self._keys:
            try:
                key = self._path(scope).read_bytes()
            except FileNotFoundError:
                raise ConfigurationError(
                    f"ledger key {scope!r}: missing in {self._folder}. It was erased, or "
                    "`ledger.keys` names a folder that the hosts do not share. Without the key "
                    "its columns cannot be read."
                ) from None
            except OSError as error:
                raise ConfigurationError(
                    f"ledger key {scope!r} in {self._folder}: cannot be read, {error.strerror}. "
                    "Run as the user that owns it."
                ) from None
            if len(key) != _KEY_BYTES:
                raise Damaged(
                    f"ledger key {scope!r} in {self._folder}: incomplete. Restore the file "
                    f"{scope}.key from a copy. Without the key its columns cannot be read."
                )
            self._keys[scope] = key
        return self._keys[scope]

    def _path(self, scope: str) -> Path:
        if not _SCOPE.fullmatch(scope):
            raise ValueError(f"not a scope: {scope!r}")
        return self._folder / f"{scope}.key"


def _set_owner_of(folder: Path, descriptor: int) -> None:
    """Set the owner of a file that root created to the folder's owner."""
    if os.geteuid() == 0:
        with suppress(OSError):  # a network share may map root to the user nobody
            owner = folder.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
