"""`standfast backup custodian`: challenges and attestations of custodians.

A custodian is a person that can decrypt backups, by a private key (the recovery identity). With the
answer to a challenge, a custodian proves that this key still exists. An attestation is a
custodian's signed consent to an erasure. The commands of a custodian (`challenge answer`, `attest`)
need no configuration. They run on the machine with the identity, which may be offline.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from standfast.cli.key_ceremonies.ceremony import open_identity, print_ceremony_result
from standfast.cli.parsing.commands import Group, command
from standfast.cli.parsing.parameters import FilePath, passphrase_file_option
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.cli.terminal.prompts import ask, print_note
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted
from standfast.records import Json

mine_option = click.option(
    "--identity", type=FilePath(), required=True, metavar="FILE", help="Your recovery identity."
)


@command(
    "new",
    exits={
        ExitStatus.DONE: "the challenge is written; send the same file to every custodian",
        ExitStatus.FAILED: "a store does not respond",
        ExitStatus.USAGE: "the configured vault has no repository, or the file exists",
        ExitStatus.DAMAGED: "a record differs from what the owner signed",
    },
    example="standfast backup custodian challenge new --to challenge.json",
)
@click.option("--to", type=FilePath(), required=True, metavar="FILE", help="A new file.")
@click.pass_obj
def new(call: Call, to: Path) -> ExitStatus:
    """Create a challenge that every custodian answers."""
    from standfast.usecases.key_ceremonies.custodian_requests import ask_custodians

    asked = ask_custodians(call.stores(), to)
    people: list[Json] = [person.text for person in asked.custodians]
    rows = [[person.name or "(no name)", person.fingerprint] for person in asked.custodians]
    answer_it = f"standfast backup custodian challenge answer {to.name}"
    return print_ceremony_result(
        call,
        {"challenge": str(to), "sha256": asked.challenge, "custodians": people},
        [
            f"{to} is a challenge for {counted(len(people), 'custodian')}:",
            Table(rows=rows, indent=2),
        ],
        [
            f"Send {to} to each custodian; only custodians can open its secrets.",
            f"Each custodian runs: `{answer_it} --identity FILE --to answer.json`.",
            "Import each answer: `standfast backup custodian challenge accept answer.json`.",
        ],
    )


@command(
    "answer",
    exits={
        ExitStatus.DONE: "the answer is written; it contains no secret",
        ExitStatus.FAILED: "the disk is full",
        ExitStatus.USAGE: "the challenge is not for this identity",
        ExitStatus.PARTIAL: "this identity does not open the key of a domain; it is named",
        ExitStatus.DAMAGED: "the challenge was changed",
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
def answer(call: Call, challenge: Path, identity: Path, to: Path) -> ExitStatus:
    """Prove that you have your recovery identity; needs no network."""
    from standfast.usecases.key_ceremonies import custodian_requests

    opened = open_identity(call, identity, call.passphrase_file)
    answers = custodian_requests.answer(challenge, opened, to, datetime.now(UTC))
    opens = sorted({custodian_requests.key_text(key) for each in answers for key in each.opens})
    lacks = sorted({custodian_requests.key_text(key) for each in answers for key in each.lacks})
    status = ExitStatus.PARTIAL if lacks else ExitStatus.DONE
    lines: list[Line] = [f"Your identity opened: {', '.join(opens) or 'nothing'}. Written: {to}"]
    lines += [f"Your identity does not open the key of {key}." for key in lacks]
    lines += ["", f"Next: send {to} back. It contains no secret."]
    return call.print_result(
        {
            "answer": str(to),
            "custodians": [response.custodian.text for response in answers],
            "opens": list(opens),
            "lacks": list(lacks),
        },
        lines,
        status,
    )


@command(
    "accept",
    exits={
        ExitStatus.DONE: "the answer is correct and recorded",
        ExitStatus.FAILED: "the record cannot be written",
        ExitStatus.USAGE: "the answer is not for a challenge of this installation",
        ExitStatus.PARTIAL: "it is correct, but the custodian cannot open the key of a domain",
    },
    example="standfast backup custodian challenge accept answer.json",
)
@click.argument("file", type=FilePath(), metavar="ANSWER", help="The custodian's answer.")
@click.pass_obj
def accept(call: Call, file: Path) -> ExitStatus:
    """Compare an answer with its challenge and record the result."""
    from standfast.usecases.key_ceremonies import custodian_requests

    answers = custodian_requests.accept(call.stores(), file)
    lacks = sorted({custodian_requests.key_text(key) for each in answers for key in each.lacks})
    status = ExitStatus.PARTIAL if lacks else ExitStatus.DONE
    lines: list[Line] = []
    for response in answers:
        opens = ", ".join(map(custodian_requests.key_text, response.opens))
        lines.append(f"{response.custodian.title}: correct, opened {opens or 'nothing'}.")
    lines += [
        (
            f"{key}: this custodian cannot open its key. Encrypt the key to the custodian: "
            "`standfast backup owner add-custodian`."
        )
        for key in lacks
    ]
    lines += ["", "Next: `standfast check` lists missing answers, and those older than 100 days."]
    return call.print_result(
        {"custodians": [response.custodian.text for response in answers], "lacks": list(lacks)},
        lines,
        status,
    )


@command(
    "attest",
    exits={
        ExitStatus.DONE: "the attestation is written",
        ExitStatus.FAILED: "the disk is full",
        ExitStatus.USAGE: "the order is from another owner, or not for this identity",
        ExitStatus.REFUSED: "you did not confirm; nothing was written",
        ExitStatus.DAMAGED: "the order was changed",
    },
    example="standfast backup custodian attest erasure.order --identity identity.txt "
    "--as 'Lee Moss' --to lee.attestation",
)
@click.argument("order", type=FilePath(), help="The owner's order.")
@mine_option
@click.option("--as", "name", required=True, metavar="NAME", help="Your name for the certificate.")
@click.option("--to", type=FilePath(), required=True, metavar="FILE", help="A new file.")
@click.option("--yes", is_flag=True, help="You have read the order already.")
@passphrase_file_option
@click.pass_obj
def attest(call: Call, order: Path, identity: Path, name: str, to: Path, yes: bool) -> ExitStatus:
    """Attest the order to erase a domain's backups; needs no network."""
    from backup.ownership.recovery_card import group_digits
    from standfast.usecases.key_ceremonies import custodian_requests

    given = custodian_requests.order_in(order)
    opened = open_identity(call, identity, call.passphrase_file)
    shown = [
        "The order says:",
        f"  {given.text}",
        "The owner signed it with this key; compare it with the recovery card:",
        *(f"  {line}" for line in group_digits(given.owner)),
    ]
    if not yes:
        if call.as_json or not sys.stdin.isatty():
            raise UsageError(
                "order: not confirmed. Run the command on a terminal, or add --yes if you have "
                "read the order"
            )
        for line in shown:
            print_note(line)
        typed = ask(f"Type the domain's name ({given.domain}) to confirm")
        if typed != given.domain:
            return call.print_result(
                {"order": str(order), "agreed": False},
                ["Not confirmed; nothing was written."],
                ExitStatus.REFUSED,
            )
    paths = custodian_requests.attest_order(order, opened, name=name, to=to, now=datetime.now(UTC))
    return print_ceremony_result(
        call,
        {
            "order": str(order),
            "domain": given.domain,
            "text": given.text,
            "owner": given.owner.hex(),
            "attestations": [str(path) for path in paths],
        },
        [*([*shown, ""] if yes else []), f"Attested: {', '.join(map(str, paths))}"],
        [f"Send {to} to the owner."],
    )


challenge = Group(
    "challenge",
    help="Test each quarter whether every custodian still has a working key.",
    commands=[new, answer, accept],
)


custodian = Group(
    "custodian", help="Test the keys of custodians; attest erasures.", commands=[attest, challenge]
)
