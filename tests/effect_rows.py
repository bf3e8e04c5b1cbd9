"""Rows of the ledger's effects for tests of their readers."""

from typing import Any

from standfast.ledger.effects.effect_rows import EffectRow
from standfast.records import EffectState, Proof


def effect_row(**fields: Any) -> EffectRow:
    """Return an effect with one attempt and otherwise empty fields."""
    usual: dict[str, Any] = {
        "token": "a" * 32,
        "incident": "inc-2026-0001",
        "step": "a",
        "round": 1,
        "handle": "h" * 32,
        "details": {},
        "state": EffectState.UNKNOWN,
        "is_parked": False,
        "prior": None,
        "undoes": None,
        "tries": 1,
        "reason": "",
        "proof": Proof.NONE,
        "facts": {},
    }
    return EffectRow(**usual | fields)
