"""Commands and groups on top of click: exit statuses, hints for typos.

    @command("close", exits={ExitStatus.DONE: "it is closed"}, example="standfast incident close")
    @click.argument("incident", required=False, help="May be left out when one is open.")
    @click.pass_obj
    def close(call: Call, incident: str | None) -> ExitStatus: ...

    incident = Group("incident", help="Open and close incidents.", commands=[close])

Rules
- Every command and every group takes `-c FILE`, `--json` and `--help`.
- `help` before a command equals `--help` after it.
- For an unknown command, suggest commands of the same name in other groups, then similar names.
- An option cannot be abbreviated: a later version may add an option with the same first letters.
- The name of an option is never read as the value of another option, unless the value is written as
  `--option=--name`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import click

from standfast.cli.parsing.parameters import FilePath
from standfast.errors import EXIT_STATUS_MEANING, ExitStatus

_ANY_EXITS = {ExitStatus.USAGE: "an argument or the configuration is not valid"}
_LEDGER_EXITS = {
    ExitStatus.FAILED: "the database of the ledger does not respond",
    ExitStatus.DAMAGED: "the ledger is damaged",
}
# The most similar name to `unlock` is `lock`, which would do the opposite.
_SYNONYMS = {"unlock": "incident undo"}
_MAX_SUGGESTIONS = 3
_MAX_SENTENCE_LENGTH = 500  # more than any first sentence: click would end a longer one in "..."


def _use_config(context: click.Context, _option: click.Parameter, file: Path | None) -> None:
    if file is not None:
        context.obj = replace(context.obj, config=file)


def _show_help(context: click.Context, _option: click.Parameter, is_given: bool) -> None:
    if is_given and not context.resilient_parsing:
        text = context.get_help()
        context.obj.print_result({"help": text}, [text])
        context.exit()


_COMMON_OPTIONS = (
    click.Option(
        ["-c", "--config"],
        type=FilePath(),
        metavar="FILE",
        expose_value=False,
        callback=_use_config,
        help="The configuration file. Default: the file that STANDFAST_CONFIG names, or "
        "./standfast.toml.",
    ),
    click.Option(
        ["--json"],  # `main` looks for it before the parsing, so that every error is JSON
        is_flag=True,
        expose_value=False,
        help="Print one JSON document on standard output.",
    ),
    click.Option(
        ["-h", "--help"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_show_help,
        help="Show this message and exit.",
    ),
)


class _CommonOptions(click.Command):
    """The options of every command and group."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.add_help_option = False
        self.params += _COMMON_OPTIONS

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words; add this command's context to a UsageError."""
        try:
            self._refuse_option_names_as_values(args)
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def _refuse_option_names_as_values(self, args: Sequence[str]) -> None:
        """Raise BadOptionUsage if the value of an option is an option's name.

        For `lock alice --reason --exercise`, click would read `--exercise` as the reason and lock
        the live account.
        """
        options = [option for option in self.params if isinstance(option, click.Option)]
        names = {name for option in options for name in (*option.opts, *option.secondary_opts)}
        with_value = {name for option in options if not option.is_flag for name in option.opts}
        for word, next_word in pairwise(takewhile(lambda word: word != "--", args)):
            if word in with_value and next_word in names:
                raise click.BadOptionUsage(word, f"Option {word!r} requires an argument.")

    def get_short_help_str(self, limit: int = _MAX_SENTENCE_LENGTH) -> str:
        """Return the whole first sentence of the help."""
        return super().get_short_help_str(max(limit, _MAX_SENTENCE_LENGTH))


class Command(_CommonOptions):
    """A command with an example, and with a case of each exit status."""

    def __init__(
        self,
        *args: Any,
        exits: Mapping[ExitStatus, str],
        example: str,
        needs_ledger: bool,
        **attributes: Any,
    ) -> None:
        super().__init__(*args, **attributes)
        self.exits = {**_ANY_EXITS, **(_LEDGER_EXITS if needs_ledger else {}), **exits}
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit statuses and the example."""
        formatter.write("\nExit statuses:\n")
        for status in sorted(self.exits):
            formatter.write(f"  {status.value}  {EXIT_STATUS_MEANING[status]}\n")
            formatter.write(f"     e.g. {self.exits[status]}\n")
        formatter.write(f"\nExample:\n  {self.example}\n")


class Group(_CommonOptions, click.Group):
    """A group of commands; if no command is named, its help is the error."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which the group lists them."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command; UsageError with suggestions for an unknown one."""
        if args[0] == "help":
            args = [*args[1:], "--help"]
            if args[0].startswith("-"):
                self.parse_args(ctx, args)  # shows the help of this group and exits
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            similar = " or ".join(map(repr, self._suggestions(ctx, name)))
            hint = f" Did you mean {similar}?" if similar else ""
            raise click.UsageError(f"No such command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def _suggestions(self, context: click.Context, name: str) -> Sequence[str]:
        if name in _SYNONYMS:
            return [_SYNONYMS[name]]
        root = context.find_root().command
        same_name = [
            " ".join(words) for words, _ in leaf_commands(root) if words and words[-1] == name
        ]
        if 0 < len(same_name) <= _MAX_SUGGESTIONS:
            return same_name
        return get_close_matches(name, self.list_commands(context))


class LazyGroup(Group):
    """A group that imports the module of a command at its first use.

    `modules` maps the name of each command to its module, which defines the command under that
    name.
    """

    def __init__(self, *args: Any, modules: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the modules."""
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None for an unknown name."""
        if cmd_name not in self._modules:
            return None
        found: click.Command = getattr(
            import_module(self._modules[cmd_name]), cmd_name.replace("-", "_")
        )
        return found


def command(
    name: str, *, exits: Mapping[ExitStatus, str], example: str, needs_ledger: bool = True
) -> Callable[[Callable[..., ExitStatus]], Command]:
    """Declare a command. Its help is the function's docstring.

    The statuses that every command has, and those of a command that needs the ledger (the
    database), are added to `exits`.
    """
    return click.command(name, cls=Command, exits=exits, example=example, needs_ledger=needs_ledger)


def leaf_commands(
    at: click.Command, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command that is not a group, with the words of its name."""
    if not isinstance(at, click.Group):
        yield words, at
        return
    context = click.Context(at)
    for name in at.list_commands(context):
        if (found := at.get_command(context, name)) is not None:
            yield from leaf_commands(found, (*words, name))
