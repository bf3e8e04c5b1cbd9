"""`standfast demo`: a made-up contact centre, its backups and its breach."""

import importlib
from pathlib import Path
from typing import Annotated

import typer

from standfast.cli.call import Call, command
from standfast.errors import ExitStatus, ExtraMissing


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(
        app,
        "demo",
        exits={
            ExitStatus.DONE: "the tour ended, and its page of results is written",
            ExitStatus.FAILED: "a part of the tour failed",
            ExitStatus.USAGE: "the extra `demo` is not installed",
        },
        example="standfast demo",
    )(demo)


def demo(
    call: Call,
    folder: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Where the contact centre is made."),
    ] = None,
) -> ExitStatus:
    """Make a contact centre, back it up, drill it, breach it, contain it, and undo."""
    try:
        tour = importlib.import_module("demo.tour")
    except ImportError as error:
        raise ExtraMissing(
            f"the demo cannot start, {error.name} is missing; it comes with the source: "
            "`make demo`, or pip install 'standfast[demo]'"
        ) from None
    return ExitStatus(tour.run(folder, as_json=call.as_json))
