"""`standfast backup custodian`: challenges and attestations of custodians.

The commands of a custodian (`challenge answer`, `attest`) need no configuration. They run on the
machine with the recovery identity, which may be offline.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from standfast.cli.key_ceremonies.ceremony import attended, print_ceremony_result
from standfast.cli.parsing.commands import Group, command
from standfast.cli.parsing.parameters import FilePath, passphrase_file_option
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.prompts import ask, tell
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import Json

mine_option = click.option(
    "--identity", type=FilePath(), required=True, metavar="FILE", help="Your recovery identity."
)


@command(
    "new",
    exits={
        ExitStatus.DONE: "the challenge is written; the same file goes to every custodian",
        ExitStatus.FAILED: "a store does not answer",
        ExitStatus.USAGE: "there is no repository, or a file of that name is there",
        ExitStatus.DAMAGED: "a record is not what the owner signed",
    },
    example="standfast backup custodian challenge new --to challenge.json",
)
@click.option("--to", type=FilePath(), required=True, metavar="FILE", help="A new file for it.")
@click.pass_obj
def new(call: Call, to: Path) -> ExitStatus:
    """Create a challenge that every custodian answers."""
    from standfast.usecases.key_ceremonies.custodian_requests import ask_custodians
    from standfast.usecases.key_ceremonies.owner_operations import open_stores

    asked = ask_custodians(open_stores(call.config_file, call.env), to)
    people: list[Json] = [person.text for person in asked.custodians]
    return print_ceremony_result(
        call,
        {"challenge": str(to), "sha256": asked.challenge, "custodians": people},
        [
            f"{to} is a challenge for {counted(len(people), 'custodian')}:",
            Table(
                rows=[
                    [person.name or "(no name)", person.fingerprint] for person in asked.custodians
                ],
                indent=2,
            ),
        ],
        [
            f"Send {to} to each of them; it holds no secret that anybody else could open.",
            (
                f"They run: standfast backup custodian challenge answer {to.name} --identity FILE "
                "--to answer.json"
            ),
            "With what comes back: `standfast backup custodian challenge accept answer.json`.",
        ],
    )


@command(
    "answer",
    exits={
        ExitStatus.DONE: "the answer is written; it holds no secret",
        ExitStatus.FAILED: "the disk is full",
        ExitStatus.USAGE: "nothing in the challenge is for this identity",
        ExitStatus.PARTIAL: "a domain's key does not open with this identity; it is named",
        ExitStatus.DAMAGED: "somebody put something else into the challenge",
    },
    example="standfast backup custodian challenge answer challenge.json "
    "--identity identity.txt --to answer.json",
)
@click.argument("challenge", type=FilePath(), metavar="FILE", help="The challenge.")
@mine_option
@click.option(
    "--to", type=FilePath(), required=True, metavar="FILE", help="A new file for the answer."
)
@passphrase_file_option
@click.pass_obj
def answer(
    call: Call, challenge: Path, identity: Path, to: Path, passphrase_file: Path | None
) -> ExitStatus:
    """Prove that you have your recovery identity; needs no network."""
    from standfast.usecases.key_ceremonies import custodian_requests

    opened = attended(call, identity, passphrase_file)
    answers = custodian_requests.answer(challenge, opened, to, datetime.now(UTC))
    opens = sorted({custodian_requests.key_text(key) for each in answers for key in each.opens})
    lacks = sorted({custodian_requests.key_text(key) for each in answers for key in each.lacks})
    status = ExitStatus.PARTIAL if lacks else ExitStatus.DONE
    lines: list[Line] = [f"You opened {', '.join(opens) or 'nothing'}; {to} says so."]
    lines += [f"The key of {key} does not open with this identity." for key in lacks]
    lines += ["", f"Next: send {to} back. It holds nothing that opens anything."]
    call.say(
        {
            "answer": str(to),
            "custodians": [response.custodian.text for response in answers],
            "opens": list(opens),
            "lacks": list(lacks),
            "exit_status": int(status),
        },
        lines,
    )
    return status


@command(
    "accept",
    exits={
        ExitStatus.DONE: "the answer is right and recorded",
        ExitStatus.FAILED: "the record cannot be written",
        ExitStatus.USAGE: "the answer fits no challenge that was made here",
        ExitStatus.PARTIAL: "it is right, and a domain's key does not open for them",
    },
    example="standfast backup custodian challenge accept answer.json",
)
@click.argument("file", type=FilePath(), metavar="ANSWER", help="What a custodian sent back.")
@click.pass_obj
def accept(call: Call, file: Path) -> ExitStatus:
    """Compare an answer with its challenge and record the result."""
    from standfast.usecases.key_ceremonies import custodian_requests
    from standfast.usecases.key_ceremonies.owner_operations import open_stores

    answers = custodian_requests.accept(open_stores(call.config_file, call.env), file)
    lacks = sorted({custodian_requests.key_text(key) for each in answers for key in each.lacks})
    status = ExitStatus.PARTIAL if lacks else ExitStatus.DONE
    lines: list[Line] = []
    for response in answers:
        opens = ", ".join(map(custodian_requests.key_text, response.opens))
        lines.append(f"{response.custodian.title} answered rightly and opens {opens or 'nothing'}.")
    lines += [
        f"The key of {key} does not open for them: `standfast backup owner add-custodian` wraps it."
        for key in lacks
    ]
    lines += ["", "Next: `standfast check` says whose sign is missing or over 100 days old."]
    call.say(
        {
            "custodians": [response.custodian.text for response in answers],
            "lacks": list(lacks),
            "exit_status": int(status),
        },
        lines,
    )
    return status


@command(
    "attest",
    exits={
        ExitStatus.DONE: "the attestation is written",
        ExitStatus.FAILED: "the disk is full",
        ExitStatus.USAGE: "the order is of another owner, or not for this identity",
        ExitStatus.REFUSED: "you did not agree; nothing was written",
        ExitStatus.DAMAGED: "the order was changed",
    },
    example="standfast backup custodian attest erasure.order --identity identity.txt "
    "--as 'Lee Moss' --to lee.attestation",
)
@click.argument("order", type=FilePath(), help="The owner's order.")
@mine_option
@click.option("--as", "name", required=True, metavar="NAME", help="You, for the certificate.")
@click.option("--to", type=FilePath(), required=True, metavar="FILE", help="A new file for it.")
@click.option("--yes", is_flag=True, help="You have read the order already.")
@passphrase_file_option
@click.pass_obj
def attest(
    call: Call,
    order: Path,
    identity: Path,
    name: str,
    to: Path,
    yes: bool,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Attest the order to erase a domain; needs no network."""
    from backup.ownership.recovery_card import group_digits
    from standfast.usecases.key_ceremonies import custodian_requests

    given = custodian_requests.order_in(order)
    opened = attended(call, identity, passphrase_file)
    shown = [
        "The order says:",
        f"  {given.text}",
        "It is signed by the owner with this key; compare it with the recovery card:",
        *(f"  {line}" for line in group_digits(given.owner)),
    ]
    if not yes:
        if call.as_json or not sys.stdin.isatty():
            raise UsageError("read the order on a terminal first, or say --yes when you have")
        for line in shown:
            tell(line)
        typed = ask(f"Type the domain's name ({given.domain}) to agree")
        if typed != given.domain:
            call.say(
                {"order": str(order), "agreed": False, "exit_status": int(ExitStatus.REFUSED)},
                ["You did not agree; nothing was written."],
            )
            return ExitStatus.REFUSED
    paths = custodian_requests.attested(order, opened, name=name, to=to, now=datetime.now(UTC))
    return print_ceremony_result(
        call,
        {
            "order": str(order),
            "domain": given.domain,
            "text": given.text,
            "owner": given.owner.hex(),
            "attestations": [str(path) for path in paths],
        },
        [
            *([*shown, ""] if yes else []),
            f"{', '.join(map(str, paths))} says that you agree.",
        ],
        [f"Give {to} to the owner."],
    )


challenge = Group(
    "challenge", help="Every quarter: does each key still open?", commands=[new, answer, accept]
)


custodian = Group(
    "custodian", help="What is asked of who can open the backups.", commands=[attest, challenge]
)
