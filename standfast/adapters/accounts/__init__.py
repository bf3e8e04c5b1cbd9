"""Connectors: directories of accounts, and the contract of all connectors.

    connector = build_adapter(Connector, "staff", config.accounts["staff"], context)
    (state,) = connector.observe(["alice"])   # AccountState; `prior` is for a later undo
    (result,) = connector.lock([Order(token=…, verb="accounts.lock", target="alice", prior=…)])

A directory is a system that stores accounts, and a connector is its adapter. An order requests one
change of one account. Each provider has a module or folder here, and `simulator` passes the same
contract tests.

Promises
- Results have the same sequence as the orders, even if the provider answers in another sequence.
- An unknown account is a result (`exists=False`, `REFUSED`), never an exception. An account that
  could not be read also has `exists=False`, and only such an account has a `reason`.
- Every verb (`lock`, `revoke`, `prove`, `undo`, `rotate`) is idempotent: a second lock or undo
  changes nothing.
- `lock` prevents every use of the account, by its holder or by an intruder. It disables the
  account, revokes sessions and refresh tokens, and deactivates keys, as far as the directory can. A
  lock never enables an account. `irreversible` lists the changes of a lock that an undo cannot
  restore; approvers see this list.
- `undo` restores `order.prior`, the state before the lock, and nothing else: an account that was
  disabled before stays disabled.
- An order with a prior state applies to the account that the state was read from. If the name now
  belongs to another account, which differs in the `identity` fields, every order is refused, also
  the order to prove a lock. An order without a prior state applies to the account of that name.
- `rotate`, where it is supported, makes the known password useless and changes nothing else: a
  locked account stays locked. The new password is stored, encrypted, before it is set
  (`base.new_passwords`).
- `prove` tests a lock and changes nothing. It reports the proof level (`records.Proof`: how the
  lock was proven), or FAILED if the account still admits its holder.
- A change that certainly did not happen is FAILED (with `retry_after_seconds` if a retry may help).
  A change that may have happened (time-out after sending, lost connection) is UNKNOWN. Only errors
  of `standfast.errors` are raised.
- `second_factors` reports which accounts can sign in without a second factor, privileged accounts
  first, and whether the list is complete. The number of its requests is bounded. It changes
  nothing. A directory without second factors raises `Unsupported`.
- A verb that a provider does not support raises `Unsupported` when it is planned; it is never
  skipped.
- Messages and reasons contain no account name, no secret, and no text of a server.
- Two names mean one account if `canonical` returns the same for both; it sends no request.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from standfast.errors import StandfastError, Unavailable, Unsupported
from standfast.records import EffectState, JsonObject, Limits, Order, Proof, Result


@dataclass(frozen=True, kw_only=True)
class AccountState:
    """Present state of an account in the directory."""

    name: str
    exists: bool
    is_enabled: bool | None = None  # None if the directory does not report it
    live_sessions: int | None = None  # None if the directory cannot count them
    prior: JsonObject = field(default_factory=dict)  # the values from which `undo` restores it
    reason: str = ""  # why the look-up failed; empty if it succeeded
    obstacle: str = ""  # why a lock would be refused, if the directory reports it


@dataclass(frozen=True, kw_only=True)
class WithoutFactor:
    """An account that can sign in without a second factor."""

    name: str
    is_privileged: bool = False  # False also if the directory does not report it


@dataclass(frozen=True, kw_only=True)
class SecondFactors:
    """The accounts that can sign in without a second factor."""

    without: tuple[WithoutFactor, ...]
    looked_at: int | None = None  # None: the directory lists only the accounts without a factor
    unreported: int = 0  # accounts whose factors the directory does not report
    is_whole: bool = True  # False: there are more accounts, which were not queried


class Connector(ABC):
    """Base class of the connector of one directory."""

    name: str  # the key in the configuration
    limits: Limits
    proof: Proof  # the level that `prove` can reach here
    irreversible: tuple[str, ...] = ()  # changes of a lock that an undo cannot restore, in words
    # True: tested only against the API description that the provider publishes, not a real service.
    is_contract_tested: bool = False
    # Fields of a prior state that identify an account permanently; empty if there are none.
    identity: tuple[str, ...] = ()
    verbs: frozenset[str] = frozenset({"lock", "revoke", "prove", "undo"})
    wants: Mapping[str, str] = {}  # verbs that need further configuration, and its description

    def canonical(self, name: str) -> str:
        """Return the canonical spelling of an account name; send no request."""
        return name

    def observe(self, names: Sequence[str]) -> list[AccountState]:
        """Read the accounts; `Unavailable` if none could be read."""
        try:
            states = list(self._observe(names))
        except StandfastError:
            raise
        except Exception as error:
            # The class only, without the cause: the provider's text may contain names or tokens.
            raise Unavailable(
                f"directory {self.name!r}: cannot be read, unexpected {type(error).__name__}"
            ) from None
        if [state.name for state in states] != list(names):
            raise Unavailable(
                f"directory {self.name!r}: answered for other accounts. Report this as a fault."
            )
        return states

    def shortcomings(self) -> list[str]:
        """Return the rights that the configured credential lacks for the promises.

        Raises `Unavailable` if nothing could be read. The result is also empty if the provider does
        not report the rights of the credential. So an empty result does not prove sufficient
        rights.
        """
        return []

    def second_factors(self) -> SecondFactors:
        """Return the accounts without a second factor, privileged accounts first.

        Raises `Unsupported` if the directory has no second factors, and `Unavailable` if nothing
        could be read.
        """
        try:
            found = self._second_factors()
        except StandfastError:
            raise
        except Exception as error:
            raise Unavailable(
                f"directory {self.name!r}: cannot be read, unexpected {type(error).__name__}"
            ) from None
        first = sorted(found.without, key=lambda account: (not account.is_privileged, account.name))
        return replace(found, without=tuple(first))

    def lock(self, orders: Sequence[Order]) -> list[Result]:
        """Lock the accounts and end their sessions."""
        return self._each("lock", orders)

    def revoke(self, orders: Sequence[Order]) -> list[Result]:
        """End sessions, refresh tokens and keys; the account stays enabled."""
        return self._each("revoke", orders)

    def prove(self, orders: Sequence[Order]) -> list[Result]:
        """Prove that the accounts are locked, at the highest possible level."""
        return self._each("prove", orders)

    def undo(self, orders: Sequence[Order]) -> list[Result]:
        """Restore each order's prior state, and nothing else."""
        return self._each("undo", orders)

    def rotate(self, orders: Sequence[Order]) -> list[Result]:
        """Set a new password for each account; the old one cannot be restored."""
        return self._each("rotate", orders)

    def close(self) -> None:  # most connectors keep no connection open
        """Close connections; may be repeated, and a later call opens them again."""

    def _each(self, verb: str, orders: Sequence[Order]) -> list[Result]:
        """Call the provider; an unexpected error makes every order UNKNOWN.

        In `prove`, an unexpected error makes every order FAILED, because a proof changes nothing.
        """
        if verb not in self.verbs:
            raise Unsupported(f"directory {self.name!r}: cannot {verb}. Plan the step without it.")
        try:
            results = list(getattr(self, f"_{verb}")(orders))
        except StandfastError as error:
            return _in_doubt(verb, orders, str(error))
        except Exception as error:
            # The class only: the provider's text may contain names or tokens.
            return _in_doubt(verb, orders, f"unexpected {type(error).__name__}")
        if [result.target for result in results] != [order.target for order in orders]:
            return _in_doubt(verb, orders, "the connector's answers do not match")
        return results

    def _second_factors(self) -> SecondFactors:
        raise Unsupported(f"directory {self.name!r}: has no second factors")

    @abstractmethod
    def _observe(self, names: Sequence[str]) -> list[AccountState]: ...

    @abstractmethod
    def _lock(self, orders: Sequence[Order]) -> list[Result]: ...

    @abstractmethod
    def _revoke(self, orders: Sequence[Order]) -> list[Result]: ...

    @abstractmethod
    def _prove(self, orders: Sequence[Order]) -> list[Result]: ...

    @abstractmethod
    def _undo(self, orders: Sequence[Order]) -> list[Result]: ...


def _in_doubt(verb: str, orders: Sequence[Order], reason: str) -> list[Result]:
    state = EffectState.FAILED if verb == "prove" else EffectState.UNKNOWN
    return [Result(target=order.target, state=state, reason=reason) for order in orders]
