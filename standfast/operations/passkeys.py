"""Passkeys: a device that signs in its person's name, once their passphrase has vouched for it.

Rules
- The passphrase is asked for once, when a passkey is added: its key signs for the passkey.
- A passkey is one of the console's address; where that changes, the passphrase is still there.
- Taking one away takes no signature: it only makes fewer able to sign.
"""

from standfast.errors import ApprovalRefused, ConfigurationError
from standfast.ledger.passkeys import Passkey, words
from standfast.operations.decisions import signing_key
from standfast.operations.place import Place
from standfast.webauthn import origin_of, read_new


def console_origin(place: Place) -> str:
    """Give the origin of this place's console, for which its passkeys sign."""
    if place.config.serve.console is None:
        raise ConfigurationError("passkeys sign on the console; set serve.console to its address")
    return origin_of(place.config.serve.console)


def add_passkey(place: Place, name: str, passphrase: str, said: str, challenge: bytes) -> Passkey:
    """Keep a passkey that a device has made for `challenge`.

    ApprovalRefused when the passphrase is not theirs or the device's answer does not count,
    UsageError when they have too many.
    """
    origin, now = console_origin(place), place.clock()
    new = read_new(said, challenge=challenge, origin=origin)
    key = signing_key(place, name, passphrase)
    signature = key.sign(words(name, new, origin, now)).hex()
    return place.ledger.passkeys.add(name, new, origin=origin, signature=signature, now=now)


def known_by_passkey(place: Place, said: str, challenge: bytes) -> str:
    """Sign in whoever's passkey signed `challenge`; give the name. ApprovalRefused otherwise."""
    name = place.ledger.passkeys.signer(said, challenge)
    if why := place.ledger.people.objection(name, (), place.clock()):
        raise ApprovalRefused(why)
    return name


def remove_passkey(place: Place, name: str, id_: str) -> Passkey:
    """Take a passkey's right to sign away; `id_` may be how its id begins.

    UsageError when nobody of that name is enrolled, or has such a passkey.
    """
    place.ledger.people.get(name)
    return place.ledger.passkeys.remove(name, id_, place.actor, place.clock())
