"""Custodians: who can open a domain, as its key record names them.

- A custodian is an age or an SSH public key, and the name of a person behind it:
  `age1… Dana Ray`, `ssh-ed25519 AAAA… Lee`.  The name is for people; the key alone counts.
- What is wrapped to custodians can be opened by each of them alone.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyrage

from backup.errors import UsageError

_LONGEST_NAME = 64
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Custodian:
    """A public key, and whose it is."""

    recipient: str  # age1… or ssh-ed25519 AAAA… or ssh-rsa AAAA…
    name: str = ""

    @property
    def text(self) -> str:
        """How a key record names the custodian."""
        return f"{self.recipient} {self.name}".strip()

    @property
    def title(self) -> str:
        """How people tell the custodian from the others."""
        return f"{self.name} ({self.fingerprint})" if self.name else self.fingerprint

    @property
    def fingerprint(self) -> str:
        """An age key is short enough to be its own; an SSH key's as `ssh-keygen -l` prints it."""
        if not self.recipient.startswith("ssh-"):
            return self.recipient
        digest = hashlib.sha256(base64.b64decode(self.recipient.split()[1])).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def custodian(recipient: str, name: str = "") -> Custodian:
    """Check a public key as a person gave it; a comment behind an SSH key serves as the name."""
    parts = recipient.split()
    length = 1 if recipient.startswith("age1") else 2
    found = Custodian(
        recipient=" ".join(parts[:length]), name=name.strip() or " ".join(parts[length:])
    )
    _recipient(found)
    if len(found.name) > _LONGEST_NAME or not _NAME.fullmatch(found.name):
        raise UsageError(f"a custodian's name has at most {_LONGEST_NAME} letters, on one line")
    return found


def named_in(texts: Iterable[str], where: str) -> tuple[Custodian, ...]:
    """The custodians that a key record names; `UsageError` when one is no public key."""
    found = []
    for text in texts:
        try:
            found.append(custodian(text))
        except UsageError:
            raise UsageError(
                f"{where} names a custodian whose public key is not written there, so nothing can"
                " be wrapped to them again: make a new generation, and name every custodian"
            ) from None
    return tuple(found)


def readable(text: str) -> Custodian:
    """A custodian as a key record names them, for showing: what is no public key stays as it is."""
    try:
        return custodian(text)
    except UsageError:
        return Custodian(recipient=text)


def wrap(plain: bytes, custodians: Sequence[Custodian]) -> bytes:
    """Encrypt so that each of the custodians can open it alone."""
    sealed: bytes = pyrage.encrypt(plain, [_recipient(one) for one in custodians])
    return sealed


def _recipient(one: Custodian) -> object:
    try:
        if one.recipient.startswith("age1"):
            return pyrage.x25519.Recipient.from_str(one.recipient)
        return pyrage.ssh.Recipient.from_str(one.recipient)
    except pyrage.RecipientError:
        raise UsageError(
            "that is no custodian's public key: give one that begins with age1, ssh-ed25519 or"
            " ssh-rsa, as one line"
        ) from None
