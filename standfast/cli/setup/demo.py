"""`standfast demo`: a made-up contact centre, its backups and its breach."""

import importlib
from pathlib import Path
from typing import Annotated

from standfast.cli.parsing.command_declaration import Argument, Group, Option, command
from standfast.cli.terminal.invocation import Call
from standfast.errors import ExitStatus, ExtraMissing, UsageError


def add_to(app: Group) -> None:
    """Add the command."""
    command(
        app,
        "demo",
        exits={
            ExitStatus.DONE: "the tour ended, and its page of results is written",
            ExitStatus.FAILED: "a part of the tour failed",
            ExitStatus.USAGE: (
                "the folder is not the demo's, or holds an earlier one, or the extra `demo` is not "
                "installed"
            ),
        },
        example="standfast demo",
        needs_ledger=False,
    )(demo)


def demo(
    call: Call,
    folder: Annotated[
        Path | None,
        Argument(metavar="DIR", help="Where the contact centre is; ./demo-place without."),
    ] = None,
    stop: Annotated[bool, Option("--stop", help="End the servers of an earlier one.")] = False,
    serve: Annotated[
        bool, Option("--serve", help="Bring the servers of an earlier one back.")
    ] = False,
    again: Annotated[
        bool, Option("--again", help="Delete an earlier one, with all that is in it, first.")
    ] = False,
) -> ExitStatus:
    """Show it all on a made-up contact centre.

    It is backed up, drilled, breached, contained, and what was wrong is undone.
    """
    if stop + serve + again > 1:
        raise UsageError("--stop, --serve and --again exclude each other; name one")
    try:
        tour = importlib.import_module("demo.tour")
    except ImportError as error:
        raise ExtraMissing(
            f"the demo cannot start, {error.name} is missing; it comes with the source: "
            "`make demo`, or pip install -r requirements/demo.txt"
        ) from None
    if stop:
        ended = tour.stop(folder)
        call.say({"ended": ended}, [f"{ended} of its servers ran, and are ended."])
        return ExitStatus.DONE
    if serve:
        running = {one.name: one.port for one in tour.serve(folder)}
        lines = [f"{name} answers at 127.0.0.1:{port}." for name, port in running.items()]
        call.say({"ports": running}, lines)
        return ExitStatus.DONE
    return ExitStatus(tour.run(folder, as_json=call.as_json, is_again=again))
