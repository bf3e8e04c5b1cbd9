"""Enrolment of approvers: signers, passphrases, names, roles, mail to all.

An approver is an enrolled person, who may approve steps of incidents. The roles of a person decide
which steps.

Rules
- The key pair of a person is derived here from the passphrase, which is not stored. The ledger (the
  database of incidents) stores the public key.
- After the first day of an installation, an enrolled person signs each change. If no enrolled
  person can sign, the owner (the person with the offline signing key of the backups) signs it.
- All enrolled people are notified of each change, and the audit log is signed immediately.
  Therefore an intruder with one passphrase cannot change anything silently. If a mail fails, the
  change remains valid and the error is reported.
- A passphrase, mail address or full name of an enrolled person cannot be enrolled again.
- Names, roles and accounts are validated here, because approvals compare them exactly. An account
  is stored in the canonical spelling of its directory (the system that contains the account, such
  as OpenLDAP).
- Each access to the names and addresses of approvers is recorded in the audit log.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from backup.ownership.owner_session import is_locked, open_owner
from standfast.config import Config
from standfast.errors import (
    ApprovalRefused,
    ConfigurationError,
    Refused,
    StandfastError,
    UsageError,
)
from standfast.ledger.people.enrolment import Person
from standfast.ledger.people.people_changes import Signer
from standfast.local_time import minute
from standfast.notices.mail_addresses import parse_address
from standfast.people.passphrase_keys import Credential, enrol, is_passphrase_of
from standfast.playbook.parser.field_reader import close_to
from standfast.records import EffectState
from standfast.usecases.approvals.step_decisions import signing_key
from standfast.usecases.core.backup_repository import translated_errors
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import recorded
from standfast.usecases.core.staff_messages import notify_each
from standfast.usecases.key_ceremonies.owner_operations import Stores, roster
from standfast.usecases.playbooks import library

_NAME = re.compile(r"[a-z][a-z0-9._-]{0,63}")
_ROLE = re.compile(r"[a-z][a-z0-9-]{0,39}")
_LONGEST_FULL_NAME = 200


@dataclass(frozen=True, kw_only=True)
class ChangedPerson:
    """An enrolled or changed person, and the error if nobody was notified."""

    person: Person
    mail_problem: str  # "" if at least one mail was sent


def person_signer(installation: Installation, name: str, passphrase: str) -> Signer:
    """Sign a person in, and return this person as the signer of a change.

    Raise ApprovalRefused for a wrong passphrase, and for a person that may not sign.
    """
    key = signing_key(installation, name, passphrase)
    if objection := installation.ledger.people.objection(name, (), installation.clock()):
        raise ApprovalRefused(objection)
    return Signer(name=name, key=key)


def owner_signer(installation: Installation, owner_key: Path, ask: Callable[[str], str]) -> Signer:
    """Open the owner's key; return the owner as the signer of a change.

    Raise ApprovalRefused for the key of another repository.
    """
    stores = Stores(
        config=installation.config, resolver=installation.resolver, clock=installation.clock
    )
    with translated_errors("opening the owner's key"):
        passphrase = ask("the owner's key") if is_locked(owner_key) else None
        owner = open_owner(owner_key, passphrase)
        known = stores.known_owner
    if owner.public != (known or roster(stores).owner):
        raise ApprovalRefused(
            f"owner's key {owner_key}: it belongs to another repository. Use the owner.json that "
            "`standfast init` made here."
        )
    return Signer.owner(owner.key)


def enrol_person(
    installation: Installation,
    *,
    name: str,
    full_name: str,
    mail: str,
    roles: Sequence[str],
    accounts: Sequence[str],
    passphrase: str,
    signer: Signer | None = None,
) -> ChangedPerson:
    """Enrol a person; notify all enrolled people.

    Without `signer`, the ledger records the user of the command. Raise UsageError for a name that
    was used before and for invalid values. Raise Refused if the enrolment needs a signature and has
    none.
    """
    if signer is None:
        refuse_unsigned(installation)
    refuse_unfit(
        installation, name=name, full_name=full_name, mail=mail, roles=roles, accounts=accounts
    )
    installation.ledger.people.refuse_enrolment(
        full_name.strip(), mail.strip(), roles, signer, installation.clock()
    )
    _refuse_known_passphrase(installation, passphrase)
    credential = enrol(passphrase)
    person = installation.ledger.people.enrol(
        name=name,
        full_name=full_name.strip(),
        mail=mail.strip(),
        accounts=_canonical(installation, accounts),
        roles=sorted(set(roles)),
        public_key=credential.public_key,
        salt=credential.salt,
        enrolled_by=installation.actor,
        now=installation.clock(),
        signer=signer,
    )
    return ChangedPerson(
        person=person, mail_problem=_notify(installation, person, person.enrolled_by)
    )


def grant_roles(
    installation: Installation, name: str, roles: Sequence[str], signer: Signer
) -> ChangedPerson:
    """Add roles to a person; notify all enrolled people.

    Raise ApprovalRefused for a role that the signer may not grant.
    """
    if not roles:
        raise UsageError("role: missing. Add --role ROLE.")
    _refuse_unknown_roles(installation, roles)
    person = installation.ledger.people.grant(name, roles, signer, installation.clock())
    return ChangedPerson(
        person=person, mail_problem=_notify(installation, person, signer.name, is_granted=True)
    )


def remove_person(
    installation: Installation, name: str, signer: Signer, second: Signer | None = None
) -> ChangedPerson:
    """Remove a person's right to approve; notify everybody and that person.

    Earlier approvals stay readable. Raise ApprovalRefused for the last approver. Raise
    ApprovalRefused also if fewer than two approvers would remain and there is no `second` signer.
    """
    installation.ledger.people.remove(name, signer, installation.clock(), second=second)
    person = installation.ledger.people.get(name)
    return ChangedPerson(person=person, mail_problem=_notify(installation, person, signer.name))


def list_people(installation: Installation, *, with_contacts: bool) -> list[Person]:
    """Return the enrolled people; record an access to their addresses."""
    people = installation.ledger.people.all()
    if with_contacts:
        installation.record_event("people", "contacts.viewed", {"count": len(people)})
    return people


def _notify(
    installation: Installation, changed: Person, by: str, *, is_granted: bool = False
) -> str:
    """Sign the audit log and notify everybody; return the error, or ""."""
    now = installation.clock()
    installation.ledger.audit.sign_head(now)
    enrolled = installation.ledger.people.all()
    people = [*enrolled, *([changed] if changed.is_removed else [])]
    # If nobody expected the change, readers of the mail should revoke a person, with a command that
    # the mail names. After a removal, revoke the signer: an intruder may have the signer's
    # passphrase. Otherwise revoke the new or changed person.
    suspect = by if changed.is_removed else changed.name
    is_enrolled = any(person.name == suspect for person in enrolled)
    with recorded(installation, "page", f"people.{changed.name}", "direct") as run:
        counts, problem = notify_each(
            installation,
            "approvers-changed",
            {
                "person": changed.name,
                "changed_by": by,
                "changed_at": minute(now, installation.config.organisation.time_zone),
                "roles": ", ".join(changed.roles) or "-",
                "is_removed": changed.is_removed,
                "is_granted": is_granted,
                "command": f"standfast people remove {suspect} --as NAME"
                if is_enrolled
                else "standfast people list",
            },
            people,
            run.token,
        )
        reached = counts[EffectState.DONE]
        run.ends("raised" if reached else "failed", {"people": len(people), "notified": reached})
    return "" if reached else problem or "the mail server accepted no message"


def _refuse_known_passphrase(installation: Installation, passphrase: str) -> None:
    """Raise UsageError if an enrolled person has the same passphrase.

    The error does not name that person.
    """
    for person in installation.ledger.people.all():
        if is_passphrase_of(passphrase, Credential(public_key=person.public_key, salt=person.salt)):
            raise UsageError(
                "passphrase: an enrolled person has the same passphrase, and one human must not "
                "count twice. Choose another passphrase."
            )


def refuse_unsigned(installation: Installation) -> None:
    """Raise Refused if the enrolment of a new person needs a signature."""
    if not installation.ledger.people.is_setting_up(installation.clock()):
        raise Refused(
            "signature: missing; after the first day, an enrolled person must sign the "
            "enrolment of a new person. Add --as PERSON, or --owner-key FILE if nobody can sign."
        )


def known_roles(config: Config) -> frozenset[str]:
    """Return every role that the playbooks and the configuration name."""
    found = {*config.backup.alarm_roles, *config.approvals.ladder}
    for trigger in config.triggers.values():
        found.update(trigger.page_roles)
    for entry in config.continuity.calendar.values():
        found.update(filter(None, (entry.owner, entry.escalates_to)))
    for path in library.files(config).values():
        try:
            playbook = library.read(path)
        except StandfastError:
            continue  # `standfast check` reports the playbook; enrolment does not depend on it
        found.update(playbook.roles)
        for step in playbook.steps:
            found.update(step.roles, step.approval.roles if step.approval else ())
    return frozenset(role for role in found if _ROLE.fullmatch(role))


def _canonical(installation: Installation, accounts: Sequence[str]) -> list[str]:
    """Return the accounts in the spelling that incidents use.

    Otherwise a person enrolled with the account `agents:LEE` could approve a step that affects the
    same account as `agents:lee`. If a directory cannot be used yet, for example because its secret
    is missing, return the account both as given and in lower case.
    """
    found: list[str] = []
    with closing(installation.reading_adapters()) as reader:
        for account in accounts:
            directory, _, name = account.partition(":")
            try:
                found.append(f"{directory}:{reader.connector(directory).canonical(name)}")
            except ConfigurationError:
                found += [account, f"{directory}:{name.casefold()}"]
    return list(dict.fromkeys(found))


def _is_used(installation: Installation, name: str) -> bool:
    try:
        installation.ledger.people.get(name)
    except UsageError:
        return False
    return True


def refuse_unfit(
    installation: Installation,
    *,
    name: str,
    full_name: str,
    mail: str,
    roles: Sequence[str],
    accounts: Sequence[str],
) -> None:
    """Raise UsageError for invalid values.

    A command calls this before it asks for a passphrase.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"sign-in name {name!r}: not valid. Use lower-case letters, digits, dots, - and _, "
            "begin with a letter, and use at most 64 characters."
        )
    if _is_used(installation, name):
        raise UsageError(f"sign-in name {name!r}: used before. Choose another name.")
    if not full_name.strip() or len(full_name) > _LONGEST_FULL_NAME or not full_name.isprintable():
        raise UsageError("--full-name: not valid. Give one line of at most 200 characters.")
    try:
        parse_address(mail.strip())
    except ValueError as error:
        raise UsageError(f"--mail: not a valid mail address: {error}") from None
    _refuse_unknown_roles(installation, roles)
    for account in accounts:
        directory, colon, inner = account.partition(":")
        if not colon or not inner or directory not in installation.config.accounts:
            known = ", ".join(installation.config.accounts) or "none"
            raise UsageError(
                f"--account {account!r}: write DIRECTORY:ACCOUNT; the directories here are: {known}"
            )


def _refuse_unknown_roles(installation: Installation, roles: Sequence[str]) -> None:
    for role in roles:
        if not _ROLE.fullmatch(role):
            raise UsageError(f"role {role!r}: not valid. Write it like duty-manager.")
    asked_for = known_roles(installation.config) if roles else frozenset()
    if unknown := sorted(set(roles) - asked_for):
        raise UsageError(
            f"role {unknown[0]}: no step or setting uses it; {close_to(unknown[0], asked_for)}"
        )
