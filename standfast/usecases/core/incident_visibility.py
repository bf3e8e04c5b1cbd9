"""Visibility of quiet incidents, which are hidden from most people.

Rules
- A playbook (the file that describes the response to one kind of incident) can declare its
  incidents quiet, for example incidents about an insider. A quiet incident is visible to the person
  that opened it, and to people with a role that the steps of its playbook name.
- Exception: a quiet incident is not visible to a person whose account, sign-in name or mail address
  is among the accounts of the incident.
- For all other people, no page of the console (the web interface), no mail about an alert, no
  calendar entry and no reminder shows a quiet incident. They cannot stop it either.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import cast

from standfast.ledger.approvals.named_accounts import folded
from standfast.ledger.approvals.objections import may_decide
from standfast.ledger.incidents.incident_store import IncidentRow
from standfast.ledger.people.enrolment import Person
from standfast.playbook.model import InputType, Playbook
from standfast.playbook.parser.playbook_file import load
from standfast.records import JsonObject


def is_visible(row: IncidentRow, person: Person | None) -> bool:
    """Return whether a person (None: not registered) may see the incident."""
    playbook = load(row.playbook, row.scenario)
    if not playbook.is_quiet:
        return True
    if person is None or person.is_removed:
        return False
    own = account_spellings([*person.accounts, person.name, person.mail])
    if accounts_named(playbook, row.inputs) & own:
        return False
    is_opener = row.is_signed and row.opened_by == person.name
    return is_opener or may_decide(_named_roles(playbook), person.name, person.roles)


def is_quiet(playbook: str, scenario: str) -> bool:
    """Return whether the text of a playbook declares its incidents quiet."""
    return load(playbook, scenario).is_quiet


def accounts_named(playbook: Playbook, inputs: JsonObject) -> AbstractSet[str]:
    """Return the accounts in an incident's inputs, with and without prefix.

    See `account_spellings`.
    """
    return account_spellings(
        name
        for given in playbook.inputs
        if given.type is InputType.ACCOUNTS
        for name in cast("Sequence[str]", inputs.get(given.name) or ())
    )


def account_spellings(accounts: Iterable[str]) -> AbstractSet[str]:
    """Return each account with and without the prefix of its directory.

    A directory is a system that stores accounts, such as OpenLDAP. All names are case folded.
    """
    names = [folded(name) for name in accounts]
    return {*names, *(name.partition(":")[2] for name in names if ":" in name)}


def _named_roles(playbook: Playbook) -> Sequence[str]:
    roles = (
        role
        for step in playbook.steps
        for role in (*step.roles, *step.by, *(step.approval.roles if step.approval else ()))
    )
    return [*dict.fromkeys(roles)] or ["nobody"]  # `may_decide` treats an empty list as everybody
