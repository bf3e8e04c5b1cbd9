"""Enrolling the people who may approve, and taking that right away.

Rules
- The passphrase becomes a key pair here and goes no further; the ledger keeps the public half.
- Once a place is set up, somebody who is enrolled signs for whoever comes: what a person enrolled
  without saying who they are could approve what they ask for.
- Names, roles and accounts are checked at the door, since approvals compare them to the letter:
  accounts in the spelling that their directory calls canonical.
"""

import re
from collections.abc import Sequence
from contextlib import closing

from standfast.config import Config
from standfast.errors import ConfigurationError, Refused, StandfastError, UsageError
from standfast.ledger.people import Person
from standfast.notices.addresses import parse_address
from standfast.operations import playbooks
from standfast.operations.looks import FRESH
from standfast.operations.place import Place
from standfast.people.sign_in import enrol
from standfast.playbook.fields import close_to

_NAME = re.compile(r"[a-z][a-z0-9._-]{0,63}")
_ROLE = re.compile(r"[a-z][a-z0-9-]{0,39}")
_LONGEST_FULL_NAME = 200


def enrol_person(
    place: Place,
    *,
    name: str,
    full_name: str,
    mail: str,
    roles: Sequence[str],
    accounts: Sequence[str],
    passphrase: str,
    enrolled_by: str | None = None,
) -> Person:
    """Enrol somebody; `enrolled_by` is a person who signed in, else who runs this is noted.

    Raises UsageError for a name that was used before and for whatever does not fit, and Refused
    where somebody must sign for it and nobody did.
    """
    if enrolled_by is None:
        refuse_unsigned(place)
    refuse_unfit(place, name=name, full_name=full_name, mail=mail, roles=roles, accounts=accounts)
    credential = enrol(passphrase)
    return place.ledger.people.enrol(
        name=name,
        full_name=full_name.strip(),
        mail=mail.strip(),
        accounts=_canonical(place, accounts),
        roles=sorted(set(roles)),
        public_key=credential.public_key,
        salt=credential.salt,
        enrolled_by=enrolled_by or place.actor,
        now=place.clock(),
    )


def refuse_unsigned(place: Place) -> None:
    """Raise Refused where there is somebody who can sign for a new person, and so has to."""
    now = place.clock()
    able = any(
        one.is_founding or now - one.enrolled_at >= FRESH for one in place.ledger.people.all()
    )
    if able and not place.ledger.people.is_setting_up(now):
        raise Refused(
            "nobody was enrolled: once a place is set up, one of its people signs for whoever "
            "comes; add --as PERSON. Whom a person enrolled approves nothing that they open"
        )


def known_roles(config: Config) -> frozenset[str]:
    """Give every role that something here asks for: playbooks, alarms, ladders, triggers."""
    found = {*config.backup.alarm_roles, *config.approvals.ladder}
    for trigger in config.triggers.values():
        found.update(trigger.page_roles)
    for path in playbooks.files(config).values():
        try:
            playbook = playbooks.read(path)
        except StandfastError:
            continue  # `standfast check` says so; it keeps nobody from being enrolled
        found.update(playbook.roles)
        for step in playbook.steps:
            found.update(step.roles, step.approval.roles if step.approval else ())
    return frozenset(role for role in found if _ROLE.fullmatch(role))


def remove_person(place: Place, name: str) -> None:
    """Take somebody's right to approve away; what they approved stays readable."""
    place.ledger.people.remove(name, place.actor, place.clock())


def _canonical(place: Place, accounts: Sequence[str]) -> list[str]:
    """Spell accounts as incidents do: who is `agents:LEE` there must not approve as `agents:lee`.

    Of a directory that cannot be set up yet, both spellings that it may have are kept.
    """
    found: list[str] = []
    with closing(place.reader()) as reader:
        for account in accounts:
            directory, _, name = account.partition(":")
            try:
                found.append(f"{directory}:{reader.connector(directory).canonical(name)}")
            except ConfigurationError:
                found += [account, f"{directory}:{name.casefold()}"]
    return list(dict.fromkeys(found))


def _is_used(place: Place, name: str) -> bool:
    try:
        place.ledger.people.get(name)
    except UsageError:
        return False
    return True


def refuse_unfit(
    place: Place,
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
    if _is_used(place, name):
        raise UsageError(f"a person {name!r} was enrolled before; choose another name")
    if not full_name.strip() or len(full_name) > _LONGEST_FULL_NAME or not full_name.isprintable():
        raise UsageError("--full-name takes one line of at most 200 characters")
    try:
        parse_address(mail.strip())
    except ValueError as error:
        raise UsageError(f"--mail takes a mail address: {error}") from None
    for role in roles:
        if not _ROLE.fullmatch(role):
            raise UsageError(f"{role!r} is no role; write one like duty-manager")
    asked_for = known_roles(place.config) if roles else frozenset()
    if unknown := sorted(set(roles) - asked_for):
        raise UsageError(
            f"nothing here asks for the role {unknown[0]}; {close_to(unknown[0], asked_for)}"
        )
    for account in accounts:
        directory, colon, inner = account.partition(":")
        if not colon or not inner or directory not in place.config.accounts:
            there = ", ".join(place.config.accounts) or "none"
            raise UsageError(
                f"--account takes DIRECTORY:ACCOUNT; the directories here are: {there}"
            )
