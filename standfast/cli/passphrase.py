"""Passphrases: from a file, from the environment, or typed where nobody sees them; no argument.

An argument would stand in the process list and in the shell's history.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from standfast.cli.call import Call
from standfast.errors import UsageError

VARIABLE = "STANDFAST_PASSPHRASE"

PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help=f"The passphrase; else {VARIABLE}, else it is asked for.",
        show_default=False,
    ),
]


def passphrase(call: Call, file: Path | None, who: str, *, is_new: bool = False) -> str:
    """Give the passphrase of `who`; a new one is typed twice.

    Raises UsageError where there is none to read and no terminal to ask on, SecretMissing or
    Refused for a file that cannot be read or that every user may.
    """
    if file is not None:
        return _from_file(call, file)
    if given := call.env.get(VARIABLE):
        return given
    if not sys.stdin.isatty():
        raise UsageError(
            f"the passphrase of {who} is needed: give --passphrase-file FILE, set {VARIABLE}, or "
            "run this on a terminal"
        )
    import getpass

    typed = getpass.getpass(f"Passphrase of {who}: ")
    if is_new and getpass.getpass("The same again: ") != typed:
        raise UsageError("the two passphrases differ; nothing was changed")
    return typed


def _from_file(call: Call, file: Path) -> str:
    from standfast.config import SecretReference
    from standfast.secrets import SystemResolver

    resolver = SystemResolver(env=call.env, base_dir=Path.cwd())
    return resolver.resolve(SecretReference(f"file:{file}")).reveal()
