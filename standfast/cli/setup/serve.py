"""`standfast serve`: schedules, triggers, console and open incidents."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from flows.roles import ROLES, role_named
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
        ExitStatus.DONE: "SIGTERM or Ctrl-C ended it",
        ExitStatus.FAILED: "the database of the ledger no longer responds",
        ExitStatus.USAGE: "the configuration cannot be loaded",
        ExitStatus.REFUSED: "another `standfast serve` of this installation runs on this machine, "
        "or root ran it in the installation of another user",
    },
    example="standfast serve -c /etc/standfast/standfast.toml",
)
@click.option(
    "--role",
    type=click.Choice([*ROLES]),
    help="Do only the work of this role. drills: run drills by schedule; back up nothing, resume "
    "no incident, listen at no port.",
)
@click.pass_obj
def serve(call: Call, role: str | None) -> ExitStatus:
    """Run schedules, triggers, the console and open incidents.

    Backups run on their schedule. Triggers and the console listen on serve.host and serve.port. An
    incident is picked up within a second, even if Prefect does not respond. The command runs until
    SIGTERM or Ctrl-C ends it.
    """
    from flows import serve_process
    from standfast.console import beside

    config_file = call.config_file

    def start_services(installation: "Installation", begin_work: "BeginWork") -> "Sequence[Beside]":
        # Every check that may refuse is done by then.
        services = beside(installation, begin_work) if role_named(role).responds else ()
        call.say(
            {"serve": "begun", "config": str(config_file), "pid": os.getpid()},
            [f"Serving {config_file}; Ctrl-C or SIGTERM ends it."],
        )
        lost_answer()  # `serve` continues even if its output cannot be written
        return services

    return ExitStatus(
        serve_process.serve(config_file, env=call.env, role_name=role, beside=start_services)
    )
