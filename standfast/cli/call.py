"""How a command is declared: what every command takes, and what it may end with.

Owns `-c` and `--json`, which stand before or after a command's name, and the list of exit statuses
at the end of its help. Leaves parsing to typer.

Rules
- A command is a function of a `Call` and its own options that gives an `ExitStatus`.
- It declares every status that it can give, with an example of each; the help is made from that.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import typer
from typer.core import TyperCommand, TyperGroup

from standfast.cli.output import Line, Tell, print_json, print_lines, progress
from standfast.config_file import find_config
from standfast.errors import EXIT_STATUS_MEANING, ExitStatus, UsageError
from standfast.records import JsonObject

if TYPE_CHECKING:
    from standfast.config import Config
    from standfast.operations.place import Place

P = ParamSpec("P")

_CONFIG_NAMES = ("-c", "--config")

_EVERYWHERE = """\
Everywhere:
  -c, --config FILE  The configuration; else STANDFAST_CONFIG, else ./standfast.toml.
  --json             One JSON document on standard output.
"""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One invocation: where its place is, and how its answer is printed."""

    config: Path | None
    as_json: bool
    env: Mapping[str, str] = field(repr=False)

    @property
    def config_file(self) -> Path:
        """The configuration that is meant; ConfigurationError when there is none."""
        return find_config(self.config, self.env)

    @contextmanager
    def place(self) -> Iterator["Place"]:
        """Open the place that is meant."""
        from standfast.operations.place import open_place

        with open_place(self.config_file, env=self.env) as place:
            yield place

    def config_if_any(self) -> "Config | None":
        """The configuration where one is named or lies here; what is shipped works without."""
        from standfast.config import load
        from standfast.config_file import DEFAULT_FILE, VARIABLE

        if self.config is None and not self.env.get(VARIABLE) and not Path(DEFAULT_FILE).exists():
            return None
        return load(self.config_file)

    def say(self, document: JsonObject, lines: Iterable[Line]) -> None:
        """Print the answer: the document with `--json`, the lines otherwise."""
        if self.as_json:
            print_json(document)
        else:
            print_lines(lines)

    @contextmanager
    def progress(self) -> Iterator[Tell]:
        """Show long work to a person who watches."""
        with progress() as tell:
            yield tell


class _Command(TyperCommand):
    """A command whose epilog is printed as it is written."""

    def get_help_option(self, ctx: Any) -> Any:
        return _off(super().get_help_option(ctx))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        formatter.write(f"\n{_EVERYWHERE}\n{self.epilog}\n")


class Group(TyperGroup):
    """A group of commands; its help ends with the options that may stand everywhere."""

    def get_help_option(self, ctx: Any) -> Any:
        return _off(super().get_help_option(ctx))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        formatter.write(f"\n{_EVERYWHERE}")


def _off(help_option: Any) -> Any:
    """Let `--help` be off by default, not unset: to convert nothing typer would load pydantic."""
    if help_option is not None:
        help_option.default = False
    return help_option


def take_everywhere(arguments: Sequence[str], env: Mapping[str, str]) -> tuple["Call", list[str]]:
    """Take `-c FILE` and `--json` out of the arguments, wherever they stand before a `--`.

    Typer could do it, command by command, but the first value that it converts takes it 0.15 s.
    Raises UsageError when no file follows `-c`.
    """
    config: Path | None = None
    as_json = False
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == "--json":
            as_json = True
        elif word in _CONFIG_NAMES:
            if (value := next(words, None)) is None:
                raise UsageError(f"{word} takes the path of a configuration file")
            config = Path(value)
        elif word.startswith("--config="):
            config = Path(word.removeprefix("--config="))
        else:
            rest.append(word)
    return Call(config=config, as_json=as_json, env=env), rest


def group(parent: typer.Typer, name: str, about: str) -> typer.Typer:
    """Add a group of commands; given no command, it shows its help."""
    made = typer.Typer(cls=Group, no_args_is_help=True, rich_markup_mode=None, add_completion=False)
    parent.add_typer(made, name=name, help=about)
    return made


def command(
    parent: typer.Typer,
    name: str,
    *,
    exits: Mapping[ExitStatus, str],
    example: str,
) -> Callable[[Callable[Concatenate[Call, P], ExitStatus]], Callable[..., ExitStatus]]:
    """Declare a command. `exits` gives, for each status that it can end with, when it does."""

    def declare(
        function: Callable[Concatenate[Call, P], ExitStatus],
    ) -> Callable[..., ExitStatus]:
        def run(context: typer.Context, **given: Any) -> ExitStatus:
            return function(context.obj, **given)  # type: ignore[call-arg]  # as typer parsed them

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        first = inspect.signature(run, eval_str=True).parameters["context"]
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what typer reads
            [first, *(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own)]
        )
        run.__annotations__ |= {parameter.name: parameter.annotation for parameter in own}
        parent.command(
            name, cls=_Command, help=inspect.getdoc(function), epilog=_epilog(exits, example)
        )(run)
        return run

    return declare


def _epilog(exits: Mapping[ExitStatus, str], example: str) -> str:
    lines = ["Exit statuses:"]
    for status in sorted(exits):
        lines.append(f"  {status.value}  {EXIT_STATUS_MEANING[status]}")
        lines.append(f"     e.g. {exits[status]}")
    return "\n".join([*lines, "", "Example:", f"  {example}"])
