"""From the words of a command line to a command and its values.

Owns which command is meant, the conversion of values, and every message about words that do not
fit. Leaves options and their values to `argparse`, what a command takes to `declared.py`.

Rules
- Options and arguments may be mixed; after `--` everything is an argument.
- An option is written out: a shorter name may come to mean another one in the next version.
- Help is asked for by `--help` or `-h` anywhere, and by `help` in place of a command.
- A command that is not there is answered with those of its name under other words, before what is
  only spelled like it.
"""

from argparse import SUPPRESS, ArgumentError, ArgumentParser, HelpFormatter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from standfast.cli.parsing.command_declaration import Command, Group, Option, Parameter
from standfast.errors import UsageError

HELP = "--help"
_HELP_NAMES = ("-h", HELP)
_HELP_WORD = "help"
# It writes nothing here, but would ask how wide the terminal is, with two milliseconds of imports.
_NO_FORMATTER = partial(HelpFormatter, width=0)
# What undoes a lock has another name, and what is spelled like it would do the opposite.
_OTHERWISE_NAMED = {"unlock": "incident undo"}
_MOST_NAMESAKES = 3


class CommandLineError(UsageError):
    """The words do not fit; the message ends with where to read on."""

    def __init__(self, message: str, at: Command | Group) -> None:
        super().__init__(f"{message}\nSee `{' '.join(at.words)} {HELP}`.")


def find(root: Group, words: Sequence[str]) -> tuple[Command | Group, list[str]]:
    """Give what the first words name, a command or a group, and the words after its name."""
    at: Command | Group = root
    rest = list(words)
    asked: list[str] = []
    while isinstance(at, Group) and rest and not rest[0].startswith("-"):
        word = rest.pop(0)
        if word == _HELP_WORD:
            asked = [HELP]
            continue
        if word not in at.parts:
            near = _meant(word, at, root)
            maybe = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise CommandLineError(f"No such command {word!r}.{maybe}", at)
        at = at.parts[word]
    if isinstance(at, Group) and rest and rest[0] not in _HELP_NAMES:
        raise CommandLineError(f"No such option: {rest[0]}", at)
    return at, [*asked, *rest]


def values_of(command: Command, words: Sequence[str]) -> dict[str, Any] | None:
    """Read the words after a command's name: a value a parameter, or None where help is wanted."""
    given, rest = _options(command, words)
    if HELP in given:
        return None
    values = {}
    for one in command.parameters:
        if one.on:
            found = given.get(one.name, [])
        elif one.is_list:
            found, rest = rest, []
        else:
            found, rest = rest[:1], rest[1:]
        values[one.name] = _value(one, found, command)
    if rest:
        raise CommandLineError(f"Got unexpected extra argument(s) ({' '.join(rest)})", command)
    return values


def _meant(word: str, at: Group, root: Group) -> list[str]:
    """Give what was probably meant: commands of that very name elsewhere, else the nearest here."""
    if word in _OTHERWISE_NAMED:
        return [_OTHERWISE_NAMED[word]]
    namesakes = [" ".join(one.words[1:]) for one in _commands(root) if one.words[-1] == word]
    return namesakes if 0 < len(namesakes) <= _MOST_NAMESAKES else _nearest(word, at.parts)


def _commands(at: Group) -> Iterator[Command]:
    for part in at.parts.values():
        if isinstance(part, Group):
            yield from _commands(part)
        else:
            yield part


def _nearest(word: str, known: Iterable[str]) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(word, list(known))


def _options(command: Command, words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Separate the options, by the names of their parameters, from the arguments."""
    parser = ArgumentParser(
        add_help=False,
        allow_abbrev=False,
        argument_default=SUPPRESS,
        exit_on_error=False,
        formatter_class=_NO_FORMATTER,
    )
    parser.add_argument(*_HELP_NAMES, dest=HELP, action="store_true")
    for one in command.parameters:
        if one.on and one.kind is not bool:
            parser.add_argument(*one.on, dest=one.name, action="append")
        elif one.on:
            parser.add_argument(*one.on, dest=one.name, action="store_true")
            for name in one.off:
                parser.add_argument(name, dest=one.name, action="store_false")
    try:
        found, rest = parser.parse_known_args(words)
    except ArgumentError as error:
        name = (error.argument_name or "").rpartition("/")[2]
        flags = {name for one in command.parameters if one.kind is bool for name in one.on}
        needs = "does not take a value" if name in {HELP, *flags} else "requires an argument"
        raise CommandLineError(f"Option {name!r} {needs}.", command) from None
    end = rest.index("--") if "--" in rest else len(rest)
    for word in rest[:end]:
        if word.startswith("-") and word != "-":
            raise _unknown(word, command)
    return vars(found), rest[:end] + rest[end + 1 :]


def _unknown(word: str, command: Command) -> CommandLineError:
    name = word.partition("=")[0] if word.startswith("--") else word[:2]
    known = [HELP, *(name for one in command.parameters for name in [*one.on, *one.off])]
    near = sorted(_nearest(name, known))
    maybe = f" (Possible options: {', '.join(near)})" if near else ""
    return CommandLineError(f"No such option: {name}{maybe}", command)


def _value(one: Parameter, found: Any, command: Command) -> Any:
    """Give a parameter's value: from what was found, a list of words or a flag, or its default."""
    if found == []:
        if one.is_required:
            what = "option" if one.on else "argument"
            raise CommandLineError(f"Missing {what} {one.shown!r}.", command)
        return one.default
    if one.kind is bool:
        return found
    values = [_converted(one, text, command) for text in found]
    return values if one.is_list else values[-1]


def _converted(one: Parameter, text: str, command: Command) -> Any:
    is_dash = text == "-" and not getattr(one.declared, "takes_dash", False)
    if one.kind is Path and (is_dash or not text):  # of an empty one `Path` makes this folder
        message = (
            f"Invalid value for {one.shown!r}: name a file or folder; {text!r} stands for none."
        )
        raise CommandLineError(message, command)
    if one.kind in (str, Path):
        return one.kind(text)
    least = one.declared.min if isinstance(one.declared, Option) else None
    try:
        number = one.kind(text)
    except ValueError:
        fits = "whole number" if one.kind is int else "number"
        message = f"Invalid value for {one.shown!r}: {text!r} is no {fits}."
        raise CommandLineError(message, command) from None
    if least is not None and number < least:
        raise CommandLineError(f"Invalid value for {one.shown!r}: it is {least} at least.", command)
    return number
