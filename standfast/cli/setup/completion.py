"""`standfast completion`: complete commands and options in a shell."""

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from standfast.cli.parsing.commands import command
from standfast.cli.terminal.invocation import COMPLETION_VARIABLE, PROGRAM, Call
from standfast.errors import ExitStatus

_SHELLS: dict[str, type[ShellComplete]] = {
    "bash": BashComplete,
    "zsh": ZshComplete,
    "fish": FishComplete,
}


@command(
    "completion",
    exits={ExitStatus.DONE: "the script is printed"},
    example="standfast completion bash > ~/.local/share/bash-completion/completions/standfast",
    needs_ledger=False,
)
@click.argument("shell", type=click.Choice(list(_SHELLS)), help="Your shell.")
@click.pass_context
def completion(context: click.Context, shell: str) -> ExitStatus:
    """Print a script that completes commands and options in a shell.

    Evaluate the script in the start-up file of the shell, or save it in the shell's folder of
    completions.
    """
    call: Call = context.obj
    completer = _SHELLS[shell](context.find_root().command, {}, PROGRAM, COMPLETION_VARIABLE)
    script = completer.source()
    return call.print_result({"shell": shell, "script": script}, [script])
