"""A row of the ledger's effects, as a test of what is made of it needs one."""

from typing import Any

from standfast.ledger.effects.effect_rows import EffectRow
from standfast.records import EffectState, Proof


def effect_row(**fields: Any) -> EffectRow:
    """Make an effect that was tried once, and of which nothing is known but what is given."""
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
