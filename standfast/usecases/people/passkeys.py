"""Passkeys: a device that signs in its person's name, once their passphrase has vouched for it.

Rules
- The passphrase is asked for once, when a passkey is added: its key signs for the passkey.
- A passkey is one of the console's address; where that changes, the passphrase is still there.
- Its person is told by mail: if it was not they who added it, somebody knows their passphrase.
- Taking one away takes a sign-in: what it signed for a step under way counts no more.
"""

from dataclasses import dataclass

from standfast.errors import ApprovalRefused, ConfigurationError
from standfast.ledger.approvals.passkeys import Passkey, words
from standfast.local_time import minute
from standfast.records import EffectState, Json
from standfast.usecases.approvals.step_decisions import signing_key
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import recorded
from standfast.usecases.core.staff_messages import notify_each
from standfast.webauthn import origin_of, origin_of_signing, read_registration

_TEMPLATE = "passkey-added"


@dataclass(frozen=True, kw_only=True)
class Added:
    """A new passkey, and what kept its person from being told of it, if anything did."""

    passkey: Passkey
    untold: str


def console_origin(installation: Installation) -> str:
    """Give the origin of this place's console, for which its passkeys sign."""
    if installation.config.serve.console is None:
        raise ConfigurationError("passkeys sign on the console; set serve.console to its address")
    return origin_of(installation.config.serve.console)


def refuse_other_console(installation: Installation, said: str) -> None:
    """ApprovalRefused for what a passkey signed elsewhere, such as where the console was before."""
    here = console_origin(installation)
    if origin_of_signing(said) != here:
        raise ApprovalRefused(
            f"the passkey was asked by another site than {here}; one of an earlier address of the "
            "console signs no more: add one here"
        )


def add_passkey(
    installation: Installation, name: str, passphrase: str, said: str, challenge: bytes
) -> Added:
    """Keep a passkey that a device has made for `challenge`, and tell its person.

    ApprovalRefused when the passphrase is not theirs or the device's answer does not count,
    UsageError when they have too many.
    """
    origin, now = console_origin(installation), installation.clock()
    new = read_registration(said, challenge=challenge, origin=origin)
    key = signing_key(installation, name, passphrase)
    signature = key.sign(words(name, new, origin, now)).hex()
    added = installation.ledger.passkeys.add(name, new, origin=origin, signature=signature, now=now)
    return Added(passkey=added, untold=_tell(installation, added))


def _tell(installation: Installation, added: Passkey) -> str:
    """Tell its person of a new passkey; give what kept that from them."""
    short = added.id[:8]
    values: dict[str, Json] = {
        "passkey": short,
        "added_at": minute(added.added_at, installation.config.organisation.time_zone),
        "command": f"standfast people remove-passkey {added.person} {short} --as {added.person}",
    }
    people = [installation.ledger.people.get(added.person)]
    with recorded(installation, "page", f"passkey.{short}", "direct") as run:
        counts, problem = notify_each(installation, _TEMPLATE, values, people, run.token)
        is_told = counts[EffectState.DONE] > 0
        run.ends("raised" if is_told else "failed", {"problem": problem} if problem else {})
    return "" if is_told else problem or "the mail server did not take it"


def known_by_passkey(installation: Installation, said: str, challenge: bytes) -> Passkey:
    """Sign in whoever's passkey signed `challenge`; give it. ApprovalRefused otherwise."""
    refuse_other_console(installation, said)
    found = installation.ledger.passkeys.signer(said, challenge)
    if why := installation.ledger.people.objection(found.person, (), installation.clock()):
        raise ApprovalRefused(why)
    return found


def remove_passkey(installation: Installation, name: str, id_: str) -> Passkey:
    """Take a passkey's right to sign away; `id_` may be how its id begins.

    UsageError when nobody of that name is enrolled, or has such a passkey.
    """
    installation.ledger.people.get(name)
    return installation.ledger.passkeys.remove(name, id_, installation.actor, installation.clock())
