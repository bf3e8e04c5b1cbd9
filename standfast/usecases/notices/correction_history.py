"""Valid corrections of a notice, and the audience name of a correction.

A notice is a message to the people that an incident concerns; a step of the incident sends it. A
correction is a second notice to the recipients of a wrong notice.
"""

from standfast.ledger.messages.sent_messages import first_message, individual_messages
from standfast.playbook.run_state import HELD_STEP_PREFIX
from standfast.usecases.core.additional_steps import CORRECTS
from standfast.usecases.core.installation import Installation


def valid_corrections(installation: Installation, incident_id: str, step_name: str) -> list[str]:
    """Return the steps that correct a notice, newest last.

    Omit corrections that an approver refused.
    """
    refused = installation.ledger.steps.refused(incident_id)
    return [
        row.step
        for row in installation.ledger.notices.of_incident(incident_id)
        if row.step.startswith(CORRECTS)
        and row.audience == correction_audience(step_name)
        and (row.step, row.round) not in refused
    ]


def newest_correction(installation: Installation, incident_id: str, step_name: str) -> str:
    """Return the newest correction of the text that a step sent, or "".

    The step is a notice, a correction of a notice, or an individual notice (to one recipient about
    whom a person had to decide). Omit corrections that are older than the step.
    """
    effects = installation.ledger.effects
    rows = installation.ledger.notices.of_incident(incident_id)
    began = {row.step: number for number, row in enumerate(rows)}
    if step_name not in began:
        return ""
    first = step_name
    if step_name.startswith(CORRECTS):
        first = rows[began[step_name]].audience.removeprefix(correction_audience(""))
    elif step_name.startswith(HELD_STEP_PREFIX):
        individual = [
            row for row in individual_messages(effects, incident_id) if row.step == step_name
        ]
        first = next((first_message(effects, row).step for row in individual), step_name)
    later = [
        name
        for name in valid_corrections(installation, incident_id, first)
        if began[name] > began[step_name]
    ]
    return later[-1] if later else ""


def correction_audience(step_name: str) -> str:
    """Return the audience name of a correction of the step."""
    return f"who got {step_name}"
