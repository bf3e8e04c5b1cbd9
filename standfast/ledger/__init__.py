"""Ledger: the database of decisions, effects and proofs.

An effect is one change of one target outside Standfast, such as one locked account. Only this
package opens sessions of the database. Every change is one transaction with one audit event
(`audit.transaction`). The tables are in `schema.tables`, the encryption of personal columns in
`schema.column_encryption`, and the verification of the whole ledger in `audit.auditor`.

The names in `__all__` are imported at their first use, because importing SQLAlchemy takes 0.2 s.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from standfast.ledger.full_ledger import Ledger, create, ledger_exists, open_ledger, upgrade

__all__ = ["Ledger", "create", "ledger_exists", "open_ledger", "upgrade"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from standfast.ledger import full_ledger

    return getattr(full_ledger, name)
