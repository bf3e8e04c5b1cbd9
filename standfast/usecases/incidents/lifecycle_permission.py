"""Permission to stop, resume, close, reopen or undo an incident.

Rules
- In a live incident somebody who is enrolled signs in. To stop it, anybody may; for the rest the
  person has a role, and was enrolled at least a day ago or while the place was set up.
- Where nobody is enrolled, nobody could sign: whoever runs the command may, and the timeline says
  who that was. Nobody empties the list but the owner.
- An exercise and a plan reach nothing live, and ask for no sign-in.
"""

from standfast.errors import ApprovalRefused
from standfast.records import Mode
from standfast.usecases.core.installation import Installation


def authorise_lifecycle_change(
    installation: Installation, incident_id: str, by: str | None, *, needs_role: bool = True
) -> str:
    """Return the author of a move, for the timeline.

    Raise ApprovalRefused if the person may not make it.

    `by` is the name of a person who signed in.
    """
    if installation.ledger.incidents.get(incident_id).mode is not Mode.LIVE:
        return by or installation.actor
    people = installation.ledger.people
    if by is None:
        if not people.all():
            return installation.actor
        raise ApprovalRefused(
            f"incident {incident_id}: it is live, and nobody signed in. Add --as PERSON"
        )
    roles = people.get(by).roles
    if needs_role and not roles:
        raise ApprovalRefused(
            f"person {by}: has no role, and may only stop incidents. Ask somebody who has one, or "
            f"`standfast people grant {by} --role ROLE --as PERSON`"
        )
    if why := people.objection(by, roles if needs_role else (), installation.clock()):
        raise ApprovalRefused(why)
    return by
