"""Parameter types, and options that commands of several domains share."""

import os
from pathlib import Path

import click

from standfast.cli.terminal.passphrase import VARIABLE


class FilePath(click.Path):
    """The path of a file or folder; `-` only if the command allows it."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        """Return the path; an empty text would be the current folder."""
        if value == "" or (value == "-" and not self.allow_dash):
            self.fail(f"{value!r} is not the path of a file or folder.", param, ctx)
        return Path(value)


passphrase_file_option = click.option(
    "--passphrase-file",
    type=FilePath(),
    metavar="FILE",
    help=f"The passphrase; else {VARIABLE}, else it is asked for.",
)

acting_person_option = click.option(
    "--as",
    "as_person",
    metavar="PERSON",
    help="Who asks for it, signed in; needed in a live one.",
)
