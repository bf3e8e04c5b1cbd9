"""Manual pages in roff, from the declarations of commands.

The page of a group lists its commands; that of a command has the exit statuses and the example.
"""

import re
from collections.abc import Iterator, Sequence
from inspect import cleandoc

import click

from standfast import __version__
from standfast.cli.parsing.commands import Command
from standfast.errors import EXIT_STATUS_MEANING

_AT_LINE_START = re.compile(r"^(?=[.'])", re.MULTILINE)


def manual_pages(root: click.Command, program: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the roff text of the page of each group and command."""
    for context in command_contexts(click.Context(root, info_name=program)):
        name = context.command_path.replace(" ", "-")
        yield name, "\n".join(_lines(name, context, list(_members(context)))) + "\n"


def command_contexts(context: click.Context) -> Iterator[click.Context]:
    """Yield a context, and those of all groups and commands below it."""
    yield context
    for member in _members(context):
        yield from command_contexts(member)


def _members(context: click.Context) -> Iterator[click.Context]:
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            if (found := group.get_command(context, name)) is not None:
                yield click.Context(found, info_name=name, parent=context)


def _lines(name: str, context: click.Context, members: Sequence[click.Context]) -> Iterator[str]:
    at = context.command
    yield f'.TH "{_escaped(name.upper())}" 1 "" "Standfast {__version__}" "Standfast"'
    yield ".nh"  # no hyphenation: the hyphen would look like a part of a command's name
    yield from (".SH NAME", f"{_escaped(name)} \\- {_escaped(at.get_short_help_str())}")
    yield ".SH SYNOPSIS"
    yield f"\\fB{_escaped(context.command_path)}\\fR"
    yield _escaped(" ".join(at.collect_usage_pieces(context)))
    yield ".SH DESCRIPTION"
    for number, paragraph in enumerate(cleandoc(at.help or "").split("\n\n")):
        yield from (*([".PP"] if number else []), _escaped(paragraph))
    for title, kind in (("ARGUMENTS", click.Argument), ("OPTIONS", click.Option)):
        records = [
            record
            for parameter in at.get_params(context)
            if isinstance(parameter, kind) and (record := parameter.get_help_record(context))
        ]
        yield from _definitions(title, records)
    yield from _definitions(
        "COMMANDS",
        [(member.command_path, member.command.get_short_help_str()) for member in members],
    )
    if isinstance(at, Command):
        meanings = [
            (str(status.value), f"{EXIT_STATUS_MEANING[status]}, e.g. {at.exits[status]}")
            for status in sorted(at.exits)
        ]
        yield from _definitions("EXIT STATUS", meanings)
        yield from (".SH EXAMPLE", ".nf", _escaped(at.example), ".fi")
    if context.parent is not None:
        yield from (".SH SEE ALSO", f"{_escaped(context.parent.command_path.replace(' ', '-'))}(1)")


def _definitions(title: str, records: Sequence[tuple[str, str]]) -> Iterator[str]:
    if records:
        yield f".SH {title}"
    for term, meaning in records:
        yield from (".TP", f"\\fB{_escaped(term)}\\fR", _escaped(meaning))


def _escaped(text: str) -> str:
    """Escape a text, so that roff prints each character as it is."""
    plain = text.replace("\\", "\\e").replace("-", "\\-")
    return _AT_LINE_START.sub(lambda _: "\\&", plain)
