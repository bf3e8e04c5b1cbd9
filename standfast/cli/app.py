"""Tree of commands, and `main`, which maps errors to exit statuses.

Rules
- A StandfastError has its own exit status. A mistyped command exits with 2, Ctrl-C with 130, and
  any other error with 1 and one line; `STANDFAST_DEBUG=1` shows the traceback.
- SIGTERM and SIGHUP are handled like Ctrl-C: the data that a drill restored is destroyed, and the
  ledger records the end. The exit status is 128 plus the number of the signal, as in a shell.
- The message of an interrupted command names how to continue: `standfast status`, or the command
  in a note of the error (PEP 678).
- With `--json`, the error is the one document on standard output.
- If the result cannot be written, the exit status is 1 instead of 0; any other status stays.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from types import FrameType

import click
from click.shell_completion import shell_complete

from standfast import __version__
from standfast.cli.parsing.commands import LazyGroup
from standfast.cli.terminal.invocation import COMPLETION_VARIABLE, PROGRAM, Call
from standfast.cli.terminal.output import discard_output, lost_answer, print_error, print_json
from standfast.errors import ExitStatus, FileInvalid, StandfastError
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

_MODULES = {
    "init": "standfast.cli.setup.init",
    "check": "standfast.cli.health.check",
    "readiness": "standfast.cli.health.readiness",
    "serve": "standfast.cli.setup.serve",
    "status": "standfast.cli.health.status",
    "lock": "standfast.cli.incidents.lock",
    "report": "standfast.cli.reports.report",
    "demo": "standfast.cli.setup.demo",
    "backup": "standfast.cli.backups.backup",
    "drill": "standfast.cli.backups.drill",
    "incident": "standfast.cli.incidents.incident",
    "playbook": "standfast.cli.playbooks.playbook",
    "tabletop": "standfast.cli.playbooks.tabletop",
    "notice": "standfast.cli.notices.notice",
    "deadline": "standfast.cli.deadlines.deadline",
    "people": "standfast.cli.people.enrolment",
    "evidence": "standfast.cli.evidence.evidence",
    "audit": "standfast.cli.reports.audit",
    "completion": "standfast.cli.setup.completion",
}


def _shipped_pages() -> str:
    """Return the paragraph of the help that names the folder of `docs`."""
    repository = Path(__file__).parents[2]
    is_source = (repository / "pyproject.toml").is_file()
    folder = repository if is_source else Path(sys.prefix, "share/doc/standfast")
    if not folder.is_dir():
        return ""
    return f"\b\nPages that messages name, such as docs/accounts.md:\n  {folder}"


def _show_version(context: click.Context, _option: click.Parameter, is_given: bool) -> None:
    if is_given and not context.resilient_parsing:
        context.obj.say({"version": __version__}, [f"standfast {__version__}"])
        context.exit()


app = LazyGroup(
    PROGRAM,
    help="Backups that come back, and breaches that are contained.\n\n"
    "In a breach: `standfast playbook list` says which playbook fits, and `standfast incident "
    "plan` what it would touch; `standfast lock ACCOUNT` locks at once.",
    epilog=_shipped_pages(),
    modules=_MODULES,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Print which version this is.",
        )
    ],
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
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
    """Raise `KeyboardInterrupt` for other signals that end a command.

    The argument of the exception is the signal number. Only the first signal counts: a shutdown and
    a closing terminal send several, and none may interrupt the clean-up that the first started.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        for signal_number in replaced:
            signal.signal(signal_number, _pass)  # not SIG_IGN: child programs would inherit it
        _end_what_waits()
        raise KeyboardInterrupt(number)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        _end_what_waits()
        raise KeyboardInterrupt

    # A changed handler was set on purpose, for example SIGHUP by `nohup`; keep it.
    endings = (signal.SIGTERM, signal.SIGHUP)
    replaced = [number for number in endings if signal.getsignal(number) is signal.SIG_DFL]
    for signal_number in replaced:
        signal.signal(signal_number, end)
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_usual:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        for signal_number in replaced:
            signal.signal(signal_number, signal.SIG_DFL)
        if is_usual:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _end_what_waits() -> None:
    """End waits for the network soon.

    Without the module, nothing waits for the network.
    """
    if ending := sys.modules.get("backup.system.network_shutdown"):
        ending.NETWORK_SHUTDOWN.begin(print_error)


def _pass(_number: int, _frame: FrameType | None) -> None:
    """Ignore a signal."""


def _open_closed_streams() -> None:
    """Open standard streams that the parent process closed (`<&-`).

    Python sets a closed stream to None, and every read or print would then raise an error.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _run(given: Sequence[str]) -> int:
    is_json = "--json" in takewhile(lambda word: word != "--", given)
    try:
        return _invoke(given, Call(config=None, as_json=is_json, env=os.environ))
    except click.UsageError as error:
        return _failed(_usage_message(error), ExitStatus.USAGE, is_json=is_json)
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
    """Return the notes of an error (PEP 678)."""
    return [*getattr(error, "__notes__", ())]


def _is_somewhere() -> bool:
    """Return whether the current folder, base of relative paths, exists."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _invoke(given: Sequence[str], call: Call) -> int:
    """Run the command; `app.main` would handle Ctrl-C and broken pipes itself."""
    if instruction := os.environ.get(COMPLETION_VARIABLE):
        return shell_complete(app, {"obj": call}, PROGRAM, COMPLETION_VARIABLE, instruction)
    try:
        with app.make_context(PROGRAM, list(given), obj=call) as context:
            return int(app.invoke(context))
    except click.exceptions.Exit as ended:  # after --help or --version
        return ended.exit_code


def _usage_message(error: click.UsageError) -> str:
    message = error.format_message()
    if error.ctx is None or isinstance(error, click.exceptions.NoArgsIsHelpError):
        return message
    return f"{message}\nSee `{error.ctx.command_path} --help`."


def _failed(
    message: str, status: int, *, is_json: bool, problems: Sequence[Json] | None = None
) -> int:
    if is_json:
        details: dict[str, Json] = {"problems": problems} if problems is not None else {}
        print_json({"error": message, "exit_status": int(status), **details})
    if not is_json or lost_answer():
        print_error(message)
    return int(status)
