"""Reference page of all commands on the documentation site, from `--help`."""

from collections.abc import Iterator

import click

from standfast.cli.app import app
from standfast.cli.parsing.manual_page import command_contexts
from standfast.cli.terminal.invocation import PROGRAM

_WIDTH = 100  # characters
_HEAD = """\
# Commands

Each section is the text of `--help`. `standfast manual --to FOLDER` writes the same as pages for
`man`.
"""


def page() -> str:
    """Return the page in Markdown."""
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    top = click.Context(app, info_name=PROGRAM, terminal_width=_WIDTH, max_content_width=_WIDTH)
    for context in command_contexts(top):
        text = context.command.get_help(context)
        yield f"## {context.command_path}\n\n```text\n{text}\n```\n"
