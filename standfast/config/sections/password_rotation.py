"""Settings of password rotation (`[rotation]`).

The settings name the people that can decrypt the new passwords, which the action `accounts.rotate`
sets. The behaviour is in `standfast/adapters/accounts/base/new_passwords.py`.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from standfast.config.base_section import Section
from standfast.config.value_types import Items, Place, PublicKey


class RotationConfig(Section):
    """Destination of new passwords, which the action `accounts.rotate` needs."""

    recipients: Annotated[Items[PublicKey], Field(min_length=1)] = Field(
        description="The public keys of the people that may open the passwords; each person can "
        "open them alone. This host must not have any of the private keys.",
        examples=[["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]],
    )
    folder: Place = Field(
        default=Path("state/new-passwords"),
        description="The folder of the encrypted passwords. Each password is in a file of its "
        "own, which `age -d` decrypts. All hosts that respond to incidents must share this "
        "folder.",
        examples=["/var/lib/standfast/new-passwords"],
    )
