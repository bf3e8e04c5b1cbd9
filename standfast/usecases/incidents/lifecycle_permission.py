"""Permission to stop, resume, close, reopen or undo an incident.

Rules
- A live incident acts on real systems. A change to it needs the sign-in of an enrolled person, who
  has a passphrase or passkey in the ledger (the database of incidents). Every enrolled person may
  stop the incident. For any other change the person needs a role, and must have been enrolled
  during the set-up or at least a day ago.
- While nobody is enrolled, the user of the command may make every change, and the ledger records
  that user. This state cannot be forced: only the owner (the person with the offline signing key)
  can remove the last enrolled person.
- Exercises and plans reach no live system and need no sign-in.
"""

from standfast.errors import ApprovalRefused
from standfast.records import Mode
from standfast.usecases.core.installation import Installation


def authorise_lifecycle_change(
    installation: Installation, incident_id: str, by: str | None, *, needs_role: bool = True
) -> str:
    """Return the person or user that the ledger records as the actor.

    `by` is the name of a person who signed in. Raise ApprovalRefused if the person may not make the
    change.
    """
    if installation.ledger.incidents.get(incident_id).mode is not Mode.LIVE:
        return by or installation.actor
    people = installation.ledger.people
    if by is None:
        if not people.all():
            return installation.actor
        raise ApprovalRefused(
            f"incident {incident_id}: it is live, and nobody signed in. Add --as PERSON."
        )
    roles = people.get(by).roles
    if needs_role and not roles:
        raise ApprovalRefused(
            f"person {by}: has no role, and may only stop incidents. Ask somebody who has one, or "
            f"`standfast people grant {by} --role ROLE --as PERSON`."
        )
    if why := people.objection(by, roles if needs_role else (), installation.clock()):
        raise ApprovalRefused(why)
    return by
