"""Base class of connectors, one account a call: steps of each verb.

The class defines the steps of each verb (lock, revoke, prove, undo), the time limit of one
account's call, and the results of errors. A subclass defines how an account is found, locked and
read.

Rules
- A lock finds the account, disables it, reads it back, and then ends its sessions. The provider's
  report of success is not trusted: a change that is not in effect is FAILED.
- An order (the change of one account) may contain the state that was read before the first change.
  If the account's name now belongs to another account, a lock, or the proof of a lock, is refused.
  An undo finds the account by the id.
- An account is locked by its own name only. Under an alias, other code would not recognise that the
  account is protected (never locked), locked by another incident, or the account of an approver.
- An undo ends the old sessions that remain before it enables the account. Otherwise a session or
  refresh token that was idle while the account was locked would work again.
- `OutcomeUnknown` becomes UNKNOWN, `ProviderRefused` REFUSED, and `Unavailable` FAILED. In a proof,
  which changes nothing, an unknown outcome is FAILED too.
- All requests that change one account share the time limit of `limits`.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from standfast.adapters.accounts import AccountState, Connector
from standfast.adapters.accounts.base.parallel_calls import observe_accounts, run_parallel
from standfast.adapters.accounts.base.results import (
    ABSENT,
    ANOTHER_NAME,
    NO_EFFECT,
    PRIOR_UNKNOWN,
    SOMEONE_ELSE,
    done,
    failed,
    proven,
    refused,
    unknown,
)
from standfast.errors import ConfigurationError, Refused, StandfastError, Unavailable
from standfast.records import JsonObject, Limits, Order, Proof, Result
from standfast.retry_rules import REPLICA_SECONDS, RETRY_SECONDS
from standfast.time_limit import Deadline


class OutcomeUnknown(StandfastError):
    """A change that may have happened."""


class ProviderRefused(Refused):
    """A change that the provider refuses permanently."""


class SessionsRemain(StandfastError):
    """An account that still admits its holder, or has a session."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """An account as the provider shows it; `prior` has values for an undo."""

    id: str  # permanent, if the provider has permanent ids
    is_enabled: bool | None  # None when the provider does not show it
    live_sessions: int | None = None  # None when the provider cannot count them
    prior: JsonObject
    obstacle: str = ""  # why a lock would be refused
    name: str = ""  # the account's own name, if `_find` accepts aliases

    @property
    def state_before(self) -> JsonObject:
        return {**self.prior, "id": self.id, "enabled": self.is_enabled}


class PerAccountConnector(Connector):
    """Base class of connectors that change one account in each call.

    At most `limits.workers` calls run at once.
    """

    identity = ("id",)

    def __init__(self, name: str, limits: Limits) -> None:
        self.name = name
        self.limits = limits

    # Methods of a provider's module. All may raise Unavailable, and changes OutcomeUnknown.

    @abstractmethod
    def _find(self, name: str, deadline: Deadline) -> Account | None:
        """Return the account of exactly this name; None if there is none."""

    @abstractmethod
    def _read(self, account_id: str, deadline: Deadline) -> Account | None:
        """Return the account of this id; None if there is none."""

    @abstractmethod
    def _disable(self, account: Account, deadline: Deadline) -> bool:
        """Disable the account; return whether anything was changed."""

    @abstractmethod
    def _end_sessions(self, account: Account, order: Order, deadline: Deadline) -> bool:
        """End sessions, tokens and keys; return whether any may have existed."""

    @abstractmethod
    def _restore(self, account: Account, prior: JsonObject, deadline: Deadline) -> bool:
        """Restore `prior` (an `Account.state_before`); return if anything changed."""

    def _before_undo(self, account: Account, order: Order, deadline: Deadline) -> bool:
        """End sessions that the undo would revive; return whether any existed."""
        return self._end_sessions(account, order, deadline)

    def _objection(self, account: Account, prior: JsonObject) -> str:
        """Return which later change an undo would destroy, or ""."""
        return ""

    def _proof_level(self, account: Account, order: Order, deadline: Deadline) -> Proof:
        """Return how the lock is proven; SessionsRemain if it is not effective."""
        if account.live_sessions is None:
            return Proof.READ_BACK
        if account.live_sessions:
            raise SessionsRemain("a session or token of the account is still live. Revoke it.")
        return Proof.SESSIONS_GONE

    def _review_notes(self, account: Account, deadline: Deadline) -> Sequence[str]:
        """Return points for a person to review: MFA devices, grants, forwarding."""
        return ()

    # The verbs.

    def _observe(self, names: Sequence[str]) -> list[AccountState]:
        def look(name: str) -> AccountState:
            account = _read_valid(self._find, name, self._deadline())
            if account is None:
                return AccountState(name=name, exists=False)
            return AccountState(
                name=name,
                exists=True,
                is_enabled=account.is_enabled,
                live_sessions=account.live_sessions,
                prior=account.state_before,
                obstacle=self._alias(account, name) or account.obstacle,
            )

        return observe_accounts(self.name, look, names, workers=self.limits.workers)

    def _lock(self, orders: Sequence[Order]) -> list[Result]:
        return self._carry_out(self._lock_one, orders)

    def _revoke(self, orders: Sequence[Order]) -> list[Result]:
        return self._carry_out(self._revoke_one, orders)

    def _prove(self, orders: Sequence[Order]) -> list[Result]:
        return self._carry_out(self._prove_one, orders)

    def _undo(self, orders: Sequence[Order]) -> list[Result]:
        return self._carry_out(self._undo_one, orders)

    def _lock_one(self, order: Order, deadline: Deadline) -> Result:
        account = self._account_to_change(order, deadline)
        changed = self._change(account, False, lambda: self._disable(account, deadline), deadline)
        if "revoke" in self.verbs:
            changed |= self._end_sessions(account, order, deadline)
        return _done_result(order, account, changed, self._safe_review_notes(account, deadline))

    def _revoke_one(self, order: Order, deadline: Deadline) -> Result:
        account = self._account_to_change(order, deadline)
        return _done_result(order, account, self._end_sessions(account, order, deadline))

    def _undo_one(self, order: Order, deadline: Deadline) -> Result:
        prior = order.prior or {}
        account_id, was_enabled = prior.get("id"), prior.get("enabled")
        if not isinstance(account_id, str) or not isinstance(was_enabled, bool):
            raise ProviderRefused(PRIOR_UNKNOWN)
        account = _read_valid(self._read, account_id, deadline)
        if account is None:
            raise ProviderRefused(ABSENT)
        if objection := self._objection(account, prior):
            raise ProviderRefused(objection)
        changed = False
        if was_enabled and not account.is_enabled and "revoke" in self.verbs:
            changed = self._before_undo(account, order, deadline)
        changed |= self._change(
            account, was_enabled, lambda: self._restore(account, prior, deadline), deadline
        )
        return _done_result(order, account, changed)

    def _prove_one(self, order: Order, deadline: Deadline) -> Result:
        account = self._identified_account(order, deadline)
        if account.is_enabled is None:
            raise SessionsRemain("the directory does not report whether the account is enabled")
        if account.is_enabled:
            raise SessionsRemain("the account is enabled. Lock it again.")
        return proven(order, self._proof_level(account, order, deadline))

    # Internal functions.

    def _identified_account(self, order: Order, deadline: Deadline) -> Account:
        """Find the account of an order by name; verify the id in its prior state."""
        account = _read_valid(self._find, order.target, deadline)
        if account is None:
            raise ProviderRefused(ABSENT)
        known_id = (order.prior or {}).get("id")
        if isinstance(known_id, str) and known_id != account.id:
            raise ProviderRefused(SOMEONE_ELSE)
        return account

    def _account_to_change(self, order: Order, deadline: Deadline) -> Account:
        account = self._identified_account(order, deadline)
        if obstacle := self._alias(account, order.target):
            raise ProviderRefused(obstacle)
        return account

    def _alias(self, account: Account, name: str) -> str:
        """Return a reason if the name is an alias of the account; else empty."""
        is_own = not account.name or self.canonical(account.name) == self.canonical(name)
        return "" if is_own else ANOTHER_NAME

    def _safe_review_notes(self, account: Account, deadline: Deadline) -> Sequence[str]:
        """Return the review notes, or a note that they could not be read.

        A failure to read them is not an error, because the lock has succeeded already.
        """
        try:
            return self._review_notes(account, deadline)
        except Unavailable:
            return ("its other credentials could not be read",)

    def _change(
        self, account: Account, is_enabled: bool, act: Callable[[], bool], deadline: Deadline
    ) -> bool:
        """Make a change, and report only what is read back."""
        trouble: OutcomeUnknown | ProviderRefused | None = None
        changed = True
        try:
            changed = act()
        except (OutcomeUnknown, ProviderRefused) as error:
            trouble = error  # the change may still be in effect: read the account back
        if not changed:
            return False
        try:
            after = _read_valid(self._read, account.id, deadline)
        except Unavailable as error:
            raise trouble or OutcomeUnknown(
                f"the change was sent, but could not be read back: {error}"
            ) from None
        if after is None:
            raise ProviderRefused(ABSENT)
        if after.is_enabled is is_enabled:
            return not isinstance(trouble, ProviderRefused)
        if trouble or after.is_enabled is None:
            raise trouble or OutcomeUnknown(
                "the change was sent, but the directory does not report its effect"
            )
        raise Unavailable(NO_EFFECT, retry_after_seconds=REPLICA_SECONDS)

    def _carry_out(
        self, act: Callable[[Order, Deadline], Result], orders: Sequence[Order]
    ) -> list[Result]:
        def one(order: Order) -> Result:
            try:
                return act(order, self._deadline())
            except OutcomeUnknown as error:
                return unknown(order, str(error))
            except ProviderRefused as error:
                return refused(order, str(error))
            except (SessionsRemain, ConfigurationError) as error:
                return failed(order, str(error))
            except Unavailable as error:
                return failed(order, error)

        return run_parallel(one, orders, workers=self.limits.workers)

    def _deadline(self) -> Deadline:
        return Deadline(self.limits.timeout_seconds)


def _read_valid(
    read: Callable[[str, Deadline], Account | None], key: str, deadline: Deadline
) -> Account | None:
    """Read an account; Unavailable if the answer has an invalid form."""
    try:
        return read(key, deadline)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise Unavailable(
            "the directory sent an invalid answer", retry_after_seconds=RETRY_SECONDS
        ) from None


def _done_result(
    order: Order, account: Account, was_changed: bool, to_look_at: Sequence[str] = ()
) -> Result:
    seen = {"to_look_at": list(to_look_at)} if to_look_at else {}
    return done(order, was_changed=was_changed, id=account.id, **seen)
