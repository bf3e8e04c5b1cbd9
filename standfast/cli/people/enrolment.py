"""`standfast people`: enrolled people, their roles and passkeys.

An enrolled person can approve steps of incidents, with a passphrase or a passkey. A role states
which steps.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from standfast.cli.parsing.commands import Group, command
from standfast.cli.parsing.parameters import (
    FilePath,
    passphrase_file_option,
    sign_in_options,
    stored_option,
)
from standfast.cli.people.staff import import_staff, list_factors, list_leavers
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Table
from standfast.cli.terminal.passphrase import read_passphrase, signed_in
from standfast.cli.terminal.prompts import ask
from standfast.errors import ExitStatus, UsageError
from standfast.local_time import minute
from standfast.plurals import counted
from standfast.records import Json, timestamp

if TYPE_CHECKING:
    from standfast.ledger.people.people_changes import Signer
    from standfast.usecases.core.installation import Installation

_UNSIGNED = (
    "the passphrase is wrong, the signer lacks the role or did not sign, or this is the last "
    "approver"
)
person_option = stored_option(
    "--as", "as_person", metavar="PERSON", help="Sign as this enrolled person."
)
owner_key_option = click.option(
    "--owner-key",
    type=FilePath(),
    metavar="FILE",
    help="Sign with the owner's key instead: owner.json of `standfast init`.",
)


@command(
    "add",
    exits={
        ExitStatus.DONE: "the person is enrolled",
        ExitStatus.USAGE: "the name was used before, another person has the full name, mail "
        "address or passphrase, or no step or setting uses the role",
        ExitStatus.REFUSED: _UNSIGNED,
    },
    example="standfast people add dana --full-name 'Dana Ray' --mail dana@example.com "
    "--role duty-manager",
)
@click.argument("name", help="The sign-in name.")
@click.option("--full-name", help="The full name; a terminal asks for it.")
@click.option("--mail", help="The mail address for approval requests; a terminal asks for it.")
@click.option("--role", multiple=True, help="A role that the person gets; repeatable.")
@click.option(
    "--account",
    multiple=True,
    metavar="DIR:NAME",
    help="The person's own account, for which this person cannot approve a step; repeatable.",
)
@person_option
@owner_key_option
@click.option(
    "--as-passphrase-file",
    type=FilePath(),
    metavar="FILE",
    help="The file with the passphrase of the signer.",
)
@passphrase_file_option
@click.pass_obj
def add(
    call: Call,
    name: str,
    full_name: str | None,
    mail: str | None,
    role: tuple[str, ...],
    account: tuple[str, ...],
    owner_key: Path | None,
    as_passphrase_file: Path | None,
) -> ExitStatus:
    """Enrol a person that may approve.

    On the first day of an installation, before its first live incident, the person may approve
    immediately. Later, an enrolled person or the owner must sign. If a person signs, the new person
    may approve after one day, and can get only roles that the signer has. These two people count as
    one approver. If the owner signs, the new person may approve immediately and counts separately.
    """
    from standfast.usecases.people.enrolment import enrol_person, refuse_unfit, refuse_unsigned

    full_name, mail = _contact(call, full_name, mail)
    with call.installation() as installation:
        person_data: dict[str, Any] = {
            "name": name,
            "full_name": full_name,
            "mail": mail,
            "roles": role,
            "accounts": account,
        }
        refuse_unfit(installation, **person_data)
        signer = None
        if call.as_person is None and owner_key is None:
            refuse_unsigned(installation)
        else:
            of_signer = replace(call, passphrase_file=as_passphrase_file)
            signer = _signer(of_signer, installation, owner_key)
        now = installation.clock()
        installation.ledger.people.refuse_enrolment(full_name, mail, role, signer, now)
        secret = read_passphrase(call, name, is_new=True)
        enrolled = enrol_person(installation, **person_data, passphrase=secret, signer=signer)
    person = enrolled.person
    when = "immediately" if person.is_founding else "after one day"
    return call.print_result(
        {
            "person": person.name,
            "roles": list(person.roles),
            "enrolled_by": person.enrolled_by,
            "may_approve_at_once": person.is_founding,
            "mail_problem": enrolled.mail_problem,
        },
        [
            f"{person.name} is enrolled by {person.enrolled_by} and can approve {when}.",
            *_without_role(person.name, person.roles),
            *_mail_problem_lines(enrolled.mail_problem),
            "Next: `standfast check` shows whether each role has enough people.",
        ],
    )


def _contact(call: Call, full_name: str | None, mail: str | None) -> tuple[str, str]:
    """Return full name and mail address; ask for missing ones on a terminal."""
    given = {"--full-name": full_name, "--mail": mail}
    missing = [option for option, value in given.items() if value is None]
    if missing and (call.as_json or not sys.stdin.isatty()):
        raise UsageError(
            f"{' and '.join(missing)}: not given. Add the option, or run the command on a terminal"
        )
    return (
        ask("Full name") if full_name is None else full_name,
        ask("Mail address") if mail is None else mail,
    )


@command(
    "list",
    exits={ExitStatus.DONE: "the people are listed; there may be none"},
    example="standfast people list",
)
@click.option("--contacts", is_flag=True, help="Show names and addresses; the view is recorded.")
@click.pass_obj
def list_people(call: Call, contacts: bool) -> ExitStatus:
    """List the people that may approve, with their roles."""
    from standfast.ledger.approvals.objections import MINIMUM_ENROLMENT_AGE
    from standfast.usecases.people import enrolment

    with call.installation() as installation:
        now, zone = installation.clock(), installation.config.organisation.time_zone
        members = enrolment.list_people(installation, with_contacts=contacts)
        passkeys = {
            member.name: installation.ledger.passkeys.of_person(member.name) for member in members
        }
    document: list[Json] = []
    rows: list[list[str]] = []
    for member in members:
        entry: dict[str, Json] = {
            "person": member.name,
            "roles": list(member.roles),
            "enrolled_at": timestamp(member.enrolled_at),
            "enrolled_by": member.enrolled_by,
            "passkeys": [
                {"id": key.id, "added_at": timestamp(key.added_at)} for key in passkeys[member.name]
            ],
        }
        row = [
            member.name,
            ", ".join(member.roles) or "no role",
            f"since {member.enrolled_at:%Y-%m-%d}",
        ]
        if not member.is_founding and now < member.enrolled_at + MINIMUM_ENROLMENT_AGE:
            row[-1] = f"can approve from {minute(member.enrolled_at + MINIMUM_ENROLMENT_AGE, zone)}"
        ids = [key.id[:8] for key in passkeys[member.name]]
        row.append(f"{counted(len(ids), 'passkey')}: {', '.join(ids)}" if ids else "no passkey")
        if contacts:
            entry |= {"full_name": member.full_name, "mail": member.mail}
            row += [member.full_name, member.mail]
        document.append(entry)
        rows.append(row)
    return call.print_result(
        {"people": document},
        [Table(rows=rows)] if rows else ["Nobody is enrolled. Enrol: `standfast people add NAME`."],
    )


@command(
    "remove",
    exits={
        ExitStatus.DONE: "the person can no longer approve",
        ExitStatus.USAGE: "nobody with that name is enrolled, or the signature is missing",
        ExitStatus.REFUSED: _UNSIGNED,
    },
    example="standfast people remove dana --as lee",
)
@click.argument("name", help="The sign-in name.")
@person_option
@click.option("--second", metavar="PERSON", help="A second approver, who signs as well.")
@click.option(
    "--second-passphrase-file",
    type=FilePath(),
    metavar="FILE",
    help="The file with the passphrase of the second approver.",
)
@owner_key_option
@passphrase_file_option
@click.pass_obj
def remove(
    call: Call,
    name: str,
    second: str | None,
    second_passphrase_file: Path | None,
    owner_key: Path | None,
) -> ExitStatus:
    """Remove a person's right to approve.

    The removal is permanent; earlier approvals stay readable. All enrolled people are notified. If
    fewer than two other approvers would remain, in total or with a role of the person, a second
    approver must sign. Only the owner's key can remove the last approver, or the last one of a
    role.
    """
    from standfast.usecases.people.enrolment import person_signer, remove_person

    with call.installation() as installation:
        installation.ledger.people.get(name)
        signer = _signer(call, installation, owner_key)
        second_signer = None
        if second is not None:
            of_second = replace(call, passphrase_file=second_passphrase_file)
            second_signer = person_signer(installation, second, read_passphrase(of_second, second))
        removed = remove_person(installation, name, signer, second_signer)
    return call.print_result(
        {
            "person": name,
            "is_removed": True,
            "removed_by": signer.name,
            "mail_problem": removed.mail_problem,
        },
        [f"{name} can no longer approve anything.", *_mail_problem_lines(removed.mail_problem)],
    )


@command(
    "grant",
    exits={
        ExitStatus.DONE: "the person has the roles",
        ExitStatus.USAGE: "nobody with that name is enrolled, no step or setting uses the role, "
        "or the signature is missing",
        ExitStatus.REFUSED: _UNSIGNED,
    },
    example="standfast people grant dana --role duty-manager --as lee",
)
@click.argument("name", help="The sign-in name.")
@click.option("--role", multiple=True, help="A role that the person gets as well; repeatable.")
@person_option
@owner_key_option
@passphrase_file_option
@click.pass_obj
def grant(call: Call, name: str, role: tuple[str, ...], owner_key: Path | None) -> ExitStatus:
    """Give a person more roles.

    All enrolled people are notified. After the first day of an installation, a signer can grant
    only roles that the signer has.
    """
    from standfast.usecases.people.enrolment import grant_roles

    with call.installation() as installation:
        installation.ledger.people.get(name)
        signer = _signer(call, installation, owner_key)
        granted = grant_roles(installation, name, role, signer)
    roles = granted.person.roles
    return call.print_result(
        {
            "person": name,
            "roles": list(roles),
            "granted_by": signer.name,
            "mail_problem": granted.mail_problem,
        },
        [f"{name} has the roles {', '.join(roles)}.", *_mail_problem_lines(granted.mail_problem)],
    )


def _signer(call: Call, installation: "Installation", owner_key: Path | None) -> "Signer":
    """Sign in a person or open the owner's key; UsageError for both or none."""
    from standfast.usecases.people.enrolment import owner_signer, person_signer

    if owner_key is not None and call.as_person is None:
        return owner_signer(installation, owner_key, lambda who: read_passphrase(call, who))
    if call.as_person is None or owner_key is not None:
        raise UsageError("signature: exactly one is needed. Give --as PERSON or --owner-key FILE")
    return person_signer(installation, call.as_person, read_passphrase(call, call.as_person))


