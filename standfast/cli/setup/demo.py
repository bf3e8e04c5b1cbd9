"""`standfast demo`: a fictional contact centre and its breach."""

import importlib
from pathlib import Path

import click

from standfast.cli.parsing.commands import command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.errors import ExitStatus, ExtraMissing, UsageError
from standfast.plurals import counted


@command(
    "demo",
    exits={
        ExitStatus.DONE: "the demo is complete, and its page of results is written",
        ExitStatus.FAILED: "a part of the demo failed",
        ExitStatus.USAGE: "the folder has other files or an earlier demo, or the extra `demo` is "
        "not installed",
    },
    example="standfast demo",
    needs_ledger=False,
)
@click.argument(
    "folder",
    required=False,
    type=FilePath(),
    metavar="[DIR]",
    help="The folder of the demo; by default ./demo-place.",
)
@click.option("--stop", is_flag=True, help="End the servers of an earlier demo.")
@click.option("--serve", is_flag=True, help="Start the servers of an earlier demo again.")
@click.option("--again", is_flag=True, help="Delete an earlier demo and all its files first.")
@click.pass_obj
def demo(call: Call, folder: Path | None, stop: bool, serve: bool, again: bool) -> ExitStatus:
    """Show backup, drill, breach and containment in a fictional company.

    The demo backs up a contact centre, restores it in a drill, contains a breach and undoes a wrong
    lock.
    """
    if stop + serve + again > 1:
        raise UsageError("arguments: --stop, --serve and --again exclude each other. Give one")
    try:
        tour = importlib.import_module("demo.tour")
    except ImportError as error:
        raise ExtraMissing(
            f"demo: the package {error.name} is missing. Install it in the source folder: `make "
            "demo`, or pip install -r requirements/demo.txt"
        ) from None
    if stop:
        ended = tour.stop(folder)
        return call.print_result({"ended": ended}, [f"{counted(ended, 'server')} ended."])
    if serve:
        running = {server.name: server.port for server in tour.serve(folder)}
        lines = [f"{name} listens on 127.0.0.1:{port}." for name, port in running.items()]
        return call.print_result({"ports": running}, lines)
    return ExitStatus(tour.run(folder, as_json=call.as_json, is_again=again))
