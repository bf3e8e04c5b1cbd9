"""The tree of commands, and `main`: the one place where errors become exit statuses.

Rules
- A StandfastError ends with its own status, a mistyped command with 2, Ctrl-C with 130, anything
  else with 1 and one line; `STANDFAST_DEBUG=1` shows where it came from.
- Who is told to end by `kill`, a shutdown or a line that was cut ends as by Ctrl-C: what a drill
  restored is destroyed, and the ledger knows. The status is what a shell makes of such a death.
- Who stops a command is told where it is gone on with: `standfast status` has what is in the
  ledger, and a command that is gone on with otherwise says so in a note (PEP 678).
- With `--json` the error is the one document on standard output.
- What was done and could not be told ends with 1, never with 0; any other status stays.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType

from standfast import __version__
from standfast.cli.parsing.argument_parser import find, values_of
from standfast.cli.parsing.command_declaration import Command, Group
from standfast.cli.terminal.invocation import Call, parse_global_options
from standfast.cli.terminal.output import discard_output, lost_answer, print_error, print_json
from standfast.errors import ExitStatus, FileInvalid, StandfastError, UsageError
from standfast.records import Json

_OF_A_SIGNAL = 128  # what a shell adds to the number of the signal that ended a command
INTERRUPTED = _OF_A_SIGNAL + signal.SIGINT
_INTERRUPTED_SAYS = "stopped; what was begun is in the ledger: `standfast status` says how to go on"
_NOWHERE = (
    "the folder that this was started in is gone, and relative paths lead nowhere from it: "
    "change to one that is there (`cd`), then run this again"
)
_WINDOWS = (
    "Standfast runs on Linux, and not on Windows: back a Windows host's files up from a share that "
    "Linux mounts, or from a bucket that they are copied to; docs/sources.md says how"
)
_DEBUG = "STANDFAST_DEBUG"
_VERSION = "--version"

_COMMANDS = {
    "init": "setup.init",
    "check": "health.check",
    "readiness": "health.readiness",
    "serve": "setup.serve",
    "status": "health.status",
    "lock": "incidents.lock",
    "report": "reports.report",
    "demo": "setup.demo",
    "backup": "backups.backup",
    "drill": "backups.drill",
    "incident": "incidents.incident",
    "playbook": "playbooks.playbook",
    "tabletop": "playbooks.tabletop",
    "notice": "notices.notice",
    "deadline": "deadlines.deadline",
    "people": "people.enrolment",
    "evidence": "evidence.custody",
    "audit": "reports.audit",
}


def tree(words: Sequence[str] = ()) -> Group:
    """Give the commands, or of them all only the part that `words` begin with, to start sooner."""
    root = Group(
        words=("standfast",),
        about="Backups that come back, and breaches that are contained.\n\n"
        "In a breach: `standfast playbook list` says which playbook fits, and `standfast incident "
        "plan` what it would touch; `standfast lock ACCOUNT` locks at once.",
    )
    for name in words[:1] if words and words[0] in _COMMANDS else _COMMANDS:
        import_module(f"standfast.cli.{_COMMANDS[name]}").add_to(root)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    _open_closed_streams()
    if sys.platform.startswith("win"):
        return _failed(_WINDOWS, ExitStatus.USAGE, is_json="--json" in given)
    try:
        with _ending_as_by_ctrl_c():
            status = _run(given)
        lost = lost_answer()
    except BrokenPipeError:
        discard_output(sys.stdout)  # whoever read us has enough
        return ExitStatus.FAILED
    if lost is None:
        return status
    print_error(
        f"the answer could not be written to standard output: {lost}; what was done stands, "
        "and `standfast status` shows it"
    )
    return status or ExitStatus.FAILED


@contextmanager
def _ending_as_by_ctrl_c() -> Iterator[None]:
    """Raise `KeyboardInterrupt`, with its number, for other signals that end a command.

    Only the first of those counts: a shutdown and a closing terminal send several, and none may
    break off the tidying that the first began.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        for one in taken:
            signal.signal(one, _pass)  # not SIG_IGN, which a program started from here would keep
        _end_what_waits()
        raise KeyboardInterrupt(number)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        _end_what_waits()
        raise KeyboardInterrupt

    # One that is not as usual is so on purpose, as SIGHUP under `nohup`.
    endings = (signal.SIGTERM, signal.SIGHUP)
    taken = [one for one in endings if signal.getsignal(one) is signal.SIG_DFL]
    for one in taken:
        signal.signal(one, end)
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_usual:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        for one in taken:
            signal.signal(one, signal.SIG_DFL)
        if is_usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _end_what_waits() -> None:
    """Let nothing across a network be waited for much longer: no such thing without the module."""
    if ending := sys.modules.get("backup.system.network_shutdown"):
        ending.NETWORK_SHUTDOWN.begin(print_error)


