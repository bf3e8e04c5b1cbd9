"""Affected people: owners of the customer records that accounts used.

Affected people are the people whose data an incident exposed. The logs that were copied and signed
as evidence state which account used which customer record.

Rules
- `[review.records.NAME]` in the configuration defines how the logs name a record, which data the
  record exposes, and which audience (a configured source of addresses) contains its owner. Each
  kind of record becomes one unchangeable list of people, like an imported CSV file.
- If the selection names no accounts, the accounts that the incident locked are used.
- If no audience contains the owner of a record, the owner is counted as a person that cannot be
  notified.
- The result states how many log lines were too long to be read completely, and which evidence
  folders were not read. A person whom only these lines or folders name is missing from the list.
- To limit the use of memory, more than MOST_RECORDS records, or record keys with more than
  MOST_CHARACTERS characters in total, are refused. The caller can then add several lists, each one
  for a part of the time. A person on several lists counts once.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from standfast.errors import UsageError
from standfast.evidence.review.log_timeline import Marks, Selection
from standfast.notices.audience import Audience, Rejected, people_spool
from standfast.usecases.core.installation import Installation
from standfast.usecases.evidence.log_review import (
    LogReview,
    ReviewRequest,
    collected_logs,
    record_finder,
)
from standfast.usecases.notices.affected_people import Added, Listing, add_affected

MOST_RECORDS = 1_000_000
MOST_CHARACTERS = 100_000_000


@dataclass(frozen=True, kw_only=True)
class AffectedByRecords:
    """The added lists of people, and the review of the logs."""

    added: Sequence[Added]  # one for each kind of record that was used
    review: LogReview


def add_affected_by_records(
    installation: Installation,
    incident_id: str,
    listing: Listing,
    selection: Selection,
    *,
    by: str | None = None,
    identity: Path | None = None,
) -> AffectedByRecords:
    """Store the owners of the records that accounts used, as affected people.

    `identity` is the identity file of a custodian, a person that can decrypt the evidence. Raise
    UsageError if no records are configured, if there are no accounts, if the accounts used no
    record, or if they used too many. Raise StandfastError if the logs cannot be read.
    """
    finder = record_finder(installation)
    if finder is None:
        raise UsageError(
            "affected people: the configuration does not say how logs name records. Add "
            "[review.records.NAME]."
        )
    if not selection.accounts:
        locked = installation.ledger.effects.locked_targets(incident_id)
        names = (target.partition(":")[2].casefold() for target in locked)
        selection = replace(selection, accounts=frozenset(names))
    if not selection.accounts:
        raise UsageError(
            f"affected people: {incident_id} has locked no account. Name the accounts with "
            "--account."
        )
    keys: dict[str, set[str]] = defaultdict(set)
    characters = 0
    request = ReviewRequest(selection=selection, identity=identity)
    marks = Marks(selection=selection, records=finder)
    with collected_logs(installation, incident_id, request, marks) as (review, read_events):
        for event in read_events():
            if event.is_selected:
                for record in event.records:
                    kind, _, key = record.partition(" ")
                    characters += len(key) * (key not in keys[kind])
                    keys[kind].add(key)
                if sum(map(len, keys.values())) > MOST_RECORDS or characters > MOST_CHARACTERS:
                    raise UsageError(
                        "affected people: the accounts used more records than fit in one list. Add "
                        "a list for each part of the time, with --from and --until."
                    )
    if not keys:
        raise UsageError(
            "affected people: the selected accounts used no records. Check the accounts, and "
            "`pattern` in [review.records]."
        )
    added: list[Added] = []
    for kind, used in sorted(keys.items()):
        people = _people(installation, incident_id, kind, used)
        exposed = listing.exposed or installation.config.review.records[kind].exposed
        each = replace(
            listing,
            exposed=exposed,
            review=people,
            replaces=listing.replaces and not added,
        )
        added.append(add_affected(installation, incident_id, each, by=by))
    return AffectedByRecords(added=added, review=review)


def _people(installation: Installation, incident_id: str, kind: str, used: set[str]) -> Audience:
    """Return the owners of the used records of one kind, as an audience."""
    name = installation.config.review.records[kind].audience
    recipients, held = people_spool(), people_spool()
    left = {key.casefold() for key in used}
    if name is not None:
        row = installation.ledger.incidents.get(incident_id)
        audience = installation.adapters_for(row).audience(name)
        for spool, people in ((recipients, audience.recipients), (held, audience.held)):
            for person in people:
                if person.key.casefold() in left:
                    left.discard(person.key.casefold())
                    spool.append(person)
    rejected = [
        Rejected(row_number=number, reason=f"{kind} {key}: has no address in an audience")
        for number, key in enumerate(sorted(left), 1)
    ]
    return Audience(recipients=recipients, held=held, rejected=rejected)
