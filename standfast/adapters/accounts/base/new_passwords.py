"""New passwords for exposed accounts: generation, sealing, `[rotation]`.

The section `[rotation]` of the configuration defines the recipients, who alone can decrypt the
passwords, and the folder of the encrypted files.

Rules
- A password is sealed (encrypted) and synchronised to disk before the account directory receives
  it. Every attempt generates another password in a file of its own, and no file is removed. So the
  valid password is always in one of the files.
- Standfast cannot decrypt the passwords that it sealed. Results, logs and exceptions contain the
  path of the file, never the password.
- The name of a file (`TOKEN-TRY.age`) contains the token of the order (the change of one account)
  and the number of the attempt, not the name of a person. The encrypted content names the account.
- The public keys (age or SSH) of the recipients are read when the first password is sealed: a
  mistyped key must not prevent a lock.
"""

import json
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pyrage

from standfast.config.sections.password_rotation import RotationConfig
from standfast.errors import ConfigurationError, Unavailable
from standfast.records import EffectState, Now, Order, Proof, Result, timestamp


@dataclass(frozen=True, kw_only=True)
class NewPassword:
    """A password on disk that is not set yet; `place` is its file."""

    secret: str = field(repr=False)
    place: Path


class NewPasswords:
    """Store of new passwords; `seal` encrypts them to the recipients."""

    def __init__(self, folder: Path, seal: Callable[[bytes], bytes], clock: Now) -> None:
        self._folder = folder
        self._seal = seal
        self._clock = clock

    def make(self, directory: str, order: Order) -> NewPassword:
        """Generate and seal a password for an order; `Unavailable` on failure."""
        # Four kinds of characters, as many rules require, and none that is special in a shell.
        secret = f"{secrets.token_urlsafe(24)}-aA1"
        sealed = self._seal(
            json.dumps(
                {
                    "directory": directory,
                    "account": order.target,
                    "password": secret,
                    "made_at": timestamp(self._clock()),
                },
                ensure_ascii=False,
            ).encode()
        )
        try:
            return NewPassword(secret=secret, place=self._keep(order.token, sealed))
        except OSError as error:
            raise Unavailable(
                f"folder {self._folder}: a new password cannot be stored, {error.strerror}, so "
                "none was set. Check the folder."
            ) from None

    def _keep(self, token: str, sealed: bytes) -> Path:
        """Write the password durably, next to earlier ones; return its path."""
        _make_private(self._folder)
        for number in count(1):
            path = self._folder / f"{token}-{number}.age"
            try:
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                continue
            break
        with os.fdopen(file, "wb") as sink:
            sink.write(sealed)
            sink.flush()
            os.fsync(sink.fileno())
        _sync(self._folder)
        return path


def _make_private(folder: Path) -> None:
    """Create a folder of mode 0700 and its missing parents, durably."""
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def rotated(order: Order, new: NewPassword, proof: Proof = Proof.NONE) -> Result:
    """Return the result for a new password that was set."""
    return Result(
        target=order.target,
        state=EffectState.DONE,
        reason=f"the new password is sealed in {new.place}",
        facts={"changed": True, "sealed_in": str(new.place)},
        proof=proof,
    )


def new_secrets(settings: RotationConfig | None, clock: Now) -> NewPasswords | None:
    """Return the store of new passwords; None if no recipient is configured.

    The keys are read when the first password is encrypted: a mistyped key must not prevent a lock.
    """
    if settings is None:
        return None

    def seal(plain: bytes) -> bytes:
        return bytes(pyrage.encrypt(plain, read_recipients(settings.recipients)))

    return NewPasswords(settings.folder, seal, clock)


def read_recipients(keys: Sequence[str]) -> list[object]:
    """Parse public keys; ConfigurationError names an invalid one."""
    recipients: list[object] = []
    for key in keys:
        kind = pyrage.x25519 if key.startswith("age1") else pyrage.ssh
        try:
            recipients.append(kind.Recipient.from_str(key))
        except pyrage.RecipientError:
            raise ConfigurationError(
                f"rotation.recipients: {key[:20]}… is not a public key. Write it as age-keygen "
                "prints it, or an SSH key of type ed25519 or rsa."
            ) from None
    return recipients
