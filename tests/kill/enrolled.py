"""The people of the small call centre. Their keys are derived once, with a salt that is known."""

from standfast.people import passphrase_keys
from standfast.people.passphrase_keys import Credential
from standfast.usecases.core.installation import Installation

PASSPHRASES = {"dana": "the rain in the north", "lee": "a quiet row of lamps"}
ROLES = {"dana": ["operator"], "lee": ["duty-manager"]}
SALT = "5a" * 16


def enrol_everybody(installation: Installation) -> None:
    """Enrol them while the place is being set up, so that they may approve at once."""
    for name, passphrase in PASSPHRASES.items():
        credential = Credential(
            public_key=passphrase_keys._public(passphrase_keys._derive(passphrase, SALT)), salt=SALT
        )
        installation.ledger.people.enrol(
            name=name,
            full_name=name.title(),
            mail=f"{name}@example.com",
            accounts=[f"agents:{name}"],
            roles=ROLES[name],
            public_key=credential.public_key,
            salt=credential.salt,
            enrolled_by="os:test",
            now=installation.clock(),
        )
