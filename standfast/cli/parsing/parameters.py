"""Parameter types, and options that commands of several domains share.

    @sign_in_options("Sign in as this person.")  # --as and --passphrase-file
    @no_wait_option

The values of these options are stored in the `Call` (the record of one invocation), so that
commands need no parameters for them.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

from standfast.cli.terminal.passphrase import VARIABLE
from standfast.errors import UsageError

_Declared = TypeVar("_Declared", bound=Callable[..., Any] | click.Command)


class FilePath(click.Path):
    """The path of a file or folder; `-` only if the command allows it."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        """Return the path; fail for an empty text, which would be this folder."""
        if value == "" or (value == "-" and not self.allow_dash):
            self.fail(f"{value!r} is not the path of a file or folder.", param, ctx)
        return Path(value)


def stored_option(*names: str, **attributes: Any) -> Callable[[_Declared], _Declared]:
    """Declare an option that sets a field of the `Call`."""

    def store(context: click.Context, option: click.Parameter, value: Any) -> None:
        if value is not None and option.name is not None:
            context.obj = replace(context.obj, **{option.name: value})

    return click.option(*names, callback=store, expose_value=False, **attributes)


passphrase_file_option = stored_option(
    "--passphrase-file",
    type=FilePath(),
    metavar="FILE",
    help=f"The file with the passphrase. Default: the passphrase in {VARIABLE}; without it, the "
    "command asks.",
)
no_wait_option = stored_option(
    "--no-wait", is_flag=True, help="Record the decision only; another process runs the steps."
)


def sign_in_options(purpose: str) -> Callable[[_Declared], _Declared]:
    """Declare --as, with `purpose` as its help, and --passphrase-file."""

    def declare(function: _Declared) -> _Declared:
        as_option = stored_option("--as", "as_person", metavar="PERSON", help=purpose)
        return as_option(passphrase_file_option(function))

    return declare


acting_person_options = sign_in_options("Sign in as this person; required for a live incident.")
speaker_options = sign_in_options("Sign in as this person; needed if the step names roles.")


def parse_values(given: Sequence[str], option: str = "--value") -> dict[str, str]:
    """Parse texts of the form NAME=TEXT; UsageError for another form."""
    values: dict[str, str] = {}
    for assignment in given:
        name, equals, text = assignment.partition("=")
        if not equals or not name:
            raise UsageError(f"{option}: the form is NAME=TEXT. Write the name, = and the text")
        values[name] = text
    return values
