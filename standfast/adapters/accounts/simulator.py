"""Simulator of a directory in memory: accounts, sessions, scripted faults.

The simulator has accounts with an enabled flag, optional passwords and live sessions, a log of the
calls, and scripted faults. It reaches nothing outside the process.

Rules
- The simulator passes the contract tests of all connectors. So an exercise (a run of a playbook
  against simulators) rehearses the real calls.
- A lock disables an account and ends its sessions; an undo enables it and restores no session.
- An account keeps its id when it is renamed. Simulators that are built from equal arguments have
  equal ids, because an exercise that has waited for a person's answer builds its simulators again.
- A fault affects one order (the change of one account) once, in the scripted sequence. `Fault`
  defines its exact consequences, so a test can distinguish a lost answer from a lost request.
- The simulator is safe for many threads: up to `limits.workers` threads call it at once.
"""

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from standfast.adapters.accounts import AccountState, Connector, SecondFactors, WithoutFactor
from standfast.adapters.accounts.base.results import ABSENT, PRIOR_UNKNOWN, SOMEONE_ELSE
from standfast.errors import Unavailable
from standfast.records import EffectState, Limits, Order, Proof, Result


class Fault(StrEnum):
    """A fault of one order, and its consequences."""

    FAIL = "fail"  # nothing happens; FAILED, a retry does not help
    BUSY = "busy"  # nothing happens; FAILED, a retry may help
    LOST_REQUEST = "lost_request"  # nothing happens, but the caller cannot see that; UNKNOWN
    LOST_ANSWER = "lost_answer"  # the change happens, but the caller cannot see that; UNKNOWN
    HANG = "hang"  # no answer until `let_go` or the time-out; nothing happens; UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call that arrived."""

    verb: str  # "observe", "lock", "revoke", "prove", "undo" or "rotate"
    targets: tuple[str, ...]


@dataclass(kw_only=True)
class _Account:
    id: str
    is_enabled: bool
    password: str | None
    sessions: set[str] = field(default_factory=set)
    changes: int = 0  # number of changes that the connector made


