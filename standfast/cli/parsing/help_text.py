"""The help of a command or a group, written from its declaration."""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from standfast.cli.parsing.command_declaration import Argument, Command, Group, Parameter
from standfast.errors import EXIT_STATUS_MEANING

_WIDEST = 78
_WIDEST_NAME = 30
_EVERYWHERE = """\
Everywhere:
  -c, --config FILE  The configuration; else STANDFAST_CONFIG, else ./standfast.toml.
  --json             One JSON document on standard output.
"""
_HELP = ("-h, --help", "Show this message and exit.")
_TAKES = {str: "TEXT", Path: "PATH", int: "N", float: "NUMBER"}
_VERSION = ("--version", "Print which version this is.")


def help_of(at: Command | Group) -> str:
    """Write the help, as wide as the terminal and 78 columns at most; no line end after it."""
    width = max(min(shutil.get_terminal_size().columns - 2, _WIDEST), 50)
    return "\n".join(_parts(at, width)).rstrip("\n")


def _parts(at: Command | Group, width: int) -> Iterator[str]:
    if isinstance(at, Group):
        takes, arguments, options = ["COMMAND", "[ARGS]..."], [], []
    else:
        takes = [_usage(one) for one in at.parameters if not one.on]
        arguments = [_row(one) for one in at.parameters if not one.on]
        options = [_row(one) for one in at.parameters if one.on]
    usage = f"Usage: {' '.join(at.words)} "
    yield _filled(f"{usage}[OPTIONS] {' '.join(takes)}".rstrip(), width, " " * len(usage), "")
    for paragraph in at.about.split("\n\n"):
        yield _filled(" ".join(paragraph.split()), width, "  ")
    if arguments:
        yield _table("Arguments", arguments, width)
    if len(at.words) == 1:
        options = [_VERSION]
    yield _table("Options", [*options, _HELP], width)
    if isinstance(at, Group):
        groups = {name: isinstance(one, Group) for name, one in at.parts.items()}
        rows = [
            (name, " ".join(_sentence(at.parts[name].about).split()))
            for name in sorted(groups, key=groups.__getitem__)
        ]
        yield _table("Commands", rows, width)
    yield _EVERYWHERE
    if len(at.words) == 1 and (pages := _pages()) is not None:
        yield f"Pages that messages name, such as docs/accounts.md:\n  {pages}\n"
    if isinstance(at, Command):
        lines = [
            f"  {status.value}  {EXIT_STATUS_MEANING[status]}\n     e.g. {at.exits[status]}"
            for status in sorted(at.exits)
        ]
        yield "\n".join(["Exit statuses:", *lines, "", "Example:", f"  {at.example}", ""])


def _pages() -> Path | None:
    """Give the folder that `docs` and `deploy` are in: the repository's, or what was installed."""
    repository = Path(__file__).parents[3]
    if (repository / "pyproject.toml").is_file():
        return repository
    installed = Path(sys.prefix, "share/doc/standfast")
    return installed if installed.is_dir() else None


def _usage(one: Parameter) -> str:
    brackets = "{%s}" if one.is_required else "[%s]"
    return brackets % one.shown.removesuffix("...") + ("..." if one.is_list else "")


def _row(one: Parameter) -> tuple[str, str]:
    """Give what is written of a parameter: its names, and all that is said about it."""
    notes = []
    if isinstance(one.declared, Argument):
        names = one.shown
    elif one.kind is bool:
        names = " / ".join([", ".join(one.on), *one.off])
        usual = (one.on if one.default else one.off)[-1:]
        notes = [f"default: {usual[0].lstrip('-')}"] if one.off else []
    else:
        names = f"{', '.join(one.on)} {one.declared.metavar or _TAKES[one.kind]}"
        notes = [] if one.is_required or not one.default else [f"default: {one.default}"]
        notes += [] if one.declared.min is None else [f"x>={one.declared.min}"]
    notes += ["required"] if one.is_required else []
    said = [one.declared.help] if one.declared.help else []
    return names, "  ".join([*said, *(f"[{'; '.join(notes)}]" for _ in notes[:1])])


def _table(heading: str, rows: Sequence[tuple[str, str]], width: int) -> str:
    column = min(max(len(name) for name, _ in rows), _WIDEST_NAME) + 2
    lines = [f"{heading}:"]
    for name, said in rows:
        first, *more = textwrap.wrap(said, width - column - 2, replace_whitespace=False) or [""]
        fits = len(name) <= column - 2
        lines += [] if fits else [f"  {name}"]
        lines.append(f"  {name if fits else '':{column}}{first}".rstrip())
        lines += [" " * (column + 2) + line for line in more]
    return "\n".join([*lines, ""])


def _filled(text: str, width: int, indent: str, first: str | None = None) -> str:
    start = indent if first is None else first
    return textwrap.fill(text, width, initial_indent=start, subsequent_indent=indent) + "\n"


def _sentence(about: str) -> str:
    return re.split(r"\n\n|(?<=\.)\s", about, maxsplit=1)[0]
