"""Destination and recipients of new passwords, built from `[rotation]`."""

from collections.abc import Sequence

import pyrage

from standfast.adapters.accounts.base.new_passwords import NewPasswords
from standfast.config.sections.password_rotation import RotationConfig
from standfast.errors import ConfigurationError
from standfast.records import Now


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
