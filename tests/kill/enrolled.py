"""The people of the small call centre. Their keys are derived once, with a salt that is known."""

from standfast.operations.place import Place
from standfast.people import sign_in
from standfast.people.sign_in import Credential

PASSPHRASES = {"dana": "the rain in the north", "lee": "a quiet row of lamps"}
ROLES = {"dana": ["operator"], "lee": ["duty-manager"]}
SALT = "5a" * 16


def enrol_everybody(place: Place) -> None:
    """Enrol them while the place is being set up, so that they may approve at once."""
    for name, passphrase in PASSPHRASES.items():
        credential = Credential(
            public_key=sign_in._public(sign_in._derive(passphrase, SALT)), salt=SALT
        )
        place.ledger.people.enrol(
            name=name,
            full_name=name.title(),
            mail=f"{name}@example.com",
            accounts=[f"agents:{name}"],
            roles=ROLES[name],
            public_key=credential.public_key,
            salt=credential.salt,
            enrolled_by="os:test",
            now=place.clock(),
        )
