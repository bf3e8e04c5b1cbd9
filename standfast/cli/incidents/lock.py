"""`standfast lock`: lock accounts with one command.

A directory is a system that stores accounts, such as OpenLDAP, Okta or a database server.
"""

import tomllib
from pathlib import Path

import click

from standfast.cli.incidents.incident_arguments import PROGRESS_EXIT_STATUSES, read_lines
from standfast.cli.incidents.incident_opening import (
    exercise_option,
    open_and_run_incident,
    opener_options,
)
from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import no_wait_option
from standfast.cli.terminal.invocation import Call
from standfast.errors import ExitStatus, UsageError

_SCENARIO = "lock"


@command(
    "lock",
    exits={
        **PROGRESS_EXIT_STATUSES,
        ExitStatus.FAILED: "no directory knows the account, or none responds",
        ExitStatus.USAGE: "no account is named, or no directory is configured",
    },
    example="standfast lock alice bob",
)
@click.argument(
    "accounts",
    nargs=-1,
    required=True,
    metavar="ACCOUNT...",
    help="An account name, or DIRECTORY:ACCOUNT; @FILE lists one account a line.",
)
@click.option("--reason", help="The reason, for the timeline.")
@exercise_option
@opener_options
@no_wait_option
@click.pass_obj
def lock(call: Call, accounts: tuple[str, ...], reason: str | None, exercise: bool) -> ExitStatus:
    """Lock accounts in all directories, now.

    The command does not prove that the locked accounts are refused; a playbook such as
    `account-takeover` does. `standfast incident undo` unlocks the accounts after an approval.
    """
    names: list[str] = []
    for number, word in enumerate(accounts, 1):
        if word.startswith("@"):
            names += read_lines(Path(word[1:]))
        else:
            _refuse_misspelt(number, word)
            names.append(word)
    if not names:
        raise UsageError("accounts: the file is empty. Write one account a line")
    # Without a directory, the incident could lock nothing. It would also do harm: the first live
    # incident ends the period in which newly enrolled people can approve immediately.
    if not exercise and not _has_directory(call.config_file):
        raise UsageError(
            "accounts: no directory is configured, so nothing was opened. Add [accounts.NAME] "
            "(docs/accounts.md), then lock again; to rehearse with simulators, add --exercise"
        )
    inputs: dict[str, str | list[str]] = {"accounts": names}
    if reason is not None:
        inputs["reason"] = reason
    return open_and_run_incident(call, _SCENARIO, inputs, is_exercise=exercise)


def _refuse_misspelt(number: int, word: str) -> None:
    """Raise UsageError for an obvious mistake, before an incident is opened."""
    if "," in word:
        raise UsageError(
            f"account {number}: it contains a comma. Separate accounts by spaces; write names that "
            "contain a comma into a file, one per line, and name it as @FILE"
        )
    if word.rstrip().endswith(":"):
        raise UsageError(
            f"account {number}: the account after the directory is missing. Write "
            "DIRECTORY:ACCOUNT without a space"
        )


def _has_directory(config_file: Path) -> bool:
    """Return whether any directory is configured.

    Only parses the file: a full check of the configuration would take longer than a running `serve`
    needs to start the lock. Returns True for an unreadable file, which is reported later.
    """
    try:
        return bool(tomllib.loads(config_file.read_text(encoding="utf-8-sig")).get("accounts"))
    except (OSError, ValueError):
        return True
