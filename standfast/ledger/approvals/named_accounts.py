"""Comparison of an incident's input accounts with a person's accounts.

The requester is the person that opened the incident. The result decides whether a person whose own
account is to be locked may approve that.
"""

import unicodedata
from collections.abc import Sequence
from typing import cast

from sqlalchemy import Connection, RowMapping, select

from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.schema.column_encryption import INSTALLATION
from standfast.ledger.schema.tables import person
from standfast.records import JsonObject

BY_TRIGGERS = ".joined"  # key of an incident's inputs: the accounts that triggers added later


def is_named(
    database: AuditedDatabase, connection: Connection, case_: RowMapping, name: str
) -> bool:
    """Return whether the requester named an account of this person.

    `case_` is the row of the incident. Accounts that only triggers added do not count.
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
