"""Tree of commands, and `main`: signals, exit statuses of errors.

Rules
- A StandfastError has its own exit status. A mistyped command exits with 2, Ctrl-C with 130, and
  any other error with 1 and one line; `STANDFAST_DEBUG=1` shows the traceback.
- SIGTERM and SIGHUP are handled like Ctrl-C: the command cleans up (a drill destroys the data that
  it restored) and records its end. The exit status is 128 plus the number of the signal, as in a
  shell.
- The message of an interrupted command states how to continue: with `standfast status`, or with the
  command that a note of the error (PEP 678) names.
- With `--json`, the error is the one document on standard output.
- If the result cannot be written, the exit status is 1 instead of 0; a status other than 0 is not
  changed.
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
from standfast.cli.terminal.output import discard_output, flush_output, print_error, print_json
from standfast.errors import ExitStatus, FileInvalid, StandfastError
from standfast.records import Json

_SIGNAL_STATUS_BASE = 128  # a shell adds this to the number of the signal that ended a command
INTERRUPTED = _SIGNAL_STATUS_BASE + signal.SIGINT
_INTERRUPTED_MESSAGE = (
    "interrupted: the ledger records what was started. `standfast status` shows how to continue"
)
_NO_FOLDER = (
    "current folder: it was deleted, so relative paths have no base. Change to another folder "
    "(`cd`), then run the command again"
)
_WINDOWS = (
    "Standfast: it runs on Linux only. Back up the files of a Windows host from a share that a "
    "Linux host mounts, or from a bucket: docs/sources.md"
)
_DEBUG = "STANDFAST_DEBUG"

_MODULES = {
    "init": "standfast.cli.setup.init",
    "check": "standfast.cli.health.check",
    "doctor": "standfast.cli.health.doctor",
    "readiness": "standfast.cli.health.readiness",
    "serve": "standfast.cli.setup.serve",
    "worker": "standfast.cli.setup.serve",
    "status": "standfast.cli.health.status",
    "lock": "standfast.cli.incidents.lock",
    "report": "standfast.cli.reports.report",
    "demo": "standfast.cli.setup.demo",
    "backup": "standfast.cli.backups.backup",
    "drill": "standfast.cli.backups.drill",
    "recover": "standfast.cli.recovery.recover",
    "continuity": "standfast.cli.continuity.continuity",
    "incident": "standfast.cli.incidents.incident",
    "playbook": "standfast.cli.playbooks.playbook",
    "tabletop": "standfast.cli.playbooks.tabletop",
    "notice": "standfast.cli.notices.notice",
    "deadline": "standfast.cli.deadlines.deadline",
    "people": "standfast.cli.people.enrolment",
    "on-call": "standfast.cli.people.on_call",
    "evidence": "standfast.cli.evidence.evidence",
    "audit": "standfast.cli.reports.audit",
    "completion": "standfast.cli.setup.completion",
    "manual": "standfast.cli.setup.manual",
}


def _shipped_pages() -> str:
    """Return the paragraph of the help that names the folder of `docs`."""
    repository = Path(__file__).parents[2]
    is_source = (repository / "pyproject.toml").is_file()
    folder = repository if is_source else Path(sys.prefix, "share/doc/standfast")
    if not folder.is_dir():
        return ""
    return f"\b\nMessages name pages such as docs/accounts.md. They are below:\n  {folder}"


def _show_version(context: click.Context, _option: click.Parameter, is_given: bool) -> None:
    if is_given and not context.resilient_parsing:
        context.obj.print_result({"version": __version__}, [f"standfast {__version__}"])
        context.exit()


app = LazyGroup(
    PROGRAM,
    help="Encrypted backups with proven restores, and breach response.\n\n"
    "In a breach: `standfast lock ACCOUNT` locks an account immediately. `standfast playbook list` "
    "shows which playbook fits, and `standfast incident plan PLAYBOOK` shows what it would do.",
    epilog=_shipped_pages(),
    modules=_MODULES,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Print the version and exit.",
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
        with _signals_as_interrupts():
            status = _run(given)
        lost = flush_output()
    except BrokenPipeError:
        discard_output(sys.stdout)  # the reader closed the pipe
        return ExitStatus.FAILED
    if lost is None:
        return status
    print_error(
        f"standard output: cannot be written: {lost}. The command is done; `standfast status` "
        "shows its result"
    )
    return status or ExitStatus.FAILED


@contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """Raise `KeyboardInterrupt` for SIGTERM and SIGHUP as well as for SIGINT.

    For SIGTERM and SIGHUP, the argument of the exception is the number of the signal. After the
    first of these two signals, both are ignored: a shutdown and a closing terminal send several
    signals, and these must not interrupt the clean-up.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        for signal_number in replaced:
            signal.signal(signal_number, _pass)  # not SIG_IGN: child programs would inherit it
        _end_network_waits()
        raise KeyboardInterrupt(number)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        _end_network_waits()
        raise KeyboardInterrupt

    # Keep a handler that is not the default: it was set on purpose, for example by `nohup`.
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


def _end_network_waits() -> None:
    """End the network calls of backups and restores within a few seconds.

    If `network_shutdown` is not loaded, no such call was made.
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
        status = _SIGNAL_STATUS_BASE + error.args[0] if error.args else INTERRUPTED
        notes = _notes(error) or [_INTERRUPTED_MESSAGE]
        return _failed("; ".join(notes), status, is_json=is_json)
    except EOFError:
        return _failed(_INTERRUPTED_MESSAGE, INTERRUPTED, is_json=is_json)
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
            f"package {error.name}: missing in {sys.executable}. Run the command of the "
            "environment that Standfast is installed in, such as .venv/bin/standfast, or install "
            "Standfast again",
            ExitStatus.FAILED,
            is_json=is_json,
        )
    except Exception as error:
        if os.environ.get(_DEBUG):
            raise
        if isinstance(error, FileNotFoundError) and not _has_current_folder():
            return _failed(_NO_FOLDER, ExitStatus.USAGE, is_json=is_json)
        if isinstance(error, PermissionError) and error.filename is not None:
            return _failed(
                f"{os.fsdecode(error.filename)}: permission denied. Run the command as the owner "
                "of the file: `sudo -u USER standfast …`",
                ExitStatus.FAILED,
                is_json=is_json,
            )
        # Print only the class of the error: the text of a library may quote a person or a secret.
        notes = _notes(error) or [
            f"Run the command again with {_DEBUG}=1 to get the traceback, and report it"
        ]
        return _failed(
            f"unexpected {type(error).__name__}: the ledger records what was started. "
            f"{' '.join(notes)}",
            ExitStatus.FAILED,
            is_json=is_json,
        )


def _notes(error: BaseException) -> list[str]:
    """Return the notes of an error (PEP 678)."""
    return [*getattr(error, "__notes__", ())]


def _has_current_folder() -> bool:
    """Return whether the current folder (the base of relative paths) exists."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _invoke(given: Sequence[str], call: Call) -> int:
    """Run the command, or print the shell completions that are requested.

    Does not use `main` of click, which would handle Ctrl-C and broken pipes itself.
    """
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
    if not message.endswith((".", "?", "!")) and "\n" not in message:
        message += "."  # the text of an error has none, so that other messages can quote it
    if is_json:
        details: dict[str, Json] = {"problems": problems} if problems is not None else {}
        print_json({"error": message, "exit_status": int(status), **details})
    if not is_json or flush_output():
        print_error(message)
    return int(status)
