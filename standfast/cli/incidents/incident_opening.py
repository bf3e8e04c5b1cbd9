"""Opening of an incident, shared by `incident open` and `lock`."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.incident_progress import carry_on
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line
from standfast.cli.terminal.passphrase import passphrase
from standfast.errors import ExitStatus, PlaybookInvalid, Problem
from standfast.records import Json

if TYPE_CHECKING:
    from standfast.usecases.core.installation import Installation
    from standfast.usecases.incidents.control_socket_client import OpenRequest

as_person_option = click.option(
    "--as",
    "as_person",
    metavar="PERSON",
    help="Who opens it, signed in; without, each approval needs one more person.",
)
exercise_option = click.option(
    "--exercise", is_flag=True, help="Rehearse with stand-ins: nothing live can be reached."
)
no_wait_option = click.option(
    "--no-wait", is_flag=True, help="Only note it in the ledger; somebody else carries it on."
)


def open_and_run_incident(
    call: Call,
    scenario: str,
    inputs: Mapping[str, str | list[str]],
    *,
    exercise: bool,
    as_person: str | None,
    no_wait: bool,
    passphrase_file: Path | None,
) -> ExitStatus:
    """Open an incident in one commit, then follow or run it.

    Without a sign-in, a running `serve` of this machine opens it, which is faster than loading the
    ledger in this process. With `no_wait` the command ends after the opening.
    """
    from standfast.usecases.core.installation import os_user
    from standfast.usecases.incidents import control_socket_client

    door = (
        None if as_person is not None else control_socket_client.control_socket_of(call.config_file)
    )
    wanted = control_socket_client.OpenRequest(
        message=secrets.token_hex(16),
        configuration=door.configuration if door else "",
        scenario=scenario,
        inputs=inputs,
        mode="exercise" if exercise else "live",
        actor=os_user(),
    )
    answer = control_socket_client.ask(door.home, wanted) if door else None
    with call.installation() as installation:
        if answer is not None:
            incident_id, has_joined = answer.incident, answer.has_joined
        else:
            who = _signed_in(call, installation, as_person, passphrase_file)
            incident_id, has_joined = _opened_here(
                installation, wanted, who, is_asked=door is not None
            )
        with _noted_as_open(incident_id):
            if not no_wait:
                details: dict[str, Json] = {"has_joined": has_joined}
                return carry_on(call, installation, incident_id, details=details, before=[])
            has_serve = bool(installation.ledger.runners.alive(None, installation.clock()))
    next_step = (
        f"Next: `standfast incident status {incident_id}`; `standfast serve` works on it."
        if has_serve
        else "Nobody is working on it: no `standfast serve` runs. Continue: "
        f"`standfast incident resume {incident_id}`."
    )
    lines: list[Line] = [f"{incident_id} is open.", next_step]
    call.say({"incident": incident_id, "has_joined": has_joined, "serve": has_serve}, lines)
    return ExitStatus.DONE


@contextmanager
def _noted_as_open(incident_id: str) -> Iterator[None]:
    """Add a note to later errors: the incident is open already."""
    try:
        yield
    except Exception as error:
        error.add_note(
            f"{incident_id} is open. Repair this, then run the same command again, or `standfast "
            f"incident resume {incident_id}`: both continue it."
        )
        raise


def _signed_in(
    call: Call, installation: "Installation", as_person: str | None, passphrase_file: Path | None
) -> str | None:
    if as_person is None:
        return None
    from standfast.usecases.approvals.step_decisions import authenticated_person

    return authenticated_person(
        installation, as_person, passphrase(call, passphrase_file, as_person)
    )


def _opened_here(
    installation: "Installation", wanted: "OpenRequest", opened_by: str | None, *, is_asked: bool
) -> tuple[str, bool]:
    """Open the incident in this process.

    If a `serve` that was asked first has opened it already, this is the same incident.
    """
    from standfast.ledger.incidents.trigger_messages import TriggerMessage
    from standfast.records import Mode
    from standfast.usecases.incidents.control_socket_client import SOURCE
    from standfast.usecases.incidents.repeated_opening import open_or_continue

    try:
        opened = open_or_continue(
            installation,
            wanted.scenario,
            wanted.inputs,
            mode=Mode(wanted.mode),
            opened_by=opened_by,
            message=TriggerMessage(source=SOURCE, handle=wanted.message) if is_asked else None,
        )
    except PlaybookInvalid as error:
        raise PlaybookInvalid([*error.problems, _meanwhile(wanted)]) from None
    return opened.incident, opened.has_joined


def _meanwhile(wanted: "OpenRequest") -> Problem:
    """Return the problem that names alternatives to the playbook."""
    rehearse = "; to rehearse with stand-ins: add --exercise" * (wanted.mode != "exercise")
    return Problem(
        file=wanted.scenario,
        line=0,
        message="cannot be carried out here yet, so nothing was opened",
        hint="`standfast lock ACCOUNT…` locks at once and needs none of these; the steps by hand: "
        f"`standfast playbook show {wanted.scenario}`{rehearse}",
    )
