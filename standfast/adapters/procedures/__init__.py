"""Procedures: what the place itself allows to be called in an incident, and what each promises.

A procedure is a command or a request that the configuration names, with typed parameters, and
perhaps with a way to look whether it took effect and a way to take it back. Beside this file stand
`command.py`, `request.py`, and `memory.py`, the twin that passes the same contract suite.

Promises
- A playbook chooses a procedure by its name and fills its parameters; it never writes the command.
- `fit` judges the parameters of an order when it is planned. What does not fit is never sent, and
  is judged once more before it is.
- Answers come one an order, in their order. What surely did not happen is FAILED (with
  `retry_after_seconds` when worth another try); what may have happened is UNKNOWN. Only declared
  errors escape.
- `observe` changes nothing. It says whether the thing is in effect now: None when nobody can tell,
  and `is_readable=False` when it can be asked again.
- The state before is `{"was_in_effect": …}`. What had been in effect before is not taken back:
  `undo` leaves it as it is, and says so.
- Every call carries the effect's token, the same at every try, so that the other side can tell a
  repetition.
- Reasons carry no parameter, no secret and no text of the other side; what it printed is kept in
  the receipt, bounded, without secrets.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from standfast.errors import StandfastError, Unsupported
from standfast.records import EffectState, JsonObject, Limits, Observed, Order, Result

WAS_IN_EFFECT = "was_in_effect"


class Procedure(ABC):
    """One thing that may be called. Safe for many threads."""

    name: str  # with its section: "commands.isolate-host"
    limits: Limits
    can_observe: bool = False
    can_undo: bool = False
    changes_nothing: bool = False  # it only reads, so there is nothing to take back

    @property
    def is_irreversible(self) -> bool:
        """Does it change something that it cannot take back?"""
        return not (self.can_undo or self.changes_nothing)

    def fit(self, details: JsonObject) -> None:  # most of our own take no parameters
        """Raise UsageError that names the parameter which does not fit."""

    def notes(self) -> tuple[str, ...]:
        """Say what the plan must show before anyone presses Enter."""
        notes = []
        if self.is_irreversible:
            notes.append(f"{self.name}: cannot be taken back")
        if not self.can_observe and not self.changes_nothing:
            notes.append(
                f"{self.name}: nobody can look whether it took effect; if its answer is lost, a "
                "person must say"
            )
        return tuple(notes)

    def observe(self, orders: Sequence[Order]) -> list[Observed]:
        """Say of each order whether what it asks for is in effect now."""
        return [self._observed(order) for order in orders]

    def run(self, orders: Sequence[Order]) -> list[Result]:
        """Carry the orders out."""
        return [self._answered(order, is_undo=False) for order in orders]

    def undo(self, orders: Sequence[Order]) -> list[Result]:
        """Take the orders back, except what was in effect before them."""
        if not self.can_undo:
            raise Unsupported(f"{self.name} has no undo; take it back by hand")
        return [
            Result(
                target=order.target,
                state=EffectState.DONE,
                reason="it was so before the incident, and was left as it is",
            )
            if (order.prior or {}).get(WAS_IN_EFFECT) is True
            else self._answered(order, is_undo=True)
            for order in orders
        ]

    def close(self) -> None:  # most procedures hold nothing open
        """Let go of connections; harmless twice, and a later call opens them again."""

    def _observed(self, order: Order) -> Observed:
        if not self.can_observe:
            return Observed(target=order.target, state={WAS_IN_EFFECT: None})
        try:
            is_in_effect = self._is_in_effect(order)
        except StandfastError as error:
            return _unread(order, str(error))
        except Exception as error:
            # The class alone: its own text may carry a parameter or a secret.
            return _unread(order, f"unexpected {type(error).__name__}")
        return Observed(
            target=order.target,
            happened=is_in_effect,
            state={WAS_IN_EFFECT: is_in_effect},
        )

    def _answered(self, order: Order, *, is_undo: bool) -> Result:
        try:
            self.fit(order.details)
        except StandfastError as error:
            return Result(target=order.target, state=EffectState.REFUSED, reason=str(error))
        try:
            return self._undo(order) if is_undo else self._run(order)
        except StandfastError as error:
            reason = str(error)
        except Exception as error:
            reason = f"unexpected {type(error).__name__}"
        return Result(target=order.target, state=EffectState.UNKNOWN, reason=reason)

    @abstractmethod
    def _is_in_effect(self, order: Order) -> bool | None: ...

    @abstractmethod
    def _run(self, order: Order) -> Result: ...

    @abstractmethod
    def _undo(self, order: Order) -> Result: ...


def _unread(order: Order, reason: str) -> Observed:
    return Observed(
        target=order.target, is_readable=False, state={WAS_IN_EFFECT: None}, reason=reason
    )
