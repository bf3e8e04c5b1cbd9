"""Opening an incident and carrying it on: what `incident open` and `lock` have in common."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from standfast.cli.call import Call
from standfast.cli.carrying import carry_on
from standfast.cli.output import Line
from standfast.cli.passphrase import passphrase
from standfast.errors import ExitStatus
from standfast.records import Json

AsPerson = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="PERSON",
        help="Who opens it, signed in; without, each approval needs one more person.",
        show_default=False,
    ),
]
Exercise = Annotated[
    bool, typer.Option("--exercise", help="Twins only: nothing live can be reached.")
]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Only note it in the ledger; somebody else carries it on.")
]


def open_and_carry_on(
    call: Call,
    scenario: str,
    inputs: Mapping[str, str | list[str]],
    *,
    exercise: bool,
    as_person: str | None,
    no_wait: bool,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Open an incident in one commit; then follow or run it, unless nobody waits for it."""
    from standfast.operations.decisions import known_person
    from standfast.operations.incident import open_incident
    from standfast.records import Mode

    with call.place() as place:
        opened_by = None
        if as_person is not None:
            secret = passphrase(call, passphrase_file, as_person)
            opened_by = known_person(place, as_person, secret)
        opened = open_incident(
            place,
            scenario,
            inputs,
            mode=Mode.EXERCISE if exercise else Mode.LIVE,
            opened_by=opened_by,
        )
        incident_id = opened.incident
        if not no_wait:
            told: dict[str, Json] = {"has_joined": opened.has_joined}
            return carry_on(call, place, incident_id, told=told, before=[])
        has_serve = bool(place.ledger.runners.alive(None, place.clock()))
    next_step = (
        f"Next: `standfast incident status {incident_id}`; the running serve carries it on."
        if has_serve
        else f"No serve runs: `standfast incident resume {incident_id}` carries it on."
    )
    lines: list[Line] = [f"{incident_id} is open.", next_step]
    call.say({"incident": incident_id, "has_joined": opened.has_joined, "serve": has_serve}, lines)
    return ExitStatus.DONE
