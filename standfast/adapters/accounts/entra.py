"""Connector for Microsoft Entra ID: the users of one tenant.

A lock clears the `accountEnabled` flag and revokes the user's sign-in sessions. The connector uses
Microsoft Graph.

Rules
- A disabled user cannot sign in or renew a token. An access token remains valid for about an hour
  if the application does not support continuous access evaluation. Approvers see this in the plan
  of a lock.
- `revokeSignInSessions` invalidates the refresh tokens and browser sessions that exist at this
  time, so that they do not work when an undo has enabled the user again.
- A user that is synchronised from on premises is enabled again by the next synchronisation. So the
  result asks a person to lock the user on premises too.
- The answer must contain the requested name, because Graph also finds users by id.
- Second factors are read from Entra's registration report. The report lists only enabled users, may
  be hours old, and needs Entra ID P1. A guest's factor is registered in the guest's home tenant, so
  the report does not contain it.
"""

from collections.abc import Sequence

from standfast.adapters.accounts import SecondFactors, WithoutFactor
from standfast.adapters.accounts.base.build_context import BuildContext, limits_of
from standfast.adapters.accounts.base.http_connector import HttpConnector, invalid_answer, segment
from standfast.adapters.accounts.base.per_account_connector import Account, ProviderRefused
from standfast.adapters.accounts.base.results import ABSENT
from standfast.adapters.accounts.base.second_factors import MOST_LISTED, second_factor_deadline
from standfast.adapters.clients.entra_api import entra_credential, next_page_mark
from standfast.config.sections.accounts import EntraConfig
from standfast.records import JsonObject, Order, Proof
from standfast.time_limit import Deadline

_REPORT = "/reports/authenticationMethods/userRegistrationDetails"
_FIELDS = "id,userPrincipalName,accountEnabled,onPremisesSyncEnabled"


class Entra(HttpConnector):
    """Connector of one tenant."""

    proof = Proof.READ_BACK
    is_contract_tested = True
    irreversible = (
        "sign-in sessions that were revoked stay revoked; holders sign in again",
        "access tokens are valid until they expire in applications that do not ask Entra ID",
    )

    def __init__(self, name: str, settings: EntraConfig, context: BuildContext) -> None:
        super().__init__(
            name, f"{settings.graph_url}/v1.0", limits_of(settings), clock=context.clock
        )
        self.credential = entra_credential(settings, context.reveal, self._http, context.clock)

    def canonical(self, name: str) -> str:
        return name.casefold()

    def _find(self, name: str, deadline: Deadline) -> Account | None:
        found = self._look(name, deadline)
        if found is None or self.canonical(found[1]) != self.canonical(name):
            return None
        return found[0]

    def _read(self, account_id: str, deadline: Deadline) -> Account | None:
        found = self._look(account_id, deadline)
        return found[0] if found is not None and found[0].id == account_id else None

    def _disable(self, account: Account, deadline: Deadline) -> bool:
        return self._set_enabled(account, False, deadline)

    def _restore(self, account: Account, prior: JsonObject, deadline: Deadline) -> bool:
        return self._set_enabled(account, prior["enabled"] is True, deadline)

    def _end_sessions(self, account: Account, order: Order, deadline: Deadline) -> bool:
        path = f"/users/{segment(account.id)}/revokeSignInSessions"
        if not self._change_at("POST", path, deadline):
            raise ProviderRefused(ABSENT)
        return True

    def _review_notes(self, account: Account, deadline: Deadline) -> Sequence[str]:
        if account.prior["synchronised"] is True:
            return ("synchronised from on premises: lock it there too, or it is enabled again",)
        return ()

    def _second_factors(self) -> SecondFactors:
        until = second_factor_deadline(self.limits)
        without: list[WithoutFactor] = []
        unreported, query = 0, {"$filter": "isMfaRegistered eq false"}
        while True:
            page = self._get(_REPORT, until, query)
            if not isinstance(page, dict) or not isinstance(page.get("value"), list):
                raise invalid_answer()
            for user in page["value"]:
                if user["isMfaRegistered"] is not False:
                    continue  # Graph may ignore the filter
                if user.get("userType") == "guest":
                    unreported += 1
                    continue
                name, is_admin = str(user["userPrincipalName"]), user.get("isAdmin") is True
                without.append(WithoutFactor(name=name, is_privileged=is_admin))
            mark = next_page_mark(page)
            is_whole = not mark
            if is_whole or len(without) >= MOST_LISTED or mark.items() <= query.items():
                return SecondFactors(
                    without=tuple(without), unreported=unreported, is_whole=is_whole
                )
            query |= mark

    # Requests to Graph.

    def _look(self, key: str, deadline: Deadline) -> tuple[Account, str] | None:
        """Read a user by principal name or id; return account and principal name."""
        try:
            path = f"/users/{segment(key)}"
        except ValueError:
            return None
        user = self._get(path, deadline, {"$select": _FIELDS})
        if user is None:
            return None
        if not isinstance(user, dict):
            raise invalid_answer()
        account_id, name = user.get("id"), user.get("userPrincipalName")
        if not isinstance(name, str) or not isinstance(account_id, str):
            raise invalid_answer()
        if account_id in ("", ".", ".."):
            raise invalid_answer()
        enabled = user.get("accountEnabled")
        account = Account(
            id=account_id,
            is_enabled=enabled if isinstance(enabled, bool) else None,
            prior={"synchronised": user.get("onPremisesSyncEnabled") is True},
        )
        return account, name

    def _set_enabled(self, account: Account, is_enabled: bool, deadline: Deadline) -> bool:
        if account.is_enabled is is_enabled:
            return False
        path = f"/users/{segment(account.id)}"
        if not self._change_at("PATCH", path, deadline, body={"accountEnabled": is_enabled}):
            raise ProviderRefused(ABSENT)
        return True
