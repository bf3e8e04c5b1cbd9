"""Connector for Okta: the users of one organisation.

A lock suspends the user and clears the user's sessions and OAuth tokens.

Rules
- Users are suspended, never deactivated: deactivation removes their applications and cannot be
  undone.
- Okta suspends only ACTIVE users. For any other user that may sign in later (LOCKED_OUT, RECOVERY,
  PASSWORD_EXPIRED, …) the sessions are ended, and the lock is REFUSED with the reason.
- Sessions are cleared with `oauthTokens=true`; otherwise refresh tokens would stay valid.
- The answer must contain the requested login. Okta also finds users by id and by a shortened login,
  and interprets `me` as the owner of the connector's token.
- Second factors are queried with one request for each user. Administrators are not recognised,
  because that would need an additional scope. A security question is not a second factor: it is
  knowledge, like a password.
"""

from collections.abc import Iterator, Sequence

from standfast.adapters.accounts import SecondFactors
from standfast.adapters.accounts.base.build_context import BuildContext, limits_of
from standfast.adapters.accounts.base.http_connector import HttpConnector, invalid_answer, segment
from standfast.adapters.accounts.base.per_account_connector import Account, ProviderRefused
from standfast.adapters.accounts.base.results import ABSENT
from standfast.adapters.accounts.base.second_factors import (
    query_second_factors,
    second_factor_deadline,
)
from standfast.adapters.clients.okta_api import next_cursor, okta_credential, okta_status_error
from standfast.config.sections.accounts import OktaConfig
from standfast.errors import Unavailable
from standfast.http_client import Answer
from standfast.records import JsonObject, Order, Proof
from standfast.time_limit import Deadline

SCOPE = "okta.users.manage okta.users.read"
_DISABLED = ("SUSPENDED", "DEPROVISIONED")
_STATUSES = (
    "ACTIVE",
    "DEPROVISIONED",
    "LOCKED_OUT",
    "PASSWORD_EXPIRED",
    "PROVISIONED",
    "RECOVERY",
    "STAGED",
    "SUSPENDED",
)


class Okta(HttpConnector):
    """Connector of one organisation."""

    proof = Proof.READ_BACK
    is_contract_tested = True
    irreversible = ("sessions and OAuth tokens that were ended stay ended; holders sign in again",)

    def __init__(self, name: str, settings: OktaConfig, context: BuildContext) -> None:
        super().__init__(name, settings.url, limits_of(settings), clock=context.clock)
        self._clock = context.clock
        self.credential = okta_credential(
            name, settings, context.reveal, self._http, context.clock, SCOPE
        )

    def canonical(self, name: str) -> str:
        return name.casefold()

    def _find(self, name: str, deadline: Deadline) -> Account | None:
        account = self._look(name, deadline)
        if account is None or self.canonical(account[1]) != self.canonical(name):
            return None
        return account[0]

    def _read(self, account_id: str, deadline: Deadline) -> Account | None:
        account = self._look(account_id, deadline)
        return account[0] if account is not None and account[0].id == account_id else None

    def _disable(self, account: Account, deadline: Deadline) -> bool:
        if account.is_enabled is False:
            return False
        if account.obstacle:
            self._clear_sessions(account, deadline)
            raise ProviderRefused(f"{account.obstacle}. Its sessions were ended.")
        self._change_lifecycle("suspend", account, deadline)
        return True

    def _restore(self, account: Account, prior: JsonObject, deadline: Deadline) -> bool:
        if prior["enabled"] is account.is_enabled:
            return False
        if account.prior["status"] == "DEPROVISIONED":
            raise ProviderRefused(
                "the account was deactivated in the meantime. Activate it by hand."
            )
        self._change_lifecycle("unsuspend" if prior["enabled"] else "suspend", account, deadline)
        return True

    def _end_sessions(self, account: Account, order: Order, deadline: Deadline) -> bool:
        self._clear_sessions(account, deadline)
        return True

    def _review_notes(self, account: Account, deadline: Deadline) -> Sequence[str]:
        factors = self._get(f"/api/v1/users/{segment(account.id)}/factors", deadline)
        count = len(factors) if isinstance(factors, list) else 0
        return (f"second factor: {count}",) if count else ()

    def _second_factors(self) -> SecondFactors:
        until = second_factor_deadline(self.limits)
        logins: dict[str, str] = {}

        def has_factor(account_id: str) -> bool | None:
            found = self._get(f"/api/v1/users/{segment(account_id)}/factors", until)
            if not isinstance(found, list):
                return None
            return any(
                isinstance(factor, dict)
                and factor.get("status") == "ACTIVE"
                and factor.get("factorType") != "question"
                for factor in found
            )

        return query_second_factors(
            self._users_that_can_sign_in(until, logins),
            has_factor,
            self.limits,
            name_of=logins.__getitem__,
        )

    # Requests to Okta.

    def _users_that_can_sign_in(self, until: Deadline, logins: dict[str, str]) -> Iterator[str]:
        """Yield the ids of users that can sign in, page by page on demand.

        The function adds the login of each id to `logins`.
        """
        query = {"limit": "200"}
        while True:
            answer = self._ask("GET", "/api/v1/users", until, params=query)
            users = self._read_json(answer)
            if not isinstance(users, list):
                raise invalid_answer()
            for account, login in map(_read_user, users):
                if account.prior["status"] not in (*_DISABLED, "STAGED"):
                    logins[account.id] = login
                    yield account.id
            after = next_cursor(answer)
            if after in ("", query.get("after")):
                return
            query["after"] = after

    def _look(self, key: str, deadline: Deadline) -> tuple[Account, str] | None:
        """Read a user by login or id; return the account and its login."""
        try:
            path = f"/api/v1/users/{segment(key)}"
        except ValueError:
            return None
        user = self._get(path, deadline)
        return None if user is None else _read_user(user)

    def _change_lifecycle(self, way: str, account: Account, deadline: Deadline) -> None:
        path = f"/api/v1/users/{segment(account.id)}/lifecycle/{way}"
        if not self._change_at("POST", path, deadline):
            raise ProviderRefused(ABSENT)

    def _clear_sessions(self, account: Account, deadline: Deadline) -> None:
        path = f"/api/v1/users/{segment(account.id)}/sessions"
        if not self._change_at("DELETE", path, deadline, params={"oauthTokens": "true"}):
            raise ProviderRefused(ABSENT)

    def _status_error(self, answer: Answer) -> Unavailable:
        return okta_status_error(answer, self._clock)


def _read_user(user: object) -> tuple[Account, str]:
    """Return the account and its login."""
    profile = user.get("profile") if isinstance(user, dict) else None
    login = profile.get("login") if isinstance(profile, dict) else None
    if not isinstance(user, dict) or not isinstance(login, str):
        raise invalid_answer()
    account_id, status = user.get("id"), user.get("status")
    if not isinstance(account_id, str) or account_id in ("", ".", ".."):
        raise invalid_answer()
    known = status if status in _STATUSES else None
    can_be_suspended = known in ("ACTIVE", *_DISABLED)
    obstacle = f"Okta suspends only ACTIVE accounts, and this account is {known or 'not'}"
    account = Account(
        id=account_id,
        is_enabled=None if known is None else known not in _DISABLED,
        prior={"status": known},
        obstacle="" if can_be_suspended else obstacle,
    )
    return account, login
