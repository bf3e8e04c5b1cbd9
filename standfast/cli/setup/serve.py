"""`standfast serve` and `standfast worker`: schedules and incidents.

Prefect schedules the work of an installation. A trigger is a configured way to open an incident
from outside, such as a webhook.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from flows.roles import ROLES, role_named
from standfast.cli.parsing.commands import command
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import flush_output
from standfast.errors import ConfigurationError, ExitStatus

if TYPE_CHECKING:
    from flows.serve_loop import BeginWork, ServePart
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
    help="Do only the work of this role: api (console, triggers, metrics, pages), watch (alarms), "
    "respond (open incidents, pages), worker (scheduled work of this host, except drills), drills "
    "(scheduled drills; no backups, incidents or ports).",
)
@click.pass_obj
def serve(call: Call, role: str | None) -> ExitStatus:
    """Run schedules, triggers, the console and open incidents.

    Backups run on their schedule. Triggers and the console listen on serve.host and serve.port. An
    incident is picked up within a second, even if Prefect does not respond. The command runs until
    SIGTERM or Ctrl-C ends it.
    """
    return _serve(call, role)


@command(
    "worker",
    exits={
        ExitStatus.DONE: "SIGTERM or Ctrl-C ended it",
        ExitStatus.USAGE: "the configuration cannot be loaded, or has no serve.prefect",
        ExitStatus.REFUSED: "another worker of this installation runs on this machine",
    },
    example="standfast worker -c /etc/standfast/standfast.toml",
)
@click.option("--drills", is_flag=True, help="Run drills instead, on a drill machine.")
@click.pass_obj
def worker(call: Call, drills: bool) -> ExitStatus:
    """Run the work that the site's Prefect assigns to this host.

    The worker runs the scheduled work of this host, and the incidents of any host, each in a
    process of its own. It equals `serve --role worker` with the Prefect that serve.prefect names,
    and waits until that Prefect responds.
    """
    from standfast.config import load

    if load(call.config_file).serve.prefect is None:
        raise ConfigurationError(
            "serve.prefect: missing. Set it to the API of the site's Prefect, or run `standfast "
            "serve`, which starts its own."
        )
    return _serve(call, "drills" if drills else "worker")


def _serve(call: Call, role: str | None) -> ExitStatus:
    from flows import serve_process
    from standfast.console import serve_parts

    config_file = call.config_file

    def parts_of(installation: "Installation", begin_work: "BeginWork") -> "Sequence[ServePart]":
        # `serve_process` calls this after all checks that can prevent the start.
        parts = serve_parts(installation, begin_work, role_named(role))
        call.print_result(
            {"serve": "begun", "config": str(config_file), "pid": os.getpid()},
            [f"Serving {config_file}; Ctrl-C or SIGTERM ends it."],
        )
        flush_output()  # `serve` continues even if its output cannot be written
        return parts

    return ExitStatus(
        serve_process.serve(config_file, env=call.env, role_name=role, parts_of=parts_of)
    )