class SimulatedConnector(Connector):
    """A directory of accounts in memory.

    `accounts` maps each name to whether it is enabled; `passwords` maps names to their passwords.
    `factors` maps names to whether they have a second factor. Without `factors`, the simulator
    raises `Unsupported` for second factors.
    """

    proof = Proof.REFUSED
    identity = ("id",)
    irreversible = ("sessions that were ended do not come back",)
    verbs = frozenset({"lock", "revoke", "prove", "undo", "rotate"})

    def __init__(
        self,
        name: str,
        accounts: Mapping[str, bool],
        *,
        passwords: Mapping[str, str] | None = None,
        factors: Mapping[str, bool] | None = None,
        limits: Limits | None = None,
        retry_after_seconds: float = 1.0,
    ) -> None:
        self.name = name
        self.limits = limits or Limits(batch=100)
        self.retry_after_seconds = retry_after_seconds
        self._accounts: dict[str, _Account] = {}
        self._bearers: Counter[str] = Counter()  # by name: number of accounts that had the name
        self._faults: list[tuple[str, str | None, Fault]] = []
        self._calls: list[Call] = []
        self._factors = None if factors is None else dict(factors)
        self._is_away = False
        self._guard = threading.RLock()
        self._let_go = threading.Event()
        for account, is_enabled in accounts.items():
            self.add(account, is_enabled=is_enabled, password=(passwords or {}).get(account))

    # Sign-ins of the holder, for tests.

    def sign_in(self, name: str, password: str) -> bool:
        """Try a password; if it is right and the account enabled, open a session."""
        with self._guard:
            account = self._accounts.get(name)
            if account is None or account.password is None:
                return False
            if not account.is_enabled or account.password != password:
                return False
            account.sessions.add(uuid.uuid4().hex)
            return True

    def open_session(self, name: str) -> str:
        """Open a session without a password; return the argument for `admits`."""
        session = uuid.uuid4().hex
        with self._guard:
            self._accounts[name].sessions.add(session)
        return session

    def admits(self, session: str) -> bool:
        """Return whether a session is still accepted."""
        with self._guard:
            return any(session in account.sessions for account in self._accounts.values())

    # Preparation and observation by a test.

    def add(self, name: str, *, is_enabled: bool = True, password: str | None = None) -> None:
        """Add an account, or replace the account of that name."""
        with self._guard:
            self._bearers[name] += 1
            self._accounts[name] = _Account(
                id=f"{name}#{self._bearers[name]}", is_enabled=is_enabled, password=password
            )

    def give_factor(self, name: str) -> None:
        """Give an account a second factor; from now on factors are supported."""
        with self._guard:
            self._factors = {**(self._factors or {}), name: True}

    def rename(self, name: str, new: str) -> None:
        """Rename an account, as another administrator would."""
        with self._guard:
            self._accounts[new] = self._accounts.pop(name)

    def is_enabled(self, name: str) -> bool:
        """Return whether an account is enabled; log no call."""
        with self._guard:
            return self._accounts[name].is_enabled

    def changes(self, name: str) -> int:
        """Return the number of changes that the connector made to an account."""
        with self._guard:
            return self._accounts[name].changes

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        """Enable or disable an account, as another administrator would."""
        with self._guard:
            self._accounts[name].is_enabled = is_enabled

    @property
    def calls(self) -> tuple[Call, ...]:
        """Return every call that arrived, in order."""
        with self._guard:
            return tuple(self._calls)

    def script(self, verb: str, fault: Fault, *, target: str | None = None, times: int = 1) -> None:
        """Script a fault for the next `times` orders of a verb.

        The fault affects orders on `target`; without a `target`, orders on any account.
        """
        with self._guard:
            self._faults.extend([(verb, target, fault)] * times)

    def go_away(self) -> None:
        """Stop answering: `observe` raises, and every order is FAILED."""
        with self._guard:
            self._is_away = True

    def come_back(self) -> None:
        """Answer again after `go_away`."""
        with self._guard:
            self._is_away = False

    def let_go(self) -> None:
        """Release every order that hangs, now and later."""
        self._let_go.set()

    # The connector.

    def _observe(self, names: Sequence[str]) -> list[AccountState]:
        with self._guard:
            self._calls.append(Call(verb="observe", targets=tuple(names)))
            if self._is_away:
                raise Unavailable(
                    f"directory {self.name!r}: does not answer",
                    retry_after_seconds=self.retry_after_seconds,
                )
            return [self._state(name) for name in names]

    def _second_factors(self) -> SecondFactors:
        if self._factors is None:
            return super()._second_factors()
        with self._guard:
            if self._is_away:
                raise Unavailable(f"directory {self.name!r}: does not answer")
            enabled = [name for name, account in self._accounts.items() if account.is_enabled]
        return SecondFactors(
            without=tuple(
                WithoutFactor(name=name) for name in enabled if not self._factors.get(name)
            ),
            looked_at=len(enabled),
        )

    def _lock(self, orders: Sequence[Order]) -> list[Result]:
        return self._carry_out("lock", orders, self._lock_one)

    def _revoke(self, orders: Sequence[Order]) -> list[Result]:
        return self._carry_out("revoke", orders, self._revoke_one)

    def _prove(self, orders: Sequence[Order]) -> list[Result]:
        return self._carry_out("prove", orders, self._prove_one)

    def _undo(self, orders: Sequence[Order]) -> list[Result]:
        return self._carry_out("undo", orders, self._undo_one)

    def _rotate(self, orders: Sequence[Order]) -> list[Result]:
        return self._carry_out("rotate", orders, self._rotate_one)

    def _carry_out(
        self, verb: str, orders: Sequence[Order], act: Callable[[Order, _Account], Result]
    ) -> list[Result]:
        with self._guard:
            self._calls.append(Call(verb=verb, targets=tuple(order.target for order in orders)))
        return [self._carry_out_one(verb, order, act) for order in orders]

    def _carry_out_one(
        self, verb: str, order: Order, act: Callable[[Order, _Account], Result]
    ) -> Result:
        with self._guard:
            fault = Fault.BUSY if self._is_away else self._next_fault(verb, order.target)
        if fault is Fault.HANG:
            # Wait without the mutex: one account that hangs must not block the others.
            self._let_go.wait(self.limits.timeout_seconds)
        if fault is None or fault is Fault.LOST_ANSWER:
            with self._guard:
                account = self._account_of(verb, order)
                if account is None:
                    result = _refused(order, ABSENT)
                elif verb != "undo" and account.id != (order.prior or {}).get("id", account.id):
                    result = _refused(order, SOMEONE_ELSE)
                else:
                    result = act(order, account)
            if fault is None:
                return result
        return self._fault_result(order, fault)

    def _fault_result(self, order: Order, fault: Fault) -> Result:
        match fault:
            case Fault.FAIL:
                return _failed(order, "the directory failed, as scripted")
            case Fault.BUSY:
                return Result(
                    target=order.target,
                    state=EffectState.FAILED,
                    reason="the directory is busy",
                    retry_after_seconds=self.retry_after_seconds,
                )
            case Fault.HANG | Fault.LOST_REQUEST | Fault.LOST_ANSWER:
                return Result(
                    target=order.target,
                    state=EffectState.UNKNOWN,
                    reason="the directory did not answer",
                )

    def _account_of(self, verb: str, order: Order) -> _Account | None:
        """Return the account of an order: by its name, and in an undo by its id."""
        known_id = (order.prior or {}).get("id")
        if verb != "undo" or known_id is None:
            return self._accounts.get(order.target)
        return next(
            (account for account in self._accounts.values() if account.id == known_id), None
        )

    def _next_fault(self, verb: str, target: str) -> Fault | None:
        for index, (of_verb, of_target, fault) in enumerate(self._faults):
            if of_verb == verb and of_target in (None, target):
                del self._faults[index]
                return fault
        return None

    def _state(self, name: str) -> AccountState:
        account = self._accounts.get(name)
        if account is None:
            return AccountState(name=name, exists=False)
        return AccountState(
            name=name,
            exists=True,
            is_enabled=account.is_enabled,
            live_sessions=len(account.sessions),
            prior={"id": account.id, "enabled": account.is_enabled},
        )

    def _lock_one(self, order: Order, account: _Account) -> Result:
        return _change(order, account, is_enabled=False, ends_sessions=True)

    def _revoke_one(self, order: Order, account: _Account) -> Result:
        return _change(order, account, is_enabled=account.is_enabled, ends_sessions=True)

    def _rotate_one(self, order: Order, account: _Account) -> Result:
        account.password = uuid.uuid4().hex if account.password is not None else None
        account.changes += 1
        return Result(target=order.target, state=EffectState.DONE)

    def _prove_one(self, order: Order, account: _Account) -> Result:
        if account.is_enabled:
            return _failed(order, "the account is enabled. Lock it again.")
        if account.sessions:
            return _failed(order, "a session is still live. Revoke it.")
        return Result(target=order.target, state=EffectState.DONE, proof=self.proof)

    def _undo_one(self, order: Order, account: _Account) -> Result:
        before = order.prior.get("enabled") if order.prior else None
        if not isinstance(before, bool):
            return _refused(order, PRIOR_UNKNOWN)
        return _change(order, account, is_enabled=before, ends_sessions=False)


def _change(order: Order, account: _Account, *, is_enabled: bool, ends_sessions: bool) -> Result:
    changed = account.is_enabled != is_enabled or (ends_sessions and bool(account.sessions))
    account.is_enabled = is_enabled
    if ends_sessions:
        account.sessions.clear()
    account.changes += changed
    return Result(target=order.target, state=EffectState.DONE, facts={"changed": changed})


def _failed(order: Order, reason: str) -> Result:
    return Result(target=order.target, state=EffectState.FAILED, reason=reason)


def _refused(order: Order, reason: str) -> Result:
    return Result(target=order.target, state=EffectState.REFUSED, reason=reason)
