"""`standfast evidence`: what was frozen, and whether it still is what was sealed."""

from typing import Annotated

import typer

from standfast.cli.amounts import count
from standfast.cli.call import Call, command, group
from standfast.cli.output import Line, Table
from standfast.errors import ExitStatus


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    evidence = group(app, "evidence", "What was frozen, and whether it is what was sealed.")
    command(
        evidence,
        "list",
        exits={
            ExitStatus.DONE: "the sealed folders are listed; there may be none",
            ExitStatus.USAGE: "the evidence key is not where the configuration says",
        },
        example="standfast evidence list inc-2026-0001",
    )(list_evidence)
    command(
        evidence,
        "verify",
        exits={
            ExitStatus.DONE: "every copy, seal and chain of custody agrees",
            ExitStatus.USAGE: "nothing was frozen for that incident",
            ExitStatus.DAMAGED: "a copy is not what was sealed; it is named",
        },
        example="standfast evidence verify inc-2026-0001",
    )(verify)


def list_evidence(
    call: Call,
    incident: Annotated[
        str | None, typer.Argument(help="Of one incident; all without.", show_default=False)
    ] = None,
) -> ExitStatus:
    """List what was frozen: by incident and source, with its counts."""
    from standfast.config import load
    from standfast.operations.frozen import frozen

    found = frozen(load(call.config_file), incident)
    rows = [
        [one.incident, one.source, one.collected_at[:19], count(one.files, "file"), str(one.folder)]
        for one in found
    ]
    call.say(
        {"evidence": [one.as_json() for one in found]},
        [Table(rows=rows)] if rows else ["Nothing was frozen yet."],
    )
    return ExitStatus.DONE


def verify(call: Call, incident: Annotated[str, typer.Argument()]) -> ExitStatus:
    """Hold every copy against its seal."""
    from standfast.config import load
    from standfast.operations.frozen import verify_frozen

    found = verify_frozen(load(call.config_file), incident)
    damaged = [one for one in found if one.problems]
    status = ExitStatus.DAMAGED if damaged else ExitStatus.DONE
    lines: list[Line] = []
    for one in found:
        lines.append(f"{one.folder}: {'DAMAGED' if one.problems else 'whole'}")
        lines += [f"  {problem}" for problem in one.problems]
    lines += [
        "",
        f"{count(len(damaged), 'folder')} of {len(found)} is not what was sealed."
        if damaged
        else f"Whole: {count(len(found), 'sealed folder')}.",
    ]
    call.say(
        {
            "incident": incident,
            "is_whole": not damaged,
            "evidence": [one.as_json() for one in found],
            "exit_status": int(status),
        },
        lines,
    )
    return status
