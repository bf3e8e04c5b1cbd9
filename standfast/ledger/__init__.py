"""Ledger of decisions, effects and proofs; the only database session.

Every change is one transaction with one audit event (`transaction`). What stands where is in
`tables`; personal columns and their keys are the `vault`'s; `audit` verifies the whole.

What is offered here is loaded when it is first asked for: SQLAlchemy takes a second to import.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from standfast.ledger.full_ledger import Ledger, create, is_there, open_ledger

__all__ = ["Ledger", "create", "is_there", "open_ledger"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from standfast.ledger import full_ledger

    return getattr(full_ledger, name)
