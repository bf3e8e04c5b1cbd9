"""Secrets by reference: the one place where a name in the configuration becomes a value.

Owns reading `env:`, `file:` and `keyring:` references and the wrapper that keeps a value out of
logs. The form of a reference is in `standfast/config/value_types.py`; `standfast/adapters/factory/`
decides when to resolve one.

Rules
- A secret is resolved as late as possible and handed on wrapped; `reveal` stands where it is used.
- No message, repr, pickle or copy shows a value; a message names the reference.
- A file that every user of the machine may open is refused, since it is no secret any more.
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
    """A value that does not show itself."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Give the value, to be used at once and kept nowhere."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(hidden)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled or copied; hand on its reference")


Reveal: TypeAlias = Callable[[SecretReference], str]  # SecretMissing when there is none


class Resolver(Protocol):
    """Turns references into secrets."""

    def resolve(self, reference: SecretReference) -> Secret:
        """Read the secret anew at each call. Raises `SecretMissing` naming the reference."""
        ...


@dataclass(frozen=True, kw_only=True)
class SystemResolver:
    """Reads this machine's environment, files and keyring.

    `base_dir` is where relative `file:` paths start: the configuration's folder.
    """

    env: Mapping[str, str]
    base_dir: Path

    def resolve(self, reference: SecretReference) -> Secret:
        """Read the secret that `reference` names.

        One line end after a file's text is not part of it. Raises `SecretMissing`, `Refused` for
        a file that others may open, `ExtraMissing` when the keyring package is not installed.
        """
        match reference.scheme:
            case "env":
                value = self.env.get(reference.place, "")
            case "file":
                value = _from_file(reference, self.base_dir)
            case _:
                value = _from_keyring(reference)
        if not value:
            raise SecretMissing(f"{reference} is not there or empty; set it, or mend the reference")
        return Secret(value)


def _from_file(reference: SecretReference, base_dir: Path) -> str:
    try:
        path = base_dir / Path(reference.place).expanduser()
        with open(path, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise SecretMissing(f"{reference} is not a file")
            if found.st_mode & stat.S_IRWXO:
                raise Refused(f"{reference} is open to every user; first: chmod o-rwx '{path}'")
            content = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise SecretMissing(f"{reference} cannot be read: {error.strerror}") from None
    except RuntimeError:
        raise SecretMissing(f"{reference}: `~` names nobody's home here") from None
    if len(content) > _LARGEST_BYTES:
        raise SecretMissing(f"{reference} is larger than 64 KiB; is it the right file?")
    text = _decoded(content)
    if text is None:
        raise SecretMissing(f"{reference} is not UTF-8 text; is it the right file?")
    return text.removesuffix("\n").removesuffix("\r")


def _without_waiting(path: str, flags: int) -> int:
    """Open a named pipe without waiting for its writer, which would be for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


def _decoded(content: bytes) -> str | None:
    """Decode, or give None: a UnicodeDecodeError holds the bytes, and an exception travels far."""
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
            f"{reference} needs the keyring package: pip install -r requirements/extras/keyring.txt"
        ) from error
    service, _, user = reference.place.partition("/")
    try:
        return keyring.get_password(service, user) or ""
    except KeyringError as error:
        raise SecretMissing(
            f"{reference} cannot be read: the keyring does not open ({type(error).__name__}); "
            "unlock it, or use an env: or file: reference"
        ) from None
