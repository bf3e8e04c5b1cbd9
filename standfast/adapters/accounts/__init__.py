"""Directories of accounts: what every connector promises.

A connector locks, revokes, proves and undoes in one directory. Beside this file stands one module a
provider (`scim.py`), and `memory.py`, the twin that passes the same contract suite.

Promises
- Answers come one a target, in the order of the targets asked for, whatever the provider did.
- An unknown account is an answer (`exists=False`, `REFUSED`), never an exception. One that could
  not be read is `exists=False` too, and only then has a `reason`.
- Every verb is idempotent: locking twice changes once; a second undo changes nothing.
- `lock` keeps holders out: disable, revoke sessions and refresh tokens, deactivate keys, as far as
  the directory can. It never enables, and never deletes what it cannot restore.
- `undo` restores `order.prior` and only it: an account that was disabled before stays disabled.
- An order that has a prior state is of the account which that was kept of, and not of its name: a
  name that was given to somebody else is refused, in a proof too, where `identity` tells the two
  apart. Without one it goes by the name.
- `rotate`, where it is offered, makes the password known until now useless, and changes nothing
  else: who is locked stays locked. The new one is sealed before it is set (`new_secrets.py`).
- `prove` changes nothing; it reports the level it reached, FAILED when the account still admits.
- What surely did not happen is FAILED (with `retry_after_seconds` when worth another try); what may
  have happened (time-out after sending, connection lost) is UNKNOWN. Only declared errors escape.
- `second_factors` says who may sign in without a second factor, privileged ones first, by a bounded
  number of requests, and whether that is everybody; it changes nothing. A directory that has no
  notion of it raises `Unsupported`.
- What a provider cannot do raises `Unsupported` when planned, and is never skipped.
- Messages and reasons carry no account name, no secret and no server's text verbatim.
- Two names are of one account when `canonical` gives the same for both; it asks nobody.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from standfast.errors import StandfastError, Unavailable, Unsupported
from standfast.records import EffectState, JsonObject, Limits, Order, Proof, Result


@dataclass(frozen=True, kw_only=True)
class AccountState:
    """One account as the directory shows it now."""

    name: str
    exists: bool
    is_enabled: bool | None = None  # None when the directory does not say
    live_sessions: int | None = None  # None when the directory cannot count them
    prior: JsonObject = field(default_factory=dict)  # what `undo` needs to restore this state
    reason: str = ""  # why the account could not be read, when exists is False by error
    obstacle: str = ""  # why a lock would be refused, as far as the directory tells beforehand


@dataclass(frozen=True, kw_only=True)
class WithoutFactor:
    """An account that may sign in and has no second factor."""

    name: str
    is_privileged: bool = False  # as far as the directory says; False where it does not


@dataclass(frozen=True, kw_only=True)
class SecondFactors:
    """Who of those that may sign in has no second factor."""

    without: tuple[WithoutFactor, ...]
    looked_at: int | None = None  # None: the directory names only those without
    unsaid: int = 0  # of whom the directory does not say, though it was asked
    is_whole: bool = True  # False: there are more, who were not asked about


class Connector(ABC):
    """One directory of accounts."""

    name: str  # the key in the configuration
    limits: Limits
    proof: Proof  # the level that `prove` can reach here
    irreversible: tuple[str, ...] = ()  # what a lock changes and an undo cannot restore, in words
    # Tried on the provider's published description only, since no real one runs in the tests.
    is_contract_tested: bool = False
    # What of a prior state names an account for good; empty where a directory has names alone.
    identity: tuple[str, ...] = ()
    verbs: frozenset[str] = frozenset({"lock", "revoke", "prove", "undo"})
    wants: Mapping[str, str] = {}  # verbs that it would offer, and what to configure for them

    def canonical(self, name: str) -> str:
        """Give the one spelling of a name which this directory may know in several, unasked."""
        return name

    def observe(self, names: Sequence[str]) -> list[AccountState]:
        """Read the accounts, changing nothing. Raises `Unavailable` when nothing could be read."""
        try:
            states = list(self._observe(names))
        except StandfastError:
            raise
        except Exception as error:
            # From None, and the class alone: the provider's own text may carry names or tokens.
            raise Unavailable(
                f"directory {self.name!r} could not be read: unexpected {type(error).__name__}"
            ) from None
        if [state.name for state in states] != list(names):
            raise Unavailable(f"directory {self.name!r} answered for other accounts than asked")
        return states

    def shortcomings(self) -> list[str]:
        """Say what our own rights lack to keep the promises here, as far as a look shows it.

        Raises `Unavailable` when nothing could be read. A provider that does not tell what our
        credential may do gives nothing, which is no proof that it may.
        """
        return []

    def second_factors(self) -> SecondFactors:
        """Say who may sign in without a second factor, changing nothing; privileged ones first.

        Raises `Unsupported` where the directory has no notion of it, `Unavailable` when nothing
        could be read.
        """
        try:
            found = self._second_factors()
        except StandfastError:
            raise
        except Exception as error:
            raise Unavailable(
                f"directory {self.name!r} could not be read: unexpected {type(error).__name__}"
            ) from None
        first = sorted(found.without, key=lambda one: (not one.is_privileged, one.name))
        return replace(found, without=tuple(first))

    def lock(self, orders: Sequence[Order]) -> list[Result]:
        """Keep the holders out."""
        return self._each("lock", orders)

    def revoke(self, orders: Sequence[Order]) -> list[Result]:
        """End sessions, refresh tokens and keys, leaving the account as enabled as it is."""
        return self._each("revoke", orders)

    def prove(self, orders: Sequence[Order]) -> list[Result]:
        """Show that the holders are kept out, at the highest level that the directory allows."""
        return self._each("prove", orders)

    def undo(self, orders: Sequence[Order]) -> list[Result]:
        """Restore each order's prior state, and only it."""
        return self._each("undo", orders)

    def rotate(self, orders: Sequence[Order]) -> list[Result]:
        """Give each account a new password; nothing brings the old one back."""
        return self._each("rotate", orders)

    def close(self) -> None:  # most connectors hold nothing open
        """Let go of connections; harmless twice, and a later call opens them again."""

    def _each(self, verb: str, orders: Sequence[Order]) -> list[Result]:
        """Call the provider; what escapes it becomes one UNKNOWN an order, no lost answer.

        A `prove` that broke is FAILED instead: it changes nothing, so nothing is left in doubt.
        """
        if verb not in self.verbs:
            raise Unsupported(f"directory {self.name!r} cannot {verb}; plan the step without it")
        try:
            results = list(getattr(self, f"_{verb}")(orders))
        except StandfastError as error:
            return _in_doubt(verb, orders, str(error))
        except Exception as error:
            # The provider's own text may carry names or tokens: the class alone is safe to keep.
            return _in_doubt(verb, orders, f"unexpected {type(error).__name__}")
        if [result.target for result in results] != [order.target for order in orders]:
            return _in_doubt(verb, orders, "the connector's answers do not match")
        return results

    def _second_factors(self) -> SecondFactors:
        raise Unsupported(f"directory {self.name!r} has no notion of a second factor")

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
