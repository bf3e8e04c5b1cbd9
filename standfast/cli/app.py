"""The tree of commands, and `main`: the one place where errors become exit statuses.

Rules
- A StandfastError ends with its own status, a mistyped command with 2, Ctrl-C with 130, anything
  else with 1 and one line; `STANDFAST_DEBUG=1` shows where it came from.
- With `--json` the error is the one document on standard output.
"""

import os
import sys
from collections.abc import Sequence

import typer

from standfast.cli import (
    audit,
    backup,
    check,
    demo,
    drill,
    evidence,
    incident,
    init,
    lock,
    notice,
    people,
    playbook,
    report,
    serve,
    status,
)
from standfast.cli.call import Group, take_everywhere
from standfast.cli.output import print_error, print_json
from standfast.errors import ExitStatus, FileInvalid, StandfastError
from standfast.records import Json

INTERRUPTED = 130  # as a shell says it: 128 and the number of SIGINT
_INTERRUPTED_SAYS = "stopped; what was begun is in the ledger: `standfast status` says how to go on"
_DEBUG = "STANDFAST_DEBUG"

app = typer.Typer(
    name="standfast",
    cls=Group,
    help="Backups that come back, and breaches that are contained.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _part in (
    init,
    check,
    serve,
    status,
    backup,
    drill,
    incident,
    lock,
    playbook,
    notice,
    people,
    evidence,
    audit,
    report,
    demo,
):
    _part.add_to(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        status = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has enough; the interpreter's own flush at the end must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.FAILED
    return status


def _run(given: Sequence[str]) -> int:
    is_json = "--json" in given
    try:
        call, words = take_everywhere(given, os.environ)
        is_json = call.as_json
        command = typer.main.get_command(app)
        status = command.main(words, "standfast", standalone_mode=False, obj=call)
    except typer.Abort:
        status = INTERRUPTED
    except typer.TyperException as error:
        return _failed(_usage(error), ExitStatus.USAGE, is_json=is_json)
    except FileInvalid as error:
        problems: list[Json] = [
            {
                "file": problem.file,
                "line": problem.line,
                "message": problem.message,
                "hint": problem.hint,
            }
            for problem in error.problems
        ]
        return _failed(str(error), error.exit_status, is_json=is_json, problems=problems)
    except StandfastError as error:
        if os.environ.get(_DEBUG):
            raise
        return _failed(str(error), error.exit_status, is_json=is_json)
    except BrokenPipeError:
        raise
    except Exception as error:
        if os.environ.get(_DEBUG):
            raise
        # Only the class: what a library says may quote a person or a secret.
        return _failed(
            f"unexpected {type(error).__name__}; what was begun is in the ledger. "
            f"Run it again with {_DEBUG}=1 to see where it came from, and report that",
            ExitStatus.FAILED,
            is_json=is_json,
        )
    if status == INTERRUPTED:
        return _failed(_INTERRUPTED_SAYS, INTERRUPTED, is_json=is_json)
    return int(status or 0)


def _failed(
    message: str, status: int, *, is_json: bool, problems: Sequence[Json] | None = None
) -> int:
    if is_json:
        details: dict[str, Json] = {"problems": problems} if problems is not None else {}
        print_json({"error": message, "exit_status": int(status), **details})
    else:
        print_error(message)
    return int(status)


def _usage(error: typer.TyperException) -> str:
    """Say what does not fit, and where to read on; a group without a command shows its help."""
    context = getattr(error, "ctx", None)
    message = error.format_message()
    if context is None or message == context.get_help():
        return message
    return f"{message}\nSee `{context.command_path} --help`."