def _pass(_number: int, _frame: FrameType | None) -> None:
    """Hear a signal and do nothing."""


def _open_closed_streams() -> None:
    """Give a stream that whoever started us had closed (`<&-`): nothing to read, nowhere to tell.

    Python has None in its place, on which every question and every answer would end in an error.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _run(given: Sequence[str]) -> int:
    is_json = "--json" in given
    try:
        call, words = parse_global_options(given, os.environ)
        is_json = call.as_json
        return int(_carried_out(call, words))
    except KeyboardInterrupt as error:
        status = _OF_A_SIGNAL + error.args[0] if error.args else INTERRUPTED
        notes = _notes(error) or [_INTERRUPTED_SAYS]
        return _failed("; ".join(notes), status, is_json=is_json)
    except EOFError:
        return _failed(_INTERRUPTED_SAYS, INTERRUPTED, is_json=is_json)
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
        notes = _notes(error)
        message = ". ".join([str(error).removesuffix("."), *notes]) if notes else str(error)
        return _failed(message, error.exit_status, is_json=is_json)
    except BrokenPipeError:
        raise
    except ModuleNotFoundError as error:
        if os.environ.get(_DEBUG):
            raise
        return _failed(
            f"{error.name} is missing from this Python, {sys.executable}: run the one that "
            "Standfast is installed in (.venv/bin/standfast), or install it there whole",
            ExitStatus.FAILED,
            is_json=is_json,
        )
    except Exception as error:
        if os.environ.get(_DEBUG):
            raise
        if isinstance(error, FileNotFoundError) and not _is_somewhere():
            return _failed(_NOWHERE, ExitStatus.USAGE, is_json=is_json)
        if isinstance(error, PermissionError) and error.filename is not None:
            return _failed(
                f"this user may not read or write {os.fsdecode(error.filename)}: run this as the "
                "user whose it is, with `sudo -u USER` before it",
                ExitStatus.FAILED,
                is_json=is_json,
            )
        # Only the class: what a library says may quote a person or a secret.
        notes = _notes(error) or [
            f"Run it again with {_DEBUG}=1 to see where it came from, and report that"
        ]
        return _failed(
            f"unexpected {type(error).__name__}; what was begun is in the ledger. "
            f"{' '.join(notes)}",
            ExitStatus.FAILED,
            is_json=is_json,
        )


def _notes(error: BaseException) -> list[str]:
    """Return what was added to an error about going on (PEP 678)."""
    return [*getattr(error, "__notes__", ())]


def _is_somewhere() -> bool:
    """Say whether the folder that this runs in is still there: relative paths start at it."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _carried_out(call: Call, words: Sequence[str]) -> ExitStatus:
    if list(words[:1]) == [_VERSION]:
        call.say({"version": __version__}, [f"standfast {__version__}"])
        return ExitStatus.DONE
    at, rest = find(tree(words), words)
    values = values_of(at, rest) if isinstance(at, Command) else None
    if isinstance(at, Command) and values is not None:
        return at.function(call, **values)
    from standfast.cli.parsing.help_text import help_of

    text = help_of(at)
    if not rest:
        raise UsageError(text)  # a group without a command
    call.say({"help": text}, [text])
    return ExitStatus.DONE


def _failed(
    message: str, status: int, *, is_json: bool, problems: Sequence[Json] | None = None
) -> int:
    if is_json:
        details: dict[str, Json] = {"problems": problems} if problems is not None else {}
        print_json({"error": message, "exit_status": int(status), **details})
    if not is_json or lost_answer():
        print_error(message)
    return int(status)
