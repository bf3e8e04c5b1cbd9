"""The answers that a connector gives, each in one line where it is given; pure."""

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
    """It stands as asked, and was read back."""
    return Result(
        target=order.target,
        state=EffectState.DONE,
        facts={"changed": was_changed, **facts},
        proof=Proof.READ_BACK,
    )


def proven(order: Order, level: Proof, reason: str = "") -> Result:
    """The holder is kept out, shown to this level."""
    return Result(target=order.target, state=EffectState.DONE, reason=reason, proof=level)


def refused(order: Order, reason: str) -> Result:
    """A rule or the directory said no; trying again will not help."""
    return Result(target=order.target, state=EffectState.REFUSED, reason=reason)


def failed(order: Order, error: Unavailable | str) -> Result:
    """It surely did not happen; the error says whether another try is worth it."""
    return Result(
        target=order.target,
        state=EffectState.FAILED,
        reason=str(error),
        retry_after_seconds=error.retry_after_seconds if isinstance(error, Unavailable) else None,
    )


def unknown(order: Order, reason: str) -> Result:
    """It may have happened; whoever gets this looks before acting again."""
    return Result(target=order.target, state=EffectState.UNKNOWN, reason=reason)
