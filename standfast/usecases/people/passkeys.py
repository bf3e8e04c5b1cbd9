"""Registration and removal of a person's passkeys.

A person is here an enrolled person, who may approve steps of incidents. The person signs approvals
with a passphrase or with a passkey.

Rules
- The passphrase is needed once, when a passkey is added: the key derived from the passphrase signs
  the new passkey.
- A passkey belongs to the address of the console, Standfast's web interface. If the address
  changes, the passphrase still works.
- The person is notified by mail: an unexpected passkey shows that somebody knows the passphrase.
- Removal needs a sign-in. If a step still waits for approvals, those approvals that the removed
  passkey signed become invalid.
"""

from dataclasses import dataclass

from standfast.errors import ApprovalRefused, ConfigurationError
from standfast.ledger.approvals.passkeys import Passkey, signed_bytes
from standfast.local_time import minute
from standfast.records import EffectState, Json
from standfast.usecases.approvals.step_decisions import signing_key
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import recorded
from standfast.usecases.core.staff_messages import notify_each
from standfast.webauthn import origin_of, origin_of_signing, read_registration

_TEMPLATE = "passkey-added"


@dataclass(frozen=True, kw_only=True)
class AddedPasskey:
    """A new passkey, and the error if the person was not notified."""

    passkey: Passkey
    mail_problem: str  # "" if the person was notified


def console_origin(installation: Installation) -> str:
    """Return the web origin of the console; passkeys are valid for it only."""
    if installation.config.serve.console is None:
        raise ConfigurationError("serve.console: not set, but passkeys need it. Set the address.")
    return origin_of(installation.config.serve.console)


def refuse_other_console(installation: Installation, assertion: str) -> None:
    """Raise ApprovalRefused for a signature made for another site."""
    origin = console_origin(installation)
    if origin_of_signing(assertion) != origin:
        raise ApprovalRefused(
            f"passkey: it signed for another site than {origin}. A passkey of an earlier console "
            "address is not valid. Add a passkey at this address."
        )


def add_passkey(
    installation: Installation, name: str, passphrase: str, registration: str, challenge: bytes
) -> AddedPasskey:
    """Store a new passkey and notify its person.

    `challenge` is the value that the device had to sign. Raise ApprovalRefused for a wrong
    passphrase or an invalid registration, UsageError for too many passkeys.
    """
    origin, now = console_origin(installation), installation.clock()
    new = read_registration(registration, challenge=challenge, origin=origin)
    key = signing_key(installation, name, passphrase)
    signature = key.sign(signed_bytes(name, new, origin, now)).hex()
    added = installation.ledger.passkeys.add(name, new, origin=origin, signature=signature, now=now)
    return AddedPasskey(passkey=added, mail_problem=_notify_person(installation, added))


def _notify_person(installation: Installation, added: Passkey) -> str:
    """Notify the person of a new passkey; return the error, or ""."""
    short = added.id[:8]
    values: dict[str, Json] = {
        "passkey": short,
        "added_at": minute(added.added_at, installation.config.organisation.time_zone),
        "command": f"standfast people remove-passkey {added.person} {short} --as {added.person}",
    }
    people = [installation.ledger.people.get(added.person)]
    with recorded(installation, "page", f"passkey.{short}", "direct") as run:
        counts, problem = notify_each(installation, _TEMPLATE, values, people, run.token)
        is_notified = counts[EffectState.DONE] > 0
        run.ends("raised" if is_notified else "failed", {"problem": problem} if problem else {})
    return "" if is_notified else problem or "the mail server did not accept it"


def passkey_of_signer(installation: Installation, assertion: str, challenge: bytes) -> Passkey:
    """Return the passkey that signed `challenge`.

    Raise ApprovalRefused if no valid passkey signed it, or if its person may not decide.
    """
    refuse_other_console(installation, assertion)
    found = installation.ledger.passkeys.signer(assertion, challenge)
    if objection := installation.ledger.people.objection(found.person, (), installation.clock()):
        raise ApprovalRefused(objection)
    return found


def remove_passkey(installation: Installation, name: str, id_: str) -> Passkey:
    """Revoke a passkey; `id_` may be a prefix of its id.

    Raise UsageError for an unknown person or passkey.
    """
    installation.ledger.people.get(name)
    return installation.ledger.passkeys.remove(name, id_, installation.actor, installation.clock())
