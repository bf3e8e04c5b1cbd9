"""What adapters are built with besides their settings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from standfast.adapters.accounts.base.new_passwords import NewPasswords
from standfast.config import SecretReference
from standfast.records import Now

Reveal: TypeAlias = Callable[[SecretReference], str]  # SecretMissing when there is none


@dataclass(frozen=True, kw_only=True)
class BuildContext:
    """What a connector is built with."""

    reveal: Reveal
    clock: Now
    new_secrets: NewPasswords | None = None  # None: nobody is named who may open new passwords
