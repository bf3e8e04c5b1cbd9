"""Comparison of an incident's input accounts with a person's accounts.

The inputs are the values with which an incident was opened, such as lists of accounts to lock. The
result of the comparison decides whether a person whose own account is to be locked may approve the
lock. The requester is the person that opened the incident.
"""

import unicodedata
from collections.abc import Sequence
from typing import cast

from sqlalchemy import Connection, RowMapping, select

from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.ledger.schema.tables import person
from standfast.records import JsonObject

# Key of an incident's inputs: the accounts that were added later by triggers (such as a webhook) or
# by people that did not sign in.
BY_TRIGGERS = ".joined"


def is_named(
    database: AuditedDatabase, connection: Connection, case_: RowMapping, name: str
) -> bool:
    """Return whether the requester named an account of this person.

    `case_` is the row of the incident. Accounts that a signed-in person added later count as named
    by the requester. Other accounts that were added later (`BY_TRIGGERS`) do not.
    """
    stored = database.cipher.open(INSTALLATION, f"incident {case_['id']}", case_["sealed_inputs"])
    joined = {folded(account) for account in cast("list[str]", stored.get(BY_TRIGGERS, []))}
    sealed = connection.execute(select(person.c.sealed).where(person.c.name == name)).scalar_one()
    own = _spellings(
        cast("list[str]", database.cipher.open(INSTALLATION, f"person {name}", sealed)["accounts"])
    )
    return bool((accounts_of(stored) - joined) & own)


def accounts_of(inputs: JsonObject) -> set[str]:
    """Return every account that inputs name, normalized by `folded`."""
    lists = [value for value in inputs.values() if isinstance(value, list)]
    return {folded(name) for names in lists for name in names if isinstance(name, str)}


def _spellings(accounts: Sequence[str]) -> set[str]:
    """Return each account twice, with and without the name of its directory."""
    return {folded(name) for account in accounts for name in (account, account.partition(":")[2])}


def folded(name: str) -> str:
    """Normalize a name for comparison: case folded, Unicode form NFKC.

    Most directories treat names that differ only in case or form as equal. A lock always uses the
    exact name.
    """
    return unicodedata.normalize("NFKC", name).casefold()
