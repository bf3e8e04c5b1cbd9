"""From `[rotation]` to where new passwords are sealed, and to whom."""

from collections.abc import Sequence

from standfast.adapters.accounts.base.new_passwords import NewPasswords
from standfast.config.sections.password_rotation import RotationConfig
from standfast.errors import ConfigurationError
from standfast.records import Now


def new_secrets(settings: RotationConfig | None, clock: Now) -> NewPasswords | None:
    """Say where they go; None where nobody is named.

    The keys are read when the first is sealed: one that is mistyped keeps nobody from locking.
    """
    if settings is None:
        return None

    def seal(plain: bytes) -> bytes:
        import pyrage

        return bytes(pyrage.encrypt(plain, read_recipients(settings.recipients)))

    return NewPasswords(settings.folder, seal, clock)


def read_recipients(keys: Sequence[str]) -> list[object]:
    """Read the public keys; ConfigurationError names one that is none."""
    import pyrage

    recipients: list[object] = []
    for key in keys:
        kind = pyrage.x25519 if key.startswith("age1") else pyrage.ssh
        try:
            recipients.append(kind.Recipient.from_str(key))
        except pyrage.RecipientError:
            raise ConfigurationError(
                f"rotation.recipients has a key that is none: {key[:20]}…; write the public key "
                "as age-keygen prints it, or an SSH key of the kind ed25519 or rsa"
            ) from None
    return recipients
