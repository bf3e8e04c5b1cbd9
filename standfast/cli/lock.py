"""`standfast lock`: the one step for the hurried."""

from typing import Annotated

import typer

from standfast.cli.call import Call, command
from standfast.cli.incident_words import CARRIED, inputs_of
from standfast.cli.opening import AsPerson, Exercise, NoWait, open_and_carry_on
from standfast.cli.passphrase import PassphraseFile
from standfast.errors import ExitStatus, UsageError

_SCENARIO = "lock"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(
        app,
        "lock",
        exits={
            **CARRIED,
            ExitStatus.FAILED: "no directory knows the account, or none answers",
            ExitStatus.USAGE: "no account is named",
        },
        example="standfast lock alice bob",
    )(lock)


def lock(
    call: Call,
    accounts: Annotated[
        list[str],
        typer.Argument(
            metavar="ACCOUNT...",
            help="As people write it, or DIRECTORY:ACCOUNT; @FILE has one a line.",
        ),
    ],
    reason: Annotated[
        str | None, typer.Option(help="Why, for the timeline.", show_default=False)
    ] = None,
    exercise: Exercise = False,
    as_person: AsPerson = None,
    no_wait: NoWait = False,
    passphrase_file: PassphraseFile = None,
) -> ExitStatus:
    """Lock accounts everywhere, now. `standfast incident undo` gives them back."""
    names: list[str] = []
    for word in accounts:
        if word.startswith("@"):
            names += inputs_of([f"accounts={word}"])["accounts"]
        else:
            names.append(word)
    if not names:
        raise UsageError("no account is named; the file is empty")
    inputs: dict[str, str | list[str]] = {"accounts": names}
    if reason is not None:
        inputs["reason"] = reason
    return open_and_carry_on(
        call,
        _SCENARIO,
        inputs,
        exercise=exercise,
        as_person=as_person,
        no_wait=no_wait,
        passphrase_file=passphrase_file,
    )
