"""Passphrases from a file, from the environment, or typed without echo.

A passphrase is never an argument: arguments appear in the process list and in the shell's history.
"""

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from standfast.cli.terminal.invocation import Call
from standfast.errors import Refused, UsageError

if TYPE_CHECKING:
    from standfast.usecases.core.installation import Installation

VARIABLE = "STANDFAST_PASSPHRASE"


def read_passphrase(call: Call, who: str, *, is_new: bool = False) -> str:
    """Return the passphrase of a person; a new passphrase is typed twice.

    Raises UsageError if there is no file, no variable and no terminal, or if every user may read
    the file; SecretMissing for a file that cannot be read.
    """
    if call.passphrase_file is not None:
        return _from_file(call, call.passphrase_file)
    if given := call.env.get(VARIABLE):
        return _text(given, VARIABLE)
    if not sys.stdin.isatty():
        raise UsageError(
            f"passphrase of {who}: none is given. Add --passphrase-file FILE, set {VARIABLE}, or "
            "run the command on a terminal"
        )
    try:
        typed = getpass.getpass(f"Passphrase of {who}: ")
        if is_new and getpass.getpass("Repeat the passphrase: ") != typed:
            raise UsageError("passphrase: the two entries differ. Nothing was changed")
    except UnicodeDecodeError:
        raise _not_utf8("the typed text") from None
    return _text(typed, "the typed text")


def _text(given: str, source: str) -> str:
    """Return the passphrase; UsageError if it is not UTF-8."""
    try:
        given.encode()
    except UnicodeEncodeError:
        raise _not_utf8(source) from None
    return given


def _not_utf8(source: str) -> UsageError:
    return UsageError(f"passphrase ({source}): not UTF-8. Set the terminal to UTF-8")


def _from_file(call: Call, file: Path) -> str:
    from standfast.config import SecretReference
    from standfast.secrets import SystemResolver

    resolver = SystemResolver(env=call.env, base_dir=Path.cwd())
    try:
        return resolver.resolve(SecretReference(f"file:{file}")).reveal()
    except Refused as error:
        raise UsageError(str(error)) from error  # its message names the command that corrects it


def signed_in(call: Call, installation: "Installation") -> str | None:
    """Return the name of the person that signed in; None without --as."""
    from standfast.usecases.approvals.step_decisions import authenticated_person

    if call.as_person is None:
        return None
    return authenticated_person(installation, call.as_person, read_passphrase(call, call.as_person))
