"""People of the call centre, with credentials derived in advance."""

from standfast.people.passphrase_keys import Credential
from standfast.usecases.core.installation import Installation

PASSPHRASES = {"dana": "the rain in the north", "lee": "a quiet row of lamps"}
ROLES = {"dana": ["operator"], "lee": ["duty-manager"]}
_SALT = "5a" * 16
CREDENTIALS = {
    "dana": Credential(
        public_key="61670f770972fd9ad102a7625eee8ea1eb76607c26737a5c70394f3c67dadf53", salt=_SALT
    ),
    "lee": Credential(
        public_key="10c5fb25191210230eb739462aabb106ef191a04caca77b429e38e0b6e1131e2", salt=_SALT
    ),
}


def enrol_everybody(installation: Installation) -> None:
    """Enrol everybody during the set-up, so that they may approve at once."""
    for name, credential in CREDENTIALS.items():
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
