"""Connector for Google Workspace: the users of one customer.

A lock suspends the user, signs the user out, and deletes the user's OAuth tokens and
application-specific passwords. The connector uses the Directory API of the Admin SDK.

Rules
- A suspension sends only the field `suspended`: `users.update` leaves all other fields unchanged
  (patch semantics, in Google's description).
- OAuth tokens and application-specific passwords remain valid after a sign-out, so each is deleted,
  and the lists are read again. Browser sessions cannot be counted.
- The service account acts for an administrator (domain-wide delegation), and has only the
  administrator's rights.
- The answer must contain the requested address, as the primary address or as an alias.
- Only second factors at Google are reported. Users that sign in with another provider (SAML) may
  have a factor with that provider.
- Google reports a rate limit with 403 too: only the reason in the body distinguishes it from
  missing rights.
"""

from collections.abc import Mapping, Sequence

from standfast.adapters.accounts import SecondFactors
from standfast.adapters.accounts.base.build_context import BuildContext, limits_of
from standfast.adapters.accounts.base.http_connector import HttpConnector, invalid_answer, segment
from standfast.adapters.accounts.base.per_account_connector import (
    Account,
    ProviderRefused,
    SessionsRemain,
)
from standfast.adapters.accounts.base.results import ABSENT
from standfast.adapters.accounts.base.second_factors import (
    MOST_LISTED,
    count_second_factors,
    second_factor_deadline,
)
from standfast.adapters.clients.google_api import (
    ADMIN_API,
    TOKENS,
    google_credential,
    google_status_error,
)
from standfast.config.sections.accounts import GoogleWorkspaceConfig
from standfast.errors import Unavailable
from standfast.http_client import Answer
from standfast.records import JsonObject, Order, Proof
from standfast.time_limit import Deadline

SCOPE = (
    "https://www.googleapis.com/auth/admin.directory.user "
    "https://www.googleapis.com/auth/admin.directory.user.security"
)


