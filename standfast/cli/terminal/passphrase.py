"""Passphrases from a file, from the environment, or typed without echo.

A passphrase is never an argument: arguments appear in the process list and in the shell's history.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from standfast.cli.terminal.invocation import Call
from standfast.errors import Refused, UsageError

if TYPE_CHECKING:
    from standfast.usecases.core.installation import Installation

VARIABLE = "STANDFAST_PASSPHRASE"


def passphrase(call: Call, file: Path | None, who: str, *, is_new: bool = False) -> str:
    """Return the passphrase of a person; a new passphrase is typed twice.

    Raises UsageError if there is no file, no variable and no terminal, or if every user may read
    the file; SecretMissing for a file that cannot be read.
    """
    if file is not None:
        return _from_file(call, file)
    if given := call.env.get(VARIABLE):
        return _text(given, VARIABLE)
    if not sys.stdin.isatty():
        raise UsageError(
            f"the passphrase of {who} is needed: give --passphrase-file FILE, set {VARIABLE}, or "
            "run this on a terminal"
        )
    import getpass

    try:
        typed = getpass.getpass(f"Passphrase of {who}: ")
        if is_new and getpass.getpass("The same again: ") != typed:
            raise UsageError("the two passphrases differ; nothing was changed")
    except UnicodeDecodeError:
        raise _no_text("what was typed") from None
    return _text(typed, "what was typed")


def _text(given: str, source: str) -> str:
    """Return the passphrase; UsageError if it is not UTF-8."""
    try:
        given.encode()
    except UnicodeEncodeError:
        raise _no_text(source) from None
    return given


def _no_text(source: str) -> UsageError:
    return UsageError(f"the passphrase is not UTF-8 ({source}); set the terminal to UTF-8")


def _from_file(call: Call, file: Path) -> str:
    from standfast.config import SecretReference
    from standfast.secrets import SystemResolver

    resolver = SystemResolver(env=call.env, base_dir=Path.cwd())
    try:
        return resolver.resolve(SecretReference(f"file:{file}")).reveal()
    except Refused as error:
        raise UsageError(str(error)) from error  # mended by the command that it names


def signed_in(
    call: Call, installation: "Installation", as_person: str | None, passphrase_file: Path | None
) -> str | None:
    """Return the name of the person that signed in; None without a name."""
    from standfast.usecases.approvals.step_decisions import authenticated_person

    if as_person is None:
        return None
    return authenticated_person(
        installation, as_person, passphrase(call, passphrase_file, as_person)
    )
