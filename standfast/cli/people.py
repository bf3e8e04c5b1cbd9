"""`standfast people`: who may approve."""

import sys
from pathlib import Path
from typing import Annotated

from standfast.cli import staff
from standfast.cli.asking import ask
from standfast.cli.call import Call
from standfast.cli.declared import Argument, Group, Option, command, group
from standfast.cli.output import Table
from standfast.cli.passphrase import PassphraseFile, passphrase
from standfast.counted import counted
from standfast.errors import ExitStatus, UsageError
from standfast.local_time import minute
from standfast.records import Json, timestamp


def add_to(app: Group) -> None:
    """Add the group."""
    people = group(app, "people", "Who may approve, who works here, and who has left.")
    command(
        people,
        "add",
        exits={
            ExitStatus.DONE: "the person is enrolled",
            ExitStatus.USAGE: "the name was used before, or nothing here asks for the role",
            ExitStatus.REFUSED: "the passphrase is not that of the person named by --as",
        },
        example="standfast people add dana --full-name 'Dana Ray' --mail dana@example.com "
        "--role duty-manager",
    )(add)
    command(
        people,
        "list",
        exits={
            ExitStatus.DONE: "the people are listed; there may be none",
            ExitStatus.USAGE: "there is no ledger where the configuration says",
        },
        example="standfast people list",
    )(list_people)
    command(
        people,
        "remove",
        exits={
            ExitStatus.DONE: "the person can no longer approve",
            ExitStatus.USAGE: "nobody of that name is enrolled",
        },
        example="standfast people remove dana",
    )(remove)
    command(
        people,
        "remove-passkey",
        exits={
            ExitStatus.DONE: "the passkey signs nothing any more",
            ExitStatus.USAGE: "nobody of that name is enrolled, or has such a passkey",
        },
        example="standfast people remove-passkey dana 3f9a1c20",
    )(remove_passkey)
    staff.add_to(people)


def add(
    call: Call,
    name: Annotated[str, Argument(help="The sign-in name.")],
    full_name: Annotated[
        str | None, Option(help="As others know them; a terminal asks for it.")
    ] = None,
    mail: Annotated[
        str | None,
        Option(help="Where they are reached when an approval is needed; likewise."),
    ] = None,
    role: Annotated[
        list[str] | None, Option(help="What they may decide; may be given again.")
    ] = None,
    account: Annotated[
        list[str] | None,
        Option(
            metavar="DIR:NAME",
            help="Their own account: nobody approves what touches themselves.",
        ),
    ] = None,
    as_person: Annotated[
        str | None,
        Option("--as", metavar="PERSON", help="Who enrols them."),
    ] = None,
    as_passphrase_file: Annotated[
        Path | None,
        Option(metavar="FILE", help="The passphrase of PERSON."),
    ] = None,
    passphrase_file: PassphraseFile = None,
) -> ExitStatus:
    """Enrol a person.

    On the first day of a place, before its first live incident, they may approve at once. Later
    after a day, and whoever enrols them signs in (--as).
    """
    from standfast.operations.decisions import known_person
    from standfast.operations.enrolment import enrol_person, refuse_unfit, refuse_unsigned

    full_name, mail = _contact(call, full_name, mail)
    with call.place() as place:
        refuse_unfit(
            place,
            name=name,
            full_name=full_name,
            mail=mail,
            roles=role or (),
            accounts=account or (),
        )
        enrolled_by = None
        if as_person is None:
            refuse_unsigned(place)
        else:
            known = passphrase(call, as_passphrase_file, as_person)
            enrolled_by = known_person(place, as_person, known)
        person = enrol_person(
            place,
            name=name,
            full_name=full_name,
            mail=mail,
            roles=role or (),
            accounts=account or (),
            passphrase=passphrase(call, passphrase_file, name, is_new=True),
            enrolled_by=enrolled_by,
        )
    when = "at once" if person.is_founding else "after a day"
    call.say(
        {
            "person": person.name,
            "roles": list(person.roles),
            "enrolled_by": person.enrolled_by,
            "may_approve_at_once": person.is_founding,
        },
        [
            f"{person.name} is enrolled by {person.enrolled_by} and may approve {when}.",
            "Next: `standfast check` says whether there are enough people for each role.",
        ],
    )
    return ExitStatus.DONE


def _contact(call: Call, full_name: str | None, mail: str | None) -> tuple[str, str]:
    """Give both as they are; what was left out is asked for, where somebody can answer."""
    given = {"--full-name": full_name, "--mail": mail}
    missing = [option for option, value in given.items() if value is None]
    if missing and (call.as_json or not sys.stdin.isatty()):
        raise UsageError(f"give {' and '.join(missing)}, or run this on a terminal, which asks")
    return (
        ask("Full name") if full_name is None else full_name,
        ask("Mail address") if mail is None else mail,
    )


def list_people(
    call: Call,
    contacts: Annotated[
        bool, Option("--contacts", help="Show names and addresses; the look is noted.")
    ] = False,
) -> ExitStatus:
    """List who may approve, by sign-in name and role."""
    from standfast.operations.looks import FRESH, people

    with call.place() as place:
        now, zone = place.clock(), place.config.organisation.time_zone
        there = people(place, with_contacts=contacts)
        passkeys = {one.name: place.ledger.passkeys.of(one.name) for one in there}
    document: list[Json] = []
    rows: list[list[str]] = []
    for one in there:
        entry: dict[str, Json] = {
            "person": one.name,
            "roles": list(one.roles),
            "enrolled_at": timestamp(one.enrolled_at),
            "enrolled_by": one.enrolled_by,
            "passkeys": [
                {"id": key.id, "added_at": timestamp(key.added_at)} for key in passkeys[one.name]
            ],
        }
        row = [one.name, ", ".join(one.roles) or "no role", f"since {one.enrolled_at:%Y-%m-%d}"]
        if not one.is_founding and now < one.enrolled_at + FRESH:
            row[-1] = f"may approve from {minute(one.enrolled_at + FRESH, zone)}"
        ids = [key.id[:8] for key in passkeys[one.name]]
        row.append(f"{counted(len(ids), 'passkey')}: {', '.join(ids)}" if ids else "no passkey")
        if contacts:
            entry |= {"full_name": one.full_name, "mail": one.mail}
            row += [one.full_name, one.mail]
        document.append(entry)
        rows.append(row)
    call.say(
        {"people": document},
        [Table(rows=rows)] if rows else ["Nobody is enrolled: `standfast people add NAME`."],
    )
    return ExitStatus.DONE


def remove(call: Call, name: Annotated[str, Argument(help="The sign-in name.")]) -> ExitStatus:
    """Take a person's right to approve away.

    For good; what they approved stays readable.
    """
    from standfast.operations.enrolment import remove_person

    with call.place() as place:
        remove_person(place, name)
    call.say({"person": name, "is_removed": True}, [f"{name} can no longer approve anything."])
    return ExitStatus.DONE


def remove_passkey(
    call: Call,
    name: Annotated[str, Argument(help="The sign-in name.")],
    passkey: Annotated[str, Argument(help="Its id, or how that begins; `people list` has it.")],
) -> ExitStatus:
    """Take the right to sign from a passkey, such as that of a lost phone.

    What it signed for a step that is not done yet counts no more, and is asked again.
    """
    from standfast.operations import passkeys

    with call.place() as place:
        removed = passkeys.remove_passkey(place, name, passkey)
    call.say(
        {"person": name, "passkey": removed.id, "is_removed": True},
        [f"Passkey {removed.id[:8]} of {name} signs nothing any more."],
    )
    return ExitStatus.DONE
