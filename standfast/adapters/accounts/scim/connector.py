"""Connector for directories that speak SCIM 2.0 (RFC 7643, RFC 7644).

An order requests the change of one account; the connector changes the account's `active` flag. SCIM
itself has no sessions: if end points for OAuth tokens are configured,
`base.oauth_token_revocation` revokes tokens, and tests that they are refused.

Rules
- An account is found by a `userName eq` filter, and accepted only if the answer contains exactly
  that name. Some servers ignore filters and return every user; then the list is searched page by
  page.
- The directory's report of success is not trusted: every change is read back by another request. A
  change that was reported as successful and is not in effect is FAILED. If the answer is invalid,
  the account is read back to determine the result; if that fails too, the result is UNKNOWN.
- A change that was sent and not answered is UNKNOWN, and is not repeated here.
- The state before a lock is `{"id", "active"}`. An undo finds the account by the id, so that
  another account that now has the name is not enabled. A lock, and the proof of a lock, are refused
  if another account now has the name.
- A name in a filter and an id in a path are encoded: people write names, and the directory chooses
  ids, so neither may change the request.
- All requests for one account share the time limit of `limits`. If `limits.batch` permits several
  accounts in one /Bulk request, all accounts of a call share one time limit.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, TypeVar

from standfast.adapters.accounts import AccountState, Connector
from standfast.adapters.accounts.base.build_context import BuildContext, limits_of
from standfast.adapters.accounts.base.oauth_token_revocation import (
    ProbeResult,
    known_tokens,
    most_severe,
    probe_of,
    probe_tokens,
    revocation_of,
    revoke_tokens,
)
from standfast.adapters.accounts.base.parallel_calls import observe_accounts, run_parallel
from standfast.adapters.accounts.base.results import (
    ABSENT,
    NO_EFFECT,
    PRIOR_UNKNOWN,
    SOMEONE_ELSE,
    done,
    failed,
    proven,
    refused,
    unknown,
)
from standfast.adapters.accounts.scim.bulk_requests import ScimBulk
from standfast.adapters.accounts.scim.client import ScimClient
from standfast.adapters.accounts.scim.messages import ScimAccount
from standfast.adapters.clients.http_status import is_declined, status_error
from standfast.config.sections.accounts import ScimDirectoryConfig
from standfast.errors import ConfigurationError, Unavailable
from standfast.http_client import Answer, HttpClient, NoAnswer, NotSent, fits_a_header
from standfast.records import EffectState, Order, Proof, Result
from standfast.retry_rules import REPLICA_SECONDS
from standfast.time_limit import Deadline

_OWN_SESSIONS = (
    "a session on the directory's own web pages is not ended; it is refused while the account is "
    "locked, and may be valid again after the undo"
)
_Known: TypeAlias = Mapping[str, ScimAccount]  # accounts that one search found
_Key: TypeAlias = Callable[[Order], str | None]
_LookUp: TypeAlias = Callable[[Sequence[str], Deadline], _Known]
_Wants: TypeAlias = Callable[[Order, _Known, Deadline], tuple[ScimAccount, bool] | Result]
_Became: TypeAlias = Answer | NotSent | NoAnswer | None  # None: not requested yet
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class ScimConnector(Connector):
    """Connector of one SCIM directory."""

    identity = ("id",)

    def __init__(self, name: str, settings: ScimDirectoryConfig, context: BuildContext) -> None:
        token = context.reveal(settings.token)
        if not fits_a_header(token):
            raise ConfigurationError(
                f"token of directory {name!r}: not valid in a header. Remove line breaks and "
                "spaces."
            )
        self.name = name
        self.limits = limits_of(settings, batch=settings.bulk)
        self.proof = Proof.REFUSED if settings.probe else Proof.READ_BACK
        self.irreversible = (_OWN_SESSIONS,)
        if settings.revocation:
            self.irreversible += ("tokens that were revoked stay revoked; holders sign in again",)
        else:
            self.verbs = self.verbs - {"revoke"}
        self._revocation = revocation_of(settings.revocation, context.reveal)
        self._probe = probe_of(settings.probe, context.reveal)
        self._http = HttpClient(
            verify_tls=settings.verify_tls,
            ca_file=settings.ca_file,
            workers=settings.workers,
            clock=context.clock,
        )
        self._client = ScimClient(self._http, settings.url, token)
        self._bulk = ScimBulk(self._client) if settings.bulk > 1 else None

    def canonical(self, name: str) -> str:
        return name.lower()  # RFC 7643 4.1.1: userName is not case-sensitive

    def close(self) -> None:
        self._http.close()

    def _observe(self, names: Sequence[str]) -> list[AccountState]:
        known = self._found_together(names)

        def look(name: str) -> AccountState:
            return _state(name, known.get(name) or self._client.find(name, self._deadline()))

        return observe_accounts(self.name, look, names, workers=self.limits.workers)

    def _lock(self, orders: Sequence[Order]) -> list[Result]:
        return self._change_each(orders, _target, self._client.find_many, self._lock_wants)

    def _revoke(self, orders: Sequence[Order]) -> list[Result]:
        return self._run_in_parallel(self._revoke_one, orders)

    def _prove(self, orders: Sequence[Order]) -> list[Result]:
        known = self._found_together([order.target for order in orders])
        return self._run_in_parallel(lambda order: self._prove_one(order, known), orders)

    def _undo(self, orders: Sequence[Order]) -> list[Result]:
        return self._change_each(orders, _prior_id, self._client.read_many, self._undo_wants)

    # The change that an order requests.

    def _lock_wants(
        self, order: Order, known: _Known, deadline: Deadline
    ) -> tuple[ScimAccount, bool] | Result:
        account = known.get(order.target) or self._client.find(order.target, deadline)
        if account is None:
            return refused(order, ABSENT)
        if _is_someone_else(account, order):
            return refused(order, SOMEONE_ELSE)
        return account, False

    def _undo_wants(
        self, order: Order, known: _Known, deadline: Deadline
    ) -> tuple[ScimAccount, bool] | Result:
        account_id, was_active = _prior_id(order), (order.prior or {}).get("active")
        if not isinstance(was_active, bool) or not account_id:
            return refused(order, PRIOR_UNKNOWN)
        account = known.get(account_id) or self._client.read(account_id, deadline)
        if account is None:
            return refused(order, ABSENT)
        return account, was_active

    # Changes of single accounts, or of many by one request.

    def _change_each(
        self, orders: Sequence[Order], key: _Key, look_up: _LookUp, wants: _Wants
    ) -> list[Result]:
        def alone(order: Order) -> Result:
            deadline = self._deadline()
            try:
                wanted = wants(order, {}, deadline)
            except Unavailable as error:
                return failed(order, error)
            return wanted if isinstance(wanted, Result) else self._make(order, *wanted, deadline)

        if self._bulk is None or len(orders) < 2:
            return self._run_in_parallel(alone, orders)
        return self._change_together(orders, key, look_up, wants, self._bulk)

    def _change_together(
        self, orders: Sequence[Order], key: _Key, look_up: _LookUp, wants: _Wants, bulk: ScimBulk
    ) -> list[Result]:
        """Change all accounts in one time limit, with as few requests as possible."""
        deadline = self._deadline()
        is_offered = bulk.is_offered(deadline)
        try:
            known = look_up([text for order in orders if (text := key(order))], deadline)
        except Unavailable as error:
            return [failed(order, error) for order in orders]

        def decide(order: Order) -> tuple[ScimAccount, bool] | Result:
            try:
                return wants(order, known, deadline)
            except Unavailable as error:
                return failed(order, error)

        decided = self._run_in_parallel(decide, orders)
        differing = {
            account.id: is_active
            for account, is_active in (
                decision for decision in decided if not isinstance(decision, Result)
            )
            if account.is_active is not is_active
        }
        became = bulk.change(differing, deadline) if is_offered else {}
        after: _Known = {}
        if became:
            with contextlib.suppress(Unavailable):  # then each account is read back alone
                after = self._client.read_many(list(became), deadline)

        def settle(order: Order, decision: tuple[ScimAccount, bool] | Result) -> Result:
            if isinstance(decision, Result):
                return decision
            account, is_active = decision
            answer = became.get(account.id)
            return self._make(order, account, is_active, deadline, answer, after.get(account.id))

        return self._run_in_parallel(
            lambda pair: settle(*pair), list(zip(orders, decided, strict=True))
        )

    def _make(
        self,
        order: Order,
        account: ScimAccount,
        is_active: bool,
        deadline: Deadline,
        became: _Became = None,
        after: ScimAccount | None = None,
    ) -> Result:
        """Set the flag; in a lock, also revoke the tokens that the order names."""
        made = self._set_active(order, account, is_active, deadline, became, after)
        if is_active or self._revocation is None or not known_tokens(order):
            return made
        return most_severe([made, revoke_tokens(self._http, self._revocation, order, deadline)])

    def _revoke_one(self, order: Order) -> Result:
        if self._revocation is None or not known_tokens(order):
            return refused(order, "no token of this account is known, so none can be revoked")
        return revoke_tokens(self._http, self._revocation, order, self._deadline())

    def _prove_one(self, order: Order, known: _Known) -> Result:
        deadline = self._deadline()
        try:
            account = known.get(order.target) or self._client.find(order.target, deadline)
            if account is None:
                return refused(order, ABSENT)
            if _is_someone_else(account, order):
                return refused(order, SOMEONE_ELSE)
            if account.is_active is not False:
                return _still_admits(order, account)
            if self._probe is None:
                return proven(order, Proof.READ_BACK)
            probe_result = probe_tokens(self._http, self._probe, order, deadline)
        except Unavailable as error:
            return failed(order, error)
        match probe_result:
            case ProbeResult.CLOSED:
                return proven(order, Proof.REFUSED)
            case ProbeResult.UNCLEAR:
                return proven(
                    order,
                    Proof.READ_BACK,
                    "the probe has no result: no token of this account is known, or the control "
                    "token was refused",
                )
            case ProbeResult.OPEN:
                return Result(
                    target=order.target,
                    state=EffectState.FAILED,
                    reason="the account is locked, but a token is still accepted. Revoke it.",
                )

    def _set_active(
        self,
        order: Order,
        account: ScimAccount,
        is_active: bool,
        deadline: Deadline,
        became: _Became,
        after: ScimAccount | None,
    ) -> Result:
        """Set the flag if it differs and was not requested yet; read it back."""
        if account.is_active is is_active:
            return _done_result(order, account, was_changed=False)
        try:
            answer = became or self._client.patch(account.id, is_active, deadline)
        except (NotSent, NoAnswer) as error:
            answer = error
        if isinstance(answer, NoAnswer):
            return unknown(order, f"the change was sent: {answer}")
        if isinstance(answer, NotSent):
            return failed(order, answer)
        if answer.status == 404:
            return refused(order, ABSENT)
        if not answer.is_success and (answer.is_busy or answer.status < 500):
            return _refused_result(order, answer)
        try:
            after = after or self._client.read(account.id, deadline)
        except Unavailable as error:
            return unknown(order, f"the change was sent, but could not be read back: {error}")
        if after is None:
            return refused(order, ABSENT)
        if after.is_active is is_active:
            return _done_result(order, account, was_changed=True)
        if after.is_active is None or not answer.is_success:
            return unknown(
                order, "the change was sent, but the directory does not report its effect"
            )
        return failed(order, Unavailable(NO_EFFECT, retry_after_seconds=REPLICA_SECONDS))

    def _found_together(self, names: Sequence[str]) -> _Known:
        """Return the accounts that one search for all names finds, if any."""
        if self._bulk is None or len(names) < 2:
            return {}
        try:
            return self._client.find_many(names, self._deadline())
        except Unavailable:
            return {}

    def _deadline(self) -> Deadline:
        return Deadline(self.limits.timeout_seconds)

    def _run_in_parallel(self, do: Callable[[_In], _Out], items: Sequence[_In]) -> list[_Out]:
        return run_parallel(do, items, workers=self.limits.workers)


def _state(name: str, account: ScimAccount | None) -> AccountState:
    if account is None:
        return AccountState(name=name, exists=False)
    return AccountState(
        name=name,
        exists=True,
        is_enabled=account.is_active,
        prior={"id": account.id, "active": account.is_active},
    )


def _is_someone_else(account: ScimAccount, order: Order) -> bool:
    known_id = _prior_id(order)
    return known_id is not None and known_id != account.id


def _refused_result(order: Order, answer: Answer) -> Result:
    """Return the result of a change that the directory refused."""
    error = status_error(answer)
    if is_declined(answer):
        return refused(order, str(error))
    return failed(order, error)


def _done_result(order: Order, account: ScimAccount, *, was_changed: bool) -> Result:
    return done(order, was_changed=was_changed, id=account.id)


def _still_admits(order: Order, account: ScimAccount) -> Result:
    return failed(
        order,
        "the account is active. Lock it again."
        if account.is_active
        else "the directory does not report whether the account is active",
    )


def _target(order: Order) -> str:
    return order.target


def _prior_id(order: Order) -> str | None:
    account_id = (order.prior or {}).get("id")
    return account_id if isinstance(account_id, str) else None