def _without_role(name: str, roles: "tuple[str, ...]") -> list[str]:
    if roles:
        return []
    grant_it = f"standfast people grant {name} --role ROLE --as PERSON"
    return [f"{name} has no role yet. Add one: `{grant_it}`."]


def _mail_problem_lines(why: str) -> list[str]:
    if not why:
        return []
    return [f"Enrolled people were not notified: {why.rstrip('.')}. Notify them yourself."]


@command(
    "remove-passkey",
    exits={
        ExitStatus.DONE: "the passkey can no longer sign",
        ExitStatus.USAGE: "nobody with that name has such a passkey, or the sign-in is missing",
        ExitStatus.REFUSED: "the passphrase is wrong",
    },
    example="standfast people remove-passkey dana 3f9a1c20 --as dana",
)
@click.argument("name", help="The sign-in name.")
@click.argument("passkey", help="The passkey's id from `people list`, or its first characters.")
@sign_in_options("Sign in as this person; required.")
@click.pass_obj
def remove_passkey(call: Call, name: str, passkey: str) -> ExitStatus:
    """Remove a passkey, such as that of a lost phone.

    Approvals that the passkey signed no longer count for steps that are not done yet; these steps
    ask for approval again.
    """
    from standfast.usecases.people import passkeys

    if call.as_person is None:
        raise UsageError("sign-in: it is missing. Add --as PERSON")
    with call.installation() as installation:
        by = signed_in(call, installation)
        removed = passkeys.remove_passkey(
            replace(installation, actor=by or installation.actor), name, passkey
        )
    return call.print_result(
        {"person": name, "passkey": removed.id, "is_removed": True},
        [f"Passkey {removed.id[:8]} of {name} is removed and can no longer sign."],
    )


people = Group(
    "people",
    help="Manage approvers; check the list of staff, leavers and second factors.",
    commands=[
        add,
        list_people,
        remove,
        grant,
        remove_passkey,
        import_staff,
        list_leavers,
        list_factors,
    ],
)
