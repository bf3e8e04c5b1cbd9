"""A directory that speaks SCIM 2.0 (RFC 7643, RFC 7644) over HTTP.

It owns looking an account up, changing its `active` flag and reading it back. Tokens are ended and
probed by `oauth_tokens`, where the configuration names the end points: SCIM itself has no sessions.

Rules
- An account is found by a `userName eq` filter, and believed only when the answer carries that very
  name: some servers ignore filters and answer with everybody. Then the list is paged through.
- What the directory says it did is not believed: every change is read back by another request. A
  success without effect is FAILED; a garbled answer is settled by reading back, or else UNKNOWN.
- A change that was sent and not answered is UNKNOWN, and is not repeated here.
- The prior state is `{"id", "active"}`. An undo goes by the id, so that a name that was given to
  somebody else meanwhile is not enabled in the holder's stead; a lock refuses such a name.
- Names come from people and ids from the directory: neither is trusted in a filter or a path.
- One account's call, with all its requests, shares the hard time-out of `limits`.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from standfast.accounts import AccountState, Connector
from standfast.accounts.bounded_http import (
    Answer,
    BoundedHttp,
    Deadline,
    NoAnswer,
    NotSent,
    fits_a_header,
)
from standfast.accounts.oauth_tokens import (
    Door,
    TokenProbe,
    TokenRevocation,
    gravest,
    known_tokens,
    probe_tokens,
    revoke_tokens,
)
from standfast.accounts.scim_wire import (
    ScimAccount,
    account_path,
    name_filter,
    read_account,
    read_page,
    set_active,
    status_error,
)
from standfast.errors import ConfigurationError, Unavailable
from standfast.records import EffectState, Limits, Order, Proof, Result

# Some directories answer before every replica knows: time enough for them, short enough at night.
REPLICA_SECONDS = 5.0

_ABSENT = "the directory knows no such account"

_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True, kw_only=True)
class ScimOptions:
    """How one directory is to be reached, and what it offers besides SCIM."""

    limits: Limits = field(default_factory=Limits)
    verify_tls: bool = True
    ca_file: Path | None = None  # None: the public authorities
    revocation: TokenRevocation | None = None  # None: `revoke` is not supported
    probe: TokenProbe | None = None  # None: proof stops at reading back


class ScimDirectory(Connector):
    """One SCIM directory; `base_url` is what stands before /Users, `token` may change accounts."""

    def __init__(
        self,
        name: str,
        base_url: str,
        token: str,
        options: ScimOptions | None = None,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if not fits_a_header(token):
            raise ConfigurationError(
                f"the token of directory {name!r} holds what no header can carry; "
                "look for a line break or a space in it"
            )
        options = options or ScimOptions()
        self.name = name
        self.limits = options.limits
        self.proof = Proof.REFUSED if options.probe else Proof.READ_BACK
        if options.revocation:
            self.irreversible = ("tokens that were revoked stay revoked; holders sign in again",)
        else:
            self.verbs = self.verbs - {"revoke"}
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._revocation = options.revocation
        self._probe = options.probe
        self._http = BoundedHttp(
            verify_tls=options.verify_tls,
            ca_file=options.ca_file,
            workers=options.limits.workers,
            clock=clock,
        )

    def close(self) -> None:
        self._http.close()

    def _observe(self, names: Sequence[str]) -> list[AccountState]:
        errors: list[Unavailable] = []

        def look(name: str) -> AccountState:
            try:
                account = self._find(name, self._deadline())
            except Unavailable as error:
                errors.append(error)
                return AccountState(name=name, exists=False, reason=str(error))
            return _state(name, account)

        states = self._side_by_side(look, names)
        if names and len(errors) == len(names):
            raise Unavailable(
                f"directory {self.name!r} could not be read: {errors[0]}",
                retry_after_seconds=errors[0].retry_after_seconds,
            )
        return states

    def _lock(self, orders: Sequence[Order]) -> list[Result]:
        return self._side_by_side(self._lock_one, orders)

    def _revoke(self, orders: Sequence[Order]) -> list[Result]:
        return self._side_by_side(self._revoke_one, orders)

    def _prove(self, orders: Sequence[Order]) -> list[Result]:
        return self._side_by_side(self._prove_one, orders)

    def _undo(self, orders: Sequence[Order]) -> list[Result]:
        return self._side_by_side(self._undo_one, orders)

    # One account.

    def _lock_one(self, order: Order) -> Result:
        deadline = self._deadline()
        try:
            account = self._find(order.target, deadline)
        except Unavailable as error:
            return _failed(order, error)
        if account is None:
            return _refused(order, _ABSENT)
        if _is_someone_else(account, order):
            return _refused(
                order,
                "the name now belongs to another account than when the incident opened; "
                "look at both, then lock each by a new step",
            )
        locked = self._set_active(order, account, False, deadline)
        if self._revocation is None or not known_tokens(order):
            return locked
        return gravest([locked, revoke_tokens(self._http, self._revocation, order, deadline)])

    def _revoke_one(self, order: Order) -> Result:
        if self._revocation is None or not known_tokens(order):
            return _refused(order, "no token of this account is known, so none can be revoked")
        return revoke_tokens(self._http, self._revocation, order, self._deadline())

    def _undo_one(self, order: Order) -> Result:
        before = order.prior or {}
        account_id, was_active = before.get("id"), before.get("active")
        if not isinstance(was_active, bool) or not isinstance(account_id, str):
            return _refused(order, "the state before is not known; a person must decide")
        deadline = self._deadline()
        try:
            account = self._read(account_id, deadline)
        except Unavailable as error:
            return _failed(order, error)
        if account is None:
            return _refused(order, _ABSENT)
        return self._set_active(order, account, was_active, deadline)

    def _prove_one(self, order: Order) -> Result:
        deadline = self._deadline()
        try:
            account = self._find(order.target, deadline)
            if account is None:
                return _refused(order, _ABSENT)
            if account.is_active is not False:
                return _still_admits(order, account)
            if self._probe is None:
                return _proven(order, Proof.READ_BACK)
            door = probe_tokens(self._http, self._probe, order, deadline)
        except Unavailable as error:
            return _failed(order, error)
        match door:
            case Door.CLOSED:
                return _proven(order, Proof.REFUSED)
            case Door.UNCLEAR:
                return _proven(
                    order,
                    Proof.READ_BACK,
                    "the probe shows nothing: no token of this account is known, "
                    "or the control token was not let in",
                )
            case Door.OPEN:
                return Result(
                    target=order.target,
                    state=EffectState.FAILED,
                    reason="the account is locked, but a token of it is still let in; revoke it",
                )

    def _set_active(
        self, order: Order, account: ScimAccount, is_active: bool, deadline: Deadline
    ) -> Result:
        """Change the flag when it differs, and believe only what is read back."""
        if account.is_active is is_active:
            return _changed(order, account, was_changed=False)
        try:
            answer = self._patch(account, is_active, deadline)
        except NotSent as error:
            return _failed(order, error)
        except NoAnswer as error:
            return _unknown(order, f"the change was sent: {error}")
        if answer.status == 404:
            return _refused(order, _ABSENT)
        if not answer.is_success and (answer.is_busy or answer.status < 500):
            return _turned_down(order, answer)
        try:
            after = self._read(account.id, deadline)
        except Unavailable as error:
            return _unknown(order, f"the change was sent, and could not be read back: {error}")
        if after is None:
            return _refused(order, _ABSENT)
        if after.is_active is is_active:
            return _changed(order, account, was_changed=True)
        if after.is_active is None or not answer.is_success:
            return _unknown(
                order, "the change was sent, and the directory does not show its effect"
            )
        return Result(
            target=order.target,
            state=EffectState.FAILED,
            reason="the directory answered success, and the account is as it was; change it there",
            retry_after_seconds=REPLICA_SECONDS,
        )

    # The directory's side.

    def _find(self, name: str, deadline: Deadline) -> ScimAccount | None:
        """Find the account of exactly this name; None when there is none."""
        params = {"filter": name_filter(name)}
        alike: list[ScimAccount] = []
        seen = 0
        while True:
            answer = self._get("/Users", deadline, params)
            if answer.status == 404:
                raise Unavailable("the directory has no /Users at this address; check it")
            page = read_page(answer.body)
            for account in page.accounts:
                if account.name == name:
                    return account
            # RFC 7643 4.1.1: userName is not case-sensitive.
            alike += [account for account in page.accounts if account.name.lower() == name.lower()]
            seen += len(page.accounts)
            if not page.accounts or seen >= page.total:
                break
            params["startIndex"] = str(seen + 1)
        if len(alike) > 1:
            raise Unavailable("several accounts answer to this name; write it exactly")
        return alike[0] if alike else None

    def _read(self, account_id: str, deadline: Deadline) -> ScimAccount | None:
        answer = self._get(account_path(account_id), deadline)
        if answer.status == 404:
            return None
        account = read_account(answer.body)
        if account.id != account_id:
            raise Unavailable("the directory answered for another account than asked")
        return account

    def _get(
        self, path: str, deadline: Deadline, params: Mapping[str, str] | None = None
    ) -> Answer:
        """Read; the answer is a success or 404, everything else raises `Unavailable`."""
        answer = self._http.exchange(
            "GET", self._base_url + path, deadline, headers=self._headers(), params=params
        )
        if not answer.is_success and answer.status != 404:
            raise status_error(answer)
        return answer

    def _patch(self, account: ScimAccount, is_active: bool, deadline: Deadline) -> Answer:
        return self._http.exchange(
            "PATCH",
            self._base_url + account_path(account.id),
            deadline,
            headers={**self._headers(), "Content-Type": "application/scim+json"},
            content=set_active(is_active),
        )

    def _headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/scim+json, application/json",
        }

    def _deadline(self) -> Deadline:
        return Deadline(self.limits.timeout_seconds)

    def _side_by_side(self, do: Callable[[_In], _Out], items: Sequence[_In]) -> list[_Out]:
        """Do each item, in order of the answers, at most `limits.workers` at once."""
        if len(items) < 2:
            return [do(item) for item in items]
        with ThreadPoolExecutor(max_workers=min(self.limits.workers, len(items))) as pool:
            return list(pool.map(do, items))


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
    known_id = (order.prior or {}).get("id")
    return isinstance(known_id, str) and known_id != account.id


def _turned_down(order: Order, answer: Answer) -> Result:
    """Judge a change that the directory says it did not make."""
    error = status_error(answer)
    is_final = 400 <= answer.status < 500 and answer.status not in (401, 403)
    if is_final and error.retry_after_seconds is None:
        return _refused(order, str(error))
    return _failed(order, error)


def _changed(order: Order, account: ScimAccount, *, was_changed: bool) -> Result:
    return Result(
        target=order.target,
        state=EffectState.DONE,
        facts={"id": account.id, "changed": was_changed},
        proof=Proof.READ_BACK,
    )


def _proven(order: Order, level: Proof, reason: str = "") -> Result:
    return Result(target=order.target, state=EffectState.DONE, reason=reason, proof=level)


def _still_admits(order: Order, account: ScimAccount) -> Result:
    reason = (
        "the account is active; lock it again"
        if account.is_active
        else "the directory does not show whether the account is active"
    )
    return Result(target=order.target, state=EffectState.FAILED, reason=reason)


def _failed(order: Order, error: Unavailable) -> Result:
    return Result(
        target=order.target,
        state=EffectState.FAILED,
        reason=str(error),
        retry_after_seconds=error.retry_after_seconds,
    )


def _refused(order: Order, reason: str) -> Result:
    return Result(target=order.target, state=EffectState.REFUSED, reason=reason)


def _unknown(order: Order, reason: str) -> Result:
    return Result(target=order.target, state=EffectState.UNKNOWN, reason=reason)
