"""Public keys and names of custodians: parsing, and encryption to keys.

- A custodian is a person that can decrypt backups. A custodian is written as an age or SSH public
  key and a name: `age1… Dana Ray`, `ssh-ed25519 AAAA… Lee`. The name is only for display. Two
  custodians are the same if their keys are equal.
- Any one custodian can decrypt content that is encrypted to several custodians.
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
    """A public key and the name of its person."""

    recipient: str  # age1… or ssh-ed25519 AAAA… or ssh-rsa AAAA…
    name: str = ""

    @property
    def text(self) -> str:
        """Return public key and name on one line, as signed records have them."""
        return f"{self.recipient} {self.name}".strip()

    @property
    def title(self) -> str:
        """Return the custodian's name and fingerprint for people."""
        return f"{self.name} ({self.fingerprint})" if self.name else self.fingerprint

    @property
    def fingerprint(self) -> str:
        """Return the key itself for age, or the `ssh-keygen -l` hash for SSH."""
        if not self.recipient.startswith("ssh-"):
            return self.recipient
        digest = hashlib.sha256(base64.b64decode(self.recipient.split()[1])).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def parse_custodian(recipient: str, name: str = "") -> Custodian:
    """Parse a public key; a comment after an SSH key becomes the name.

    Raise `UsageError` if the key or the name is not valid.
    """
    parts = recipient.split()
    length = 1 if recipient.startswith("age1") else 2
    parsed = Custodian(
        recipient=" ".join(parts[:length]), name=name.strip() or " ".join(parts[length:])
    )
    _recipient(parsed)
    if len(parsed.name) > _LONGEST_NAME or not _NAME.fullmatch(parsed.name):
        raise UsageError(
            f"name of a custodian: it must have at most {_LONGEST_NAME} letters on one line."
            " Shorten it."
        )
    return parsed


def parse_custodians(texts: Iterable[str], where: str) -> tuple[Custodian, ...]:
    """Parse the custodians that a stored record names.

    Raise `UsageError` if a text does not contain a public key.
    """
    custodians = []
    for text in texts:
        try:
            custodians.append(parse_custodian(text))
        except UsageError:
            raise UsageError(
                f"{where}: it names a custodian without a public key, so nothing can be encrypted"
                " to that custodian. Create a new generation and name every custodian."
            ) from None
    return tuple(custodians)


def custodian_for_display(text: str) -> Custodian:
    """Return a custodian for display, even if the public key is not valid."""
    try:
        return parse_custodian(text)
    except UsageError:
        return Custodian(recipient=text)


def wrap(plain: bytes, custodians: Sequence[Custodian]) -> bytes:
    """Encrypt bytes so that each of the custodians can decrypt them."""
    sealed: bytes = pyrage.encrypt(plain, [_recipient(custodian) for custodian in custodians])
    return sealed


def _recipient(custodian: Custodian) -> object:
    try:
        if custodian.recipient.startswith("age1"):
            return pyrage.x25519.Recipient.from_str(custodian.recipient)
        return pyrage.ssh.Recipient.from_str(custodian.recipient)
    except pyrage.RecipientError:
        raise UsageError(
            "custodian: not a public key. Give one line that starts with age1, ssh-ed25519 or"
            " ssh-rsa."
        ) from None
