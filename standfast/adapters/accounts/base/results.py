"""Results of orders to connectors, and the texts of usual reasons.

An order is the change of one account in a directory, such as a lock.
"""

from standfast.errors import Unavailable
from standfast.records import EffectState, Json, Order, Proof, Result

ABSENT = "the directory has no such account"
ANOTHER_NAME = (
    "this is an alias of an account. Use the account's own name: only that name is compared "
    "with protected accounts and with the accounts of approvers."
)
NO_EFFECT = "the directory reported success, but the account is unchanged. Change it there."
PRIOR_UNKNOWN = "the prior state is unknown. A person must decide."
SOMEONE_ELSE = (
    "the name now belongs to another account than when the incident opened. Check both "
    "accounts, then lock each in a new step."
)


def done(order: Order, *, was_changed: bool, **facts: Json) -> Result:
    """Return DONE: the state is as requested, and was read back."""
    return Result(
        target=order.target,
        state=EffectState.DONE,
        facts={"changed": was_changed, **facts},
        proof=Proof.READ_BACK,
    )


def proven(order: Order, level: Proof, reason: str = "") -> Result:
    """Return DONE: the account is proven locked, at this level of proof."""
    return Result(target=order.target, state=EffectState.DONE, reason=reason, proof=level)


def refused(order: Order, reason: str) -> Result:
    """Return REFUSED, by a rule or the directory; a retry does not help."""
    return Result(target=order.target, state=EffectState.REFUSED, reason=reason)


def failed(order: Order, error: Unavailable | str) -> Result:
    """Return FAILED, with a retry if the error permits one."""
    return Result(
        target=order.target,
        state=EffectState.FAILED,
        reason=str(error),
        retry_after_seconds=error.retry_after_seconds if isinstance(error, Unavailable) else None,
    )


def unknown(order: Order, reason: str) -> Result:
    """Return UNKNOWN: the change may have happened and must be looked up."""
    return Result(target=order.target, state=EffectState.UNKNOWN, reason=reason)
