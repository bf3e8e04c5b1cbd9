"""Opening of an incident by a command: in `serve`, or in this process.

`standfast serve` is the service that runs the incidents of an installation. If an error happens
after the opening, its message names the open incident.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.incident_progress import run_and_print
from standfast.cli.parsing.parameters import sign_in_options
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.passphrase import signed_in
from standfast.errors import ExitStatus, PlaybookInvalid, Problem

if TYPE_CHECKING:
    from standfast.usecases.core.installation import Installation
    from standfast.usecases.incidents.control_socket_client import OpenRequest
    from standfast.usecases.notices.affected_people import Added

opener_options = sign_in_options(
    "Sign in as this person; without a sign-in, each approval needs one more person."
)
exercise_option = click.option(
    "--exercise", is_flag=True, help="Run against simulators, which reach nothing live."
)


def open_and_run_incident(
    call: Call,
    scenario: str,
    inputs: Mapping[str, str | list[str]],
    *,
    is_exercise: bool,
    affected_csv: Path | None = None,
) -> ExitStatus:
    """Open an incident in one commit, then follow or run it.

    Without a sign-in and a list of affected people, the command asks a running `serve` of this
    machine to open the incident: `serve` has loaded the database already and is faster. The people
    in `affected_csv` are recorded before this process runs a step; if the file cannot be read,
    nothing is opened. With --no-wait, the command ends after the opening.
    """
    from standfast.usecases.core.installation import os_user
    from standfast.usecases.incidents import control_socket_client

    socket = None
    if call.as_person is None and affected_csv is None:
        socket = control_socket_client.control_socket_of(call.config_file)
    request = control_socket_client.OpenRequest(
        message=secrets.token_hex(16),
        configuration=socket.configuration if socket else "",
        scenario=scenario,
        inputs=inputs,
        mode="exercise" if is_exercise else "live",
        actor=os_user(),
    )
    answer = control_socket_client.ask(socket.home, request) if socket else None
    with call.installation() as installation:
        add_list = _reader_of_list(installation, affected_csv) if affected_csv else None
        if answer is not None:
            incident_id, has_joined = answer.incident, answer.has_joined
        else:
            opener = signed_in(call, installation)
            incident_id, has_joined = _open_here(
                installation, request, opener, is_asked=socket is not None
            )
        with _note_as_open(incident_id):
            if add_list is not None:
                add_list(incident_id, by=call.as_person)
            if not call.no_wait:
                return run_and_print(call, installation, incident_id, {"has_joined": has_joined})
            has_serve = bool(installation.ledger.runners.live(None, installation.clock()))
    next_step = (
        f"Next: `standfast incident status {incident_id}`; `standfast serve` works on it."
        if has_serve
        else "Nobody is working on it: no `standfast serve` runs. Continue: "
        f"`standfast incident resume {incident_id}`."
    )
    return call.print_result(
        {"incident": incident_id, "has_joined": has_joined, "serve": has_serve},
        [f"{incident_id} is open.", next_step],
    )


def _reader_of_list(installation: "Installation", affected_csv: Path) -> "Callable[..., Added]":
    """Check a list of affected people; return the function that adds it."""
    from standfast.usecases.notices.affected_people import Listing, add_affected, check_csv

    listing = Listing(csv=affected_csv)
    check_csv(installation, listing)
    return partial(add_affected, installation, listing=listing)


@contextmanager
def _note_as_open(incident_id: str) -> Iterator[None]:
    """Add a note to later errors: the incident is open already."""
    try:
        yield
    except Exception as error:
        error.add_note(
            f"{incident_id} is open. Correct the cause, then run the same command again, or "
            f"`standfast incident resume {incident_id}`: both continue it"
        )
        raise


def _open_here(
    installation: "Installation", request: "OpenRequest", opened_by: str | None, *, is_asked: bool
) -> tuple[str, bool]:
    """Open the incident in this process, or continue it if it is open.

    Returns its id, and whether it was open already. With `is_asked`, `serve` was asked first and
    did not respond in time, but may have opened the incident nevertheless.
    """
    from standfast.ledger.incidents.trigger_messages import TriggerMessage
    from standfast.records import Mode
    from standfast.usecases.incidents.control_socket_client import SOURCE
    from standfast.usecases.incidents.repeated_opening import open_or_continue

    try:
        opened = open_or_continue(
            installation,
            request.scenario,
            request.inputs,
            mode=Mode(request.mode),
            opened_by=opened_by,
            message=TriggerMessage(source=SOURCE, handle=request.message) if is_asked else None,
        )
    except PlaybookInvalid as error:
        raise PlaybookInvalid([*error.problems, _hint_alternatives(request)]) from None
    return opened.incident, opened.has_joined


def _hint_alternatives(request: "OpenRequest") -> Problem:
    """Return a problem; its hint names what to do without the playbook."""
    rehearse = "; to rehearse with simulators, add --exercise" * (request.mode != "exercise")
    return Problem(
        file=request.scenario,
        line=0,
        message="the playbook cannot run in this installation yet. Nothing was opened",
        hint="`standfast lock ACCOUNT…` locks accounts immediately without these settings; do "
        f"the other steps by hand: `standfast playbook show {request.scenario}`{rehearse}",
    )
