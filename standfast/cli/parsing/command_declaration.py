"""How a command is declared: a function, what each of its parameters is, how it may end.

Owns the records that the words of a command line are read by (`words.py`) and that its help is
written from (`help.py`).

Rules
- A parameter is `Annotated[TYPE, Option(...)]` or `Annotated[TYPE, Argument(...)]`; what has a
  default may be left out. A type is str, Path, int, float or bool, or a list of one of them.
- A function's parameters are looked at when its command is asked for, not when it is declared.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import NoneType
from typing import Any, get_args, get_origin

from standfast.errors import ExitStatus

_OF_ANY = {ExitStatus.USAGE: "a word is mistyped, or the configuration is not right"}
_OF_A_LEDGER = {
    ExitStatus.FAILED: "the ledger does not answer",
    ExitStatus.DAMAGED: "the ledger is damaged",
}


class Argument:
    """What stands by its place: a word, or several where the type is a list."""

    def __init__(self, *, metavar: str = "", help: str = "") -> None:  # noqa: A002  # its usual name
        self.metavar, self.help = metavar, help


class Option:
    """What has a name: `--to`; `--sync/--no-sync` switches on and off. Its own name without any.

    `min` is the least that a number may be. A list is given by naming the option again. A path may
    be `-` where `takes_dash`, and means what the command says.
    """

    def __init__(
        self,
        *names: str,
        metavar: str = "",
        help: str = "",  # noqa: A002  # its usual name
        min: int | None = None,  # noqa: A002  # its usual name
        takes_dash: bool = False,
    ) -> None:
        self.names, self.metavar, self.help, self.min = names, metavar, help, min
        self.takes_dash = takes_dash


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a command; `kind` is its type, or that of its items where it is a list."""

    name: str
    declared: Argument | Option
    kind: type
    is_list: bool
    default: Any

    @property
    def is_required(self) -> bool:
        """Must it be given?"""
        return self.default is inspect.Parameter.empty

    @property
    def on(self) -> list[str]:
        """The names that an option has, those that switch it on; the shortest first."""
        if isinstance(self.declared, Argument):
            return []
        names = self.declared.names or (f"--{self.name.replace('_', '-')}",)
        return sorted((name.partition("/")[0] for name in names), key=lambda name: name[:2] == "--")

    @property
    def off(self) -> list[str]:
        """The names that switch an option off, where it has any."""
        names = self.declared.names if isinstance(self.declared, Option) else ()
        return [name.partition("/")[2] for name in names if "/" in name]

    @property
    def shown(self) -> str:
        """What an error calls it: the first long name of an option, the word of an argument."""
        return self.on[-1] if self.on else self.declared.metavar or self.name.upper()


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: `words` are its name from the program's on, `exits` how it may end and when."""

    words: tuple[str, ...]
    function: Callable[..., ExitStatus]
    exits: Mapping[ExitStatus, str]
    example: str

    @property
    def about(self) -> str:
        """What it does, from the function's docstring."""
        return inspect.getdoc(self.function) or ""

    @cached_property
    def parameters(self) -> list[Parameter]:
        """Its parameters, in the order in which they are declared."""
        return list(_parameters(self.function))


@dataclass(frozen=True, kw_only=True)
class Group:
    """Commands under one word; given no command, it shows its help."""

    words: tuple[str, ...]
    about: str
    parts: dict[str, "Command | Group"] = field(default_factory=dict)


def group(parent: Group, name: str, about: str) -> Group:
    """Add a group of commands."""
    made = Group(words=(*parent.words, name), about=about)
    parent.parts[name] = made
    return made


def command(
    parent: Group,
    name: str,
    *,
    exits: Mapping[ExitStatus, str],
    example: str,
    needs_ledger: bool = True,
) -> Callable[[Callable[..., ExitStatus]], None]:
    """Declare a command. `exits` gives, for each status that it can end with, when it does.

    What any command can end with, or any that needs the ledger, is added to them. The function is
    called with the `Call` and then its own parameters by name.
    """

    def declare(function: Callable[..., ExitStatus]) -> None:
        parent.parts[name] = Command(
            words=(*parent.words, name),
            function=function,
            exits={**_OF_ANY, **(_OF_A_LEDGER if needs_ledger else {}), **exits},
            example=example,
        )

    return declare


def _parameters(function: Callable[..., ExitStatus]) -> Iterator[Parameter]:
    _, *own = inspect.signature(function).parameters.values()
    for one in own:
        annotation, declared = get_args(one.annotation)
        (kind,) = {*(get_args(annotation) or [annotation])} - {NoneType}
        is_list = list in (get_origin(annotation), get_origin(kind))
        yield Parameter(
            name=one.name,
            declared=declared,
            kind=get_args(kind)[0] if get_origin(kind) is list else kind,
            is_list=is_list,
            default=one.default,
        )
