"""Times of the last test of each playbook: an exercise or a live incident.

A playbook is the file that describes the response to one kind of incident.
"""

from datetime import datetime

from standfast.records import Mode
from standfast.usecases.core.installation import Installation
from standfast.usecases.exercises.tabletop import SCENARIO, exercises


def last_tested(installation: Installation) -> dict[str, datetime]:
    """Return the time of the last live incident or exercise of each playbook.

    A tabletop exercise (a discussion of a written scenario) without any answer is ignored.
    """
    at_a_table = {f"{SCENARIO}{exercise.name}": exercise.playbook for exercise in exercises()}
    return {
        at_a_table.get(row.scenario, row.scenario): row.opened_at
        for row in installation.ledger.incidents.all()
        if row.mode is not Mode.PLAN
        and (not row.scenario.startswith(SCENARIO) or _is_answered(installation, row.id))
    }


def _is_answered(installation: Installation, incident_id: str) -> bool:
    steps = installation.ledger.incidents.state(incident_id).steps
    return any(view.answer is not None for view in steps.values())
