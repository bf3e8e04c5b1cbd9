"""Enrolling the people who may approve, granting roles, and taking that right away.

Rules
- The passphrase becomes a key pair here and goes no further; the ledger keeps the public half.
- Once a place is set up, somebody who is enrolled signs each change, or the owner of the backups:
  their key is the way out where nobody who is enrolled can sign, and no other is.
- Everybody is notified of each change, and the head of the audit chain is signed at once: who has
  one passphrase changes nothing in silence. That no mail leaves keeps nobody from it, and is said.
- Nobody enrols with a passphrase, mail address or full name that somebody who is enrolled has.
- Names, roles and accounts are checked at the door, since approvals compare them to the letter:
  accounts in the spelling that their directory calls canonical.
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
from standfast.ledger.people.enrolment import Person, Signer
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
class Changed:
    """A person as enrolled or changed, and why nobody was notified, if nobody was."""

    person: Person
    untold: str


def person_signer(installation: Installation, name: str, passphrase: str) -> Signer:
    """Sign a person in to change who may approve; ApprovalRefused for another's passphrase."""
    key = signing_key(installation, name, passphrase)
    if why := installation.ledger.people.objection(name, (), installation.clock()):
        raise ApprovalRefused(why)
    return Signer(name=name, key=key)


def owner_signer(installation: Installation, owner_key: Path, ask: Callable[[str], str]) -> Signer:
    """Open the owner's key; ApprovalRefused unless it is that of this place's backups."""
    stores = Stores(
        config=installation.config, resolver=installation.resolver, clock=installation.clock
    )
    with translated_errors("opening the owner's key"):
        passphrase = ask("the owner's key") if is_locked(owner_key) else None
        owner = open_owner(owner_key, passphrase)
        known = stores.known_owner
    if owner.public != (known or roster(stores).owner):
        raise ApprovalRefused(
            f"owner's key {owner_key}: it is that of another repository. Take the owner.json that "
            "`standfast init` made here"
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
) -> Changed:
    """Enrol somebody, and notify everybody; without a `signer`, who runs this is noted.

    Raises UsageError for a name that was used before and for whatever does not fit, and Refused
    where somebody must sign for it and nobody did.
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
    return Changed(person=person, untold=_notify(installation, person, person.enrolled_by))


def grant_roles(
    installation: Installation, name: str, roles: Sequence[str], signer: Signer
) -> Changed:
    """Add roles to those of a person, and notify everybody; ApprovalRefused for one not theirs."""
    if not roles:
        raise UsageError("no role is named. Give --role ROLE")
    _refuse_unknown_roles(installation, roles)
    person = installation.ledger.people.grant(name, roles, signer, installation.clock())
    return Changed(
        person=person, untold=_notify(installation, person, signer.name, is_granted=True)
    )


def remove_person(installation: Installation, name: str, signer: Signer) -> Changed:
    """Remove somebody's right to approve, and notify everybody and them.

    What they approved stays readable. ApprovalRefused for the last approver.
    """
    installation.ledger.people.remove(name, signer, installation.clock())
    person = installation.ledger.people.get(name)
    return Changed(person=person, untold=_notify(installation, person, signer.name))


def _notify(
    installation: Installation, changed: Person, by: str, *, is_granted: bool = False
) -> str:
    """Sign the chain's head, then notify everybody; return why nobody was, if nobody was."""
    now = installation.clock()
    installation.ledger.audit.sign_head(now)
    there = installation.ledger.people.all()
    people = [*there, *([changed] if changed.is_removed else [])]
    # Who signed a removal that nobody knows of is the one whose passphrase is in doubt.
    doubted = by if changed.is_removed else changed.name
    is_enrolled = any(one.name == doubted for one in there)
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
                "command": f"standfast people remove {doubted} --as NAME"
                if is_enrolled
                else "standfast people list",
            },
            people,
            run.token,
        )
        told = counts[EffectState.DONE]
        run.ends("raised" if told else "failed", {"people": len(people), "told": told})
    return "" if told else problem or "the mail server took no message"


def _refuse_known_passphrase(installation: Installation, passphrase: str) -> None:
    """Raise UsageError for a passphrase of somebody here; it does not say whose."""
    for one in installation.ledger.people.all():
        if is_passphrase_of(passphrase, Credential(public_key=one.public_key, salt=one.salt)):
            raise UsageError(
                "the new passphrase: somebody who is enrolled has it already, and one human counts "
                "once. Choose another"
            )


def refuse_unsigned(installation: Installation) -> None:
    """Raise Refused once a place is set up: then somebody signs for a new person."""
    if not installation.ledger.people.is_setting_up(installation.clock()):
        raise Refused(
            "nobody was enrolled: once a place is set up, one of its people signs for a new one; "
            "add --as PERSON. Where nobody can, the owner signs: --owner-key FILE"
        )


def known_roles(config: Config) -> frozenset[str]:
    """Give every role that something here asks for: playbooks, alarms, ladders, triggers."""
    found = {*config.backup.alarm_roles, *config.approvals.ladder}
    for trigger in config.triggers.values():
        found.update(trigger.page_roles)
    for path in library.files(config).values():
        try:
            playbook = library.read(path)
        except StandfastError:
            continue  # `standfast check` says so; it keeps nobody from being enrolled
        found.update(playbook.roles)
        for step in playbook.steps:
            found.update(step.roles, step.approval.roles if step.approval else ())
    return frozenset(role for role in found if _ROLE.fullmatch(role))


def _canonical(installation: Installation, accounts: Sequence[str]) -> list[str]:
    """Spell accounts as incidents do: who is `agents:LEE` there must not approve as `agents:lee`.

    Of a directory that cannot be set up yet, both spellings that it may have are kept.
    """
    found: list[str] = []
    with closing(installation.reader()) as reader:
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
    """Raise UsageError for what does not fit, before anybody is asked for a passphrase."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            "a sign-in name has small letters, digits, dots, - and _, begins with a letter and "
            "has at most 64 characters"
        )
    if _is_used(installation, name):
        raise UsageError(f"a person {name!r} was enrolled before; choose another name")
    if not full_name.strip() or len(full_name) > _LONGEST_FULL_NAME or not full_name.isprintable():
        raise UsageError("--full-name takes one line of at most 200 characters")
    try:
        parse_address(mail.strip())
    except ValueError as error:
        raise UsageError(f"--mail takes a mail address: {error}") from None
    _refuse_unknown_roles(installation, roles)
    for account in accounts:
        directory, colon, inner = account.partition(":")
        if not colon or not inner or directory not in installation.config.accounts:
            there = ", ".join(installation.config.accounts) or "none"
            raise UsageError(
                f"--account takes DIRECTORY:ACCOUNT; the directories here are: {there}"
            )


def _refuse_unknown_roles(installation: Installation, roles: Sequence[str]) -> None:
    for role in roles:
        if not _ROLE.fullmatch(role):
            raise UsageError(f"{role!r} is no role; write one like duty-manager")
    asked_for = known_roles(installation.config) if roles else frozenset()
    if unknown := sorted(set(roles) - asked_for):
        raise UsageError(
            f"nothing here asks for the role {unknown[0]}; {close_to(unknown[0], asked_for)}"
        )
