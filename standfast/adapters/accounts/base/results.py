"""Constructors of a connector's results."""

from standfast.errors import Unavailable
from standfast.records import EffectState, Json, Order, Proof, Result

ABSENT = "the directory knows no such account"
ANOTHER_NAME = (
    "this is another name of an account; name it by its own, which is what is protected, held by "
    "incidents, and kept from approving"
)
NO_EFFECT = "the directory answered success, and the account is as it was; change it there"
PRIOR_UNKNOWN = "the state before is not known; a person must decide"
SOMEONE_ELSE = (
    "the name now belongs to another account than when the incident opened; "
    "look at both, then lock each by a new step"
)


def done(order: Order, *, was_changed: bool, **facts: Json) -> Result:
    """Return that the state is as requested, and was read back."""
    return Result(
        target=order.target,
        state=EffectState.DONE,
        facts={"changed": was_changed, **facts},
        proof=Proof.READ_BACK,
    )


def proven(order: Order, level: Proof, reason: str = "") -> Result:
    """Return that the holder is kept out, proven to this level."""
    return Result(target=order.target, state=EffectState.DONE, reason=reason, proof=level)


def refused(order: Order, reason: str) -> Result:
    """Return that a rule or the directory refused; a retry does not help."""
    return Result(target=order.target, state=EffectState.REFUSED, reason=reason)


def failed(order: Order, error: Unavailable | str) -> Result:
    """Return that it did not happen; the error says whether a retry helps."""
    return Result(
        target=order.target,
        state=EffectState.FAILED,
        reason=str(error),
        retry_after_seconds=error.retry_after_seconds if isinstance(error, Unavailable) else None,
    )


def unknown(order: Order, reason: str) -> Result:
    """Return that it may have happened; it must be looked up before a retry."""
    return Result(target=order.target, state=EffectState.UNKNOWN, reason=reason)