class GoogleWorkspace(HttpConnector):
    """Connector of one customer's users."""

    proof = Proof.READ_BACK
    is_contract_tested = True
    irreversible = (
        "OAuth tokens and application-specific passwords are deleted; holders create new ones",
    )

    def __init__(
        self,
        name: str,
        settings: GoogleWorkspaceConfig,
        context: BuildContext,
        *,
        directory_url: str = ADMIN_API,
        token_url: str = TOKENS,
    ) -> None:
        address = f"{directory_url}/admin/directory/v1"
        super().__init__(name, address, limits_of(settings), clock=context.clock)
        self.credential = google_credential(
            name, settings, context.reveal, self._http, context.clock, SCOPE, token_url=token_url
        )

    def canonical(self, name: str) -> str:
        return name.casefold()

    def _find(self, name: str, deadline: Deadline) -> Account | None:
        user = self._user(name, deadline)
        if user is None:
            return None
        known_as = [user.get("primaryEmail")]
        for key in ("aliases", "nonEditableAliases"):
            aliases = user.get(key, [])
            known_as += aliases if isinstance(aliases, list) else []
        if self.canonical(name) not in [self.canonical(str(known)) for known in known_as]:
            return None
        return _account(user)

    def _read(self, account_id: str, deadline: Deadline) -> Account | None:
        user = self._user(account_id, deadline)
        account = None if user is None else _account(user)
        return account if account is not None and account.id == account_id else None

    def _disable(self, account: Account, deadline: Deadline) -> bool:
        if account.is_enabled is False:
            return False  # archived accounts are disabled too, and need no suspension
        return self._set_suspended(account, True, deadline)

    def _restore(self, account: Account, prior: JsonObject, deadline: Deadline) -> bool:
        if prior["enabled"] is account.is_enabled:
            return False
        return self._set_suspended(account, prior.get("suspended") is True, deadline)

    def _end_sessions(self, account: Account, order: Order, deadline: Deadline) -> bool:
        path = f"/users/{segment(account.id)}"
        self._sign_out(account, deadline)
        left = self._remaining_paths(account, deadline)
        for found in left:
            self._change_at("DELETE", f"{path}/{found}", deadline)
        if left and self._remaining_paths(account, deadline):
            raise SessionsRemain("a token or application-specific password remains. Revoke again.")
        return True

    def _proof_level(self, account: Account, order: Order, deadline: Deadline) -> Proof:
        if self._remaining_paths(account, deadline):
            raise SessionsRemain(
                "the account is suspended, but has a token or application-specific password. "
                "Revoke it."
            )
        return Proof.READ_BACK

    def _review_notes(self, account: Account, deadline: Deadline) -> Sequence[str]:
        return ("mail forwarding, delegates and filters: Gmail keeps them while suspended",)

    def _second_factors(self) -> SecondFactors:
        until = second_factor_deadline(self.limits)
        seen: list[tuple[str, bool | None, bool]] = []
        query = {"customer": "my_customer", "maxResults": "500", "orderBy": "email"}
        while True:
            page = self._get("/users", until, query)
            users = page.get("users", []) if isinstance(page, dict) else None
            if not isinstance(page, dict) or not isinstance(users, list):
                raise invalid_answer()
            for user in users:
                if _account(user).is_enabled is not False:
                    has_factor = user.get("isEnrolledIn2Sv")
                    is_admin = True in (user.get("isAdmin"), user.get("isDelegatedAdmin"))
                    known = has_factor if isinstance(has_factor, bool) else None
                    seen.append((str(user["primaryEmail"]), known, is_admin))
            after = page.get("nextPageToken")
            if not isinstance(after, str) or len(seen) >= MOST_LISTED:
                return count_second_factors(seen, is_whole=not after)
            if after == query.get("pageToken"):
                raise invalid_answer()
            query["pageToken"] = after

    # Requests to Google.

    def _user(self, key: str, deadline: Deadline) -> Mapping[str, object] | None:
        try:
            path = f"/users/{segment(key)}"
        except ValueError:
            return None
        user = self._get(path, deadline)
        if user is not None and not isinstance(user, dict):
            raise invalid_answer()
        return user

    def _sign_out(self, account: Account, deadline: Deadline) -> None:
        try:
            is_there = self._change_at("POST", f"/users/{segment(account.id)}/signOut", deadline)
        except ProviderRefused:
            # A suspension ends sessions, so Google may refuse because no session is left.
            now = self._read(account.id, deadline)
            if now is None or now.is_enabled is not False:
                raise
        else:
            if not is_there:
                raise ProviderRefused(ABSENT)

    def _remaining_paths(self, account: Account, deadline: Deadline) -> list[str]:
        """Return the paths of the tokens and application passwords that remain."""
        return [
            f"{kind}/{found}"
            for kind, key in (("tokens", "clientId"), ("asps", "codeId"))
            for found in self._list(f"/users/{segment(account.id)}/{kind}", key, deadline)
        ]

    def _list(self, path: str, key: str, deadline: Deadline) -> list[str]:
        found = self._get(path, deadline)
        items = found.get("items", []) if isinstance(found, dict) else []
        if not isinstance(items, list):
            raise invalid_answer()
        try:
            return [segment(str(item[key])) for item in items]
        except (TypeError, KeyError, ValueError):
            raise invalid_answer() from None

    def _set_suspended(self, account: Account, is_suspended: bool, deadline: Deadline) -> bool:
        if account.prior["suspended"] is is_suspended:
            return False
        path = f"/users/{segment(account.id)}"
        if not self._change_at("PUT", path, deadline, body={"suspended": is_suspended}):
            raise ProviderRefused(ABSENT)
        return True

    def _status_error(self, answer: Answer) -> Unavailable:
        return google_status_error(answer)


def _account(user: Mapping[str, object]) -> Account:
    account_id, suspended = user.get("id"), user.get("suspended", False)
    if not isinstance(account_id, str) or account_id in ("", ".", ".."):
        raise invalid_answer()
    name = str(user.get("primaryEmail"))
    if not isinstance(suspended, bool):
        return Account(id=account_id, is_enabled=None, prior={"suspended": None}, name=name)
    is_enabled = not suspended and user.get("archived") is not True
    return Account(id=account_id, is_enabled=is_enabled, prior={"suspended": suspended}, name=name)
