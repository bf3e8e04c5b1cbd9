"""`standfast lock`: lock accounts with one command."""

import tomllib
from pathlib import Path

import click

from standfast.cli.incidents.incident_arguments import PROGRESS_EXIT_STATUSES, lines_of
from standfast.cli.incidents.incident_opening import (
    as_person_option,
    exercise_option,
    no_wait_option,
    open_and_run_incident,
)
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import passphrase_file_option
from standfast.cli.terminal.invocation import Call
from standfast.errors import ExitStatus, UsageError

_SCENARIO = "lock"


@command(
    "lock",
    exits={
        **PROGRESS_EXIT_STATUSES,
        ExitStatus.FAILED: "no directory knows the account, or none answers",
        ExitStatus.USAGE: "no account is named, or there is no directory to lock it in",
    },
    example="standfast lock alice bob",
)
@click.argument(
    "accounts",
    nargs=-1,
    required=True,
    metavar="ACCOUNT...",
    help="As people write it, or DIRECTORY:ACCOUNT; @FILE has one a line.",
)
@click.option("--reason", help="Why, for the timeline.")
@exercise_option
@as_person_option
@no_wait_option
@passphrase_file_option
@click.pass_obj
def lock(
    call: Call,
    accounts: tuple[str, ...],
    reason: str | None,
    exercise: bool,
    as_person: str | None,
    no_wait: bool,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Lock accounts in all directories, now.

    `standfast incident undo` unlocks them. This command does not prove the locks, so their undo
    needs an approval.
    """
    names: list[str] = []
    for number, word in enumerate(accounts, 1):
        if word.startswith("@"):
            names += lines_of(Path(word[1:]))
        else:
            _refuse_misspelt(number, word)
            names.append(word)
    if not names:
        raise UsageError("no account is named; the file is empty")
    # An incident that can lock nothing helps nobody, and it ends the days of grace in which
    # approvers may still be named.
    if not exercise and not _has_directory(call.config_file):
        raise UsageError(
            "there is no directory here to lock an account in, so nothing was opened: add "
            "[accounts.NAME] (docs/accounts.md has each kind), then lock again; "
            "to rehearse with stand-ins: add --exercise"
        )
    inputs: dict[str, str | list[str]] = {"accounts": names}
    if reason is not None:
        inputs["reason"] = reason
    return open_and_run_incident(
        call,
        _SCENARIO,
        inputs,
        exercise=exercise,
        as_person=as_person,
        no_wait=no_wait,
        passphrase_file=passphrase_file,
    )


def _refuse_misspelt(number: int, word: str) -> None:
    """Raise UsageError for an obvious mistake, before an incident is opened."""
    if "," in word:
        raise UsageError(
            f"account {number} holds a comma: write names with blanks between; one that has a "
            "comma itself goes into a file with one a line: @FILE"
        )
    if word.rstrip().endswith(":"):
        raise UsageError(
            f"account {number} names a directory and nobody in it: write DIRECTORY:ACCOUNT without "
            "a blank"
        )


def _has_directory(config_file: Path) -> bool:
    """Return whether any directory is configured.

    Only parses the file, because a full check takes longer than a running `serve` needs to start
    the lock. An unreadable file is reported later.
    """
    try:
        return bool(tomllib.loads(config_file.read_text(encoding="utf-8-sig")).get("accounts"))
    except (OSError, ValueError):
        return True
