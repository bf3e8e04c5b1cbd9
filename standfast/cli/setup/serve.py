"""`standfast serve`: schedules, triggers, console and open incidents."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from standfast.cli.parsing.commands import command
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import lost_answer
from standfast.errors import ExitStatus

if TYPE_CHECKING:
    from flows.serve_loop import BeginWork, Beside
    from standfast.usecases.core.installation import Installation


@command(
    "serve",
    exits={
        ExitStatus.DONE: "it was told to end, by SIGTERM or Ctrl-C, and did",
        ExitStatus.FAILED: "the ledger's database went away",
        ExitStatus.USAGE: "the configuration does not load",
        ExitStatus.REFUSED: "one serves this place on this machine already, or root was to, "
        "in another user's place",
    },
    example="standfast serve -c /etc/standfast/standfast.toml",
)
@click.pass_obj
def serve(call: Call) -> ExitStatus:
    """Run schedules, triggers, the console and open incidents.

    Backups run on their schedule. Triggers and the console listen on serve.host and serve.port. An
    incident is picked up within a second, even if Prefect does not respond. The command runs until
    SIGTERM or Ctrl-C ends it.
    """
    from flows.serve_process import serve as serve_until_told
    from standfast.console import beside

    config_file = call.config_file

    def told(installation: "Installation", begin_work: "BeginWork") -> "Sequence[Beside]":
        found = beside(
            installation, begin_work
        )  # what it may be refused for has been looked at by then
        call.say(
            {"serve": "begun", "config": str(config_file), "pid": os.getpid()},
            [f"Serving {config_file}; Ctrl-C or SIGTERM ends it."],
        )
        lost_answer()  # it ends the process itself, and serves also where nobody can be told
        return found

    return ExitStatus(serve_until_told(config_file, env=call.env, beside=told))
