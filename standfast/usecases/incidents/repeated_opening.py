"""Continuation of the unfinished incident of a repeated command.

Reason: a command may fail after its incident was committed, for example on a full disk. If the
repeated command opened a second incident, the same accounts would be locked, and the same people
notified, again.

Rules
- Two requests are the same if they have the same playbook, mode, inputs and requester. (A playbook
  is the file that describes the response to one kind of incident.)
- The incident of the earlier request is continued if it has work left that needs no person.
- If that incident is stopped, closed, done or waits for a person, a new incident is opened: an
  account may have to be locked again.
"""

from collections.abc import Mapping

from standfast.ledger.incidents.trigger_messages import TriggerMessage
from standfast.playbook.parser.input_values import load_inputs
from standfast.records import Mode, canonical
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import Opened, has_work, open_incident
from standfast.usecases.playbooks import library


def open_or_continue(
    installation: Installation,
    scenario: str,
    inputs: Mapping[str, str | list[str]],
    *,
    mode: Mode,
    opened_by: str | None = None,
    message: TriggerMessage | None = None,
) -> Opened:
    """Open an incident, or return the unfinished incident of the same request."""
    playbook = library.find(installation.config, scenario, is_rehearsed=mode is Mode.EXERCISE)
    typed = canonical(load_inputs(playbook, inputs))
    requester = (opened_by or installation.actor, opened_by is not None)
    for row in installation.ledger.incidents.all(only_open=True):
        if (
            (row.playbook, row.mode) == (playbook.source, mode)
            and (row.opened_by, row.is_signed) == requester
            and canonical(row.inputs) == typed
            and not row.is_stopped
            and has_work(installation, row.id)
        ):
            return Opened(incident=row.id, has_joined=True)
    return open_incident(
        installation,
        scenario,
        inputs,
        mode=mode,
        opened_by=opened_by,
        message=message,
        playbook=playbook,
    )
