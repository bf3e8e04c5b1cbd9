"""Procedures: configured calls that playbooks may use, and their contract.

    procedure = build_procedure(config, "commands.isolate-host", reveal, clock)
    (result,) = procedure.run([Order(token=…, verb="run.command", target="host-7", details={…})])

A procedure is a command or an HTTP request of the configuration. It has typed parameters. It may
have a check, which reports whether its change is in effect, and an undo, which reverses the change.
`simulator` passes the same contract tests.

Promises
- A playbook selects a procedure by name and supplies its parameters; it never writes the command.
- `fit` checks the parameters of an order when it is planned, and again before it is sent.
  Parameters that do not fit are never sent.
- Results have the same sequence as the orders (the requests to call the procedure). A call that
  certainly did not happen is FAILED (with `retry_after_seconds` if a retry may help); a call that
  may have happened is UNKNOWN. Only errors of `standfast.errors` are raised.
- `observe` changes nothing. It returns whether the change is in effect now: None if this cannot be
  determined, and `is_readable=False` if a repeated call may help.
- The state before a call is `{"was_in_effect": …}`. If the change was in effect before the
  incident, `undo` does not reverse it, and the result states that.
- Every call has the order's token, the same in every attempt, so that the target can recognise a
  repetition.
- Reasons contain no parameter, no secret and no text of the target. The stored result has the
  target's output, shortened and without secrets.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from standfast.errors import StandfastError, Unsupported
from standfast.records import EffectState, JsonObject, Limits, Observed, Order, Result

WAS_IN_EFFECT = "was_in_effect"


class Procedure(ABC):
    """Base class of one procedure; safe for many threads."""

    name: str  # with its section: "commands.isolate-host"
    limits: Limits
    can_observe: bool = False
    can_undo: bool = False
    changes_nothing: bool = False  # the procedure only reads, so nothing needs an undo

    @property
    def is_irreversible(self) -> bool:
        """Return whether the procedure changes something that it cannot undo."""
        return not (self.can_undo or self.changes_nothing)

    def fit(self, details: JsonObject) -> None:  # most built-in procedures have no parameters
        """Raise UsageError that names the first parameter that does not fit."""

    def prepare(self, target: str, details: JsonObject) -> JsonObject:
        """Return the order's details with the current state of its target.

        The approval covers these details. This method changes nothing. It raises an error of
        `standfast.errors` if the order is impossible.
        """
        return details

    def notes(self) -> tuple[str, ...]:
        """Return the notes that approvers must see in the plan."""
        notes = []
        if self.is_irreversible:
            notes.append(f"{self.name}: cannot be undone")
        if not self.can_observe and not self.changes_nothing:
            notes.append(
                f"{self.name}: its effect cannot be checked; if its answer is lost, a person "
                "must report whether it happened"
            )
        return tuple(notes)

    def observe(self, orders: Sequence[Order]) -> list[Observed]:
        """Return for each order whether its change is in effect now."""
        return [self._observed(order) for order in orders]

    def run(self, orders: Sequence[Order]) -> list[Result]:
        """Execute the orders."""
        return [self._answered(order, is_undo=False) for order in orders]

    def undo(self, orders: Sequence[Order]) -> list[Result]:
        """Undo the orders, except changes that were in effect before them."""
        if not self.can_undo:
            raise Unsupported(f"{self.name}: has no undo. Undo it by hand.")
        return [
            Result(
                target=order.target,
                state=EffectState.DONE,
                reason="in effect before the incident, so it was not changed",
            )
            if (order.prior or {}).get(WAS_IN_EFFECT) is True
            else self._answered(order, is_undo=True)
            for order in orders
        ]

    def close(self) -> None:  # most procedures keep no connection open
        """Close connections; may be repeated, and a later call opens them again."""

    def _observed(self, order: Order) -> Observed:
        if not self.can_observe:
            return Observed(target=order.target, state={WAS_IN_EFFECT: None})
        try:
            is_in_effect = self._is_in_effect(order)
        except StandfastError as error:
            return _unread(order, str(error))
        except Exception as error:
            # Name the class only: the text of the error may contain a parameter or a secret.
            return _unread(order, f"unexpected {type(error).__name__}")
        return Observed(
            target=order.target, happened=is_in_effect, state={WAS_IN_EFFECT: is_in_effect}
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
