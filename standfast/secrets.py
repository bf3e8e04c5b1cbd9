"""Resolution of secret references, and the wrapper of their values.

`standfast/config/value_types.py` defines the form of the references `env:`, `file:` and `keyring:`,
and `standfast/adapters/factory/` decides when a reference is resolved.

Rules
- A secret is resolved as late as possible and passed as a `Secret`; only the code that uses the
  value calls `reveal`.
- No message, repr, pickle or copy contains a value; a message names the reference.
- A file that every user of the machine may open is refused, because its content is not secret any
  more.
"""

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol, TypeAlias, final

from standfast.config.value_types import SecretReference
from standfast.errors import ExtraMissing, Refused, SecretMissing

_LARGEST_BYTES = 64 * 1024


@final
class Secret:
    """A value that no text representation contains."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value, for immediate use; do not store it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled or copied; pass its reference")


Reveal: TypeAlias = Callable[[SecretReference], str]  # SecretMissing if there is no value


class Resolver(Protocol):
    """Interface for the resolution of references."""

    def resolve(self, reference: SecretReference) -> Secret:
        """Read the secret again at each call; `SecretMissing` names the reference."""
        ...


@dataclass(frozen=True, kw_only=True)
class SystemResolver:
    """Resolver for this machine's environment, files and keyring.

    Relative `file:` paths start at `base_dir`: the configuration's folder.
    """

    env: Mapping[str, str]
    base_dir: Path

    def resolve(self, reference: SecretReference) -> Secret:
        """Read the secret that `reference` names.

        One line end after a file's text is removed. Raises `SecretMissing`, `Refused` for a file
        that others may open, `ExtraMissing` if the keyring package is not installed.
        """
        match reference.scheme:
            case "env":
                value = self.env.get(reference.place, "")
            case "file":
                value = _from_file(reference, self.base_dir)
            case _:
                value = _from_keyring(reference)
        if not value:
            raise SecretMissing(f"{reference}: missing or empty. Set it, or correct the reference.")
        return Secret(value)


def _from_file(reference: SecretReference, base_dir: Path) -> str:
    try:
        path = base_dir / Path(reference.place).expanduser()
        with open(path, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise SecretMissing(f"{reference}: not a file. Correct the reference.")
            if found.st_mode & stat.S_IRWXO:
                raise Refused(
                    f"{reference}: every user may open it. Run `chmod o-rwx '{path}'` first."
                )
            content = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise SecretMissing(f"{reference}: cannot be read, {error.strerror}") from None
    except RuntimeError:
        raise SecretMissing(f"{reference}: `~` has no home folder here") from None
    if len(content) > _LARGEST_BYTES:
        raise SecretMissing(f"{reference}: larger than 64 KiB. Check that it is the right file.")
    text = _decode(content)
    if text is None:
        raise SecretMissing(f"{reference}: not UTF-8 text. Check that it is the right file.")
    return text.removesuffix("\n").removesuffix("\r")


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; do not wait for the writer of a named pipe.

    A pipe without a writer would block the call forever.
    """
    return os.open(path, flags | os.O_NONBLOCK)


def _decode(content: bytes) -> str | None:
    """Decode bytes, or return None if they are not UTF-8.

    A UnicodeDecodeError would contain the bytes, and exceptions are logged.
    """
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _from_keyring(reference: SecretReference) -> str:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError as error:
        raise ExtraMissing(
            f"{reference}: keyring is not installed. pip install -r requirements/extras/keyring.txt"
        ) from error
    service, _, user = reference.place.partition("/")
    try:
        return keyring.get_password(service, user) or ""
    except KeyringError as error:
        raise SecretMissing(
            f"{reference}: the keyring cannot be opened ({type(error).__name__}). Unlock it, or "
            "use an env: or file: reference."
        ) from None
