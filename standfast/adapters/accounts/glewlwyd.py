"""Connector for Glewlwyd, an OpenID Connect provider.

A lock clears the `enabled` flag, and ends the browser sessions and the refresh tokens of Glewlwyd's
OpenID Connect plugin. `base.oauth_token_revocation` revokes the access tokens that the order (the
change of one account) names, and tests that they are refused.

Rules
- Glewlwyd replaces a user as a whole (PUT). So the record that was read is sent back with one field
  changed.
- The browser sessions and refresh tokens of a disabled user become valid again when the user is
  enabled. A refresh token works even while its user is disabled. So each session and token is ended
  by its hash, and the lists are read again to count those that remain.
- Glewlwyd's API keys permit the administration of users, not of sessions. So the connector signs in
  with an administrator's name and password. It signs in again when the administrator's session has
  expired.
- Names are not case-sensitive. An answer is accepted only if it contains the requested name.
"""

import re
from collections.abc import Mapping

from standfast.adapters.accounts.base.build_context import BuildContext, limits_of
from standfast.adapters.accounts.base.http_connector import HttpConnector, invalid_answer, segment
from standfast.adapters.accounts.base.oauth_token_revocation import (
    ProbeResult,
    known_tokens,
    probe_of,
    probe_tokens,
    revocation_of,
    revoke_tokens,
)
from standfast.adapters.accounts.base.per_account_connector import (
    Account,
    OutcomeUnknown,
    ProviderRefused,
    SessionsRemain,
)
from standfast.adapters.clients.credentials import IssuedCredential, RenewedCredential
from standfast.adapters.clients.http_status import status_error
from standfast.config.sections.accounts import GlewlwydConfig
from standfast.errors import Unavailable
from standfast.records import EffectState, Json, JsonObject, Order, Proof
from standfast.time_limit import Deadline

# The session of an administrator ends ten minutes after the sign-in by default: renew it earlier.
_SIGNED_IN_SECONDS = 540.0
PAGE_ROWS = 100


class Glewlwyd(HttpConnector):
    """Connector of one Glewlwyd server."""

    def __init__(self, name: str, settings: GlewlwydConfig, context: BuildContext) -> None:
        super().__init__(
            name,
            settings.url,
            limits_of(settings),
            clock=context.clock,
            verify_tls=settings.verify_tls,
            ca_file=settings.ca_file,
        )
        self.proof = Proof.REFUSED if settings.probe else Proof.SESSIONS_GONE
        self.irreversible = (
            "sessions and refresh tokens that were ended stay ended; holders sign in again",
        )
        self.credential = RenewedCredential(self._sign_in)
        self._username = settings.user
        self._password = context.reveal(settings.password)
        self._plugin = segment(settings.plugin)
        self._session_key = settings.session_key
        self._revocation = revocation_of(settings.revocation, context.reveal)
        self._probe = probe_of(settings.probe, context.reveal)

    def canonical(self, name: str) -> str:
        return name.casefold()

    def _find(self, name: str, deadline: Deadline) -> Account | None:
        person = self._person(name, deadline)
        if person is None:
            return None
        username = str(person["username"])
        enabled = person.get("enabled")
        return Account(
            id=username,
            is_enabled=enabled if isinstance(enabled, bool) else None,
            live_sessions=len(self._sessions(username, deadline))
            + len(self._refresh_tokens(username, deadline)),
            prior={},
        )

    def _read(self, account_id: str, deadline: Deadline) -> Account | None:
        return self._find(account_id, deadline)

    def _disable(self, account: Account, deadline: Deadline) -> bool:
        return self._set_enabled(account.id, False, deadline)

    def _restore(self, account: Account, prior: JsonObject, deadline: Deadline) -> bool:
        return self._set_enabled(account.id, prior["enabled"] is True, deadline)

    def _end_sessions(self, account: Account, order: Order, deadline: Deadline) -> bool:
        name = segment(account.id)
        sessions = self._sessions(account.id, deadline)
        for found in sessions:
            self._change_at(
                "DELETE", f"/delegate/{name}/profile/session/{segment(found)}", deadline
            )
        tokens = self._refresh_tokens(account.id, deadline)
        for found in tokens:
            self._change_at(
                "DELETE",
                f"/{self._plugin}/token/{segment(found)}",
                deadline,
                params={"impersonate": account.id},
            )
        if sessions or tokens:
            left = self._sessions(account.id, deadline) + self._refresh_tokens(account.id, deadline)
            if left:
                raise SessionsRemain("a session or refresh token was not ended. Revoke again.")
        return self._revoke_known_tokens(order, deadline) or bool(sessions or tokens)

    def _proof_level(self, account: Account, order: Order, deadline: Deadline) -> Proof:
        level = super()._proof_level(account, order, deadline)
        if self._probe is None:
            return level
        match probe_tokens(self._http, self._probe, order, deadline):
            case ProbeResult.OPEN:
                raise SessionsRemain(
                    "the account is locked, but an access token is still accepted. Revoke it."
                )
            case ProbeResult.CLOSED:
                return Proof.REFUSED
            case ProbeResult.UNCLEAR:
                return level

    # Requests to Glewlwyd.

    def _person(self, name: str, deadline: Deadline) -> Mapping[str, Json] | None:
        try:
            path = f"/user/{segment(name)}"
        except ValueError:
            return None
        person = self._get(path, deadline)
        if person is None:
            return None
        if not isinstance(person, dict) or not isinstance(person.get("username"), str):
            raise invalid_answer()
        return person if self.canonical(person["username"]) == self.canonical(name) else None

    def _set_enabled(self, username: str, is_enabled: bool, deadline: Deadline) -> bool:
        person = self._person(username, deadline)
        if person is None:
            raise ProviderRefused("the directory has no such account any more")
        if person.get("enabled") is is_enabled:
            return False
        self._change_at(
            "PUT", f"/user/{segment(username)}", deadline, body={**person, "enabled": is_enabled}
        )
        return True

    def _sessions(self, username: str, deadline: Deadline) -> list[str]:
        return self._live_keys(
            f"/delegate/{segment(username)}/profile/session", "session_hash", deadline, {}
        )

    def _refresh_tokens(self, username: str, deadline: Deadline) -> list[str]:
        return self._live_keys(
            f"/{self._plugin}/token", "token_hash", deadline, {"impersonate": username}
        )

    def _live_keys(
        self, path: str, key: str, deadline: Deadline, params: Mapping[str, str]
    ) -> list[str]:
        """Return the keys of the enabled entries of a list, page by page."""
        found: list[str] = []
        offset = 0
        while True:
            page = self._get(
                path, deadline, {**params, "offset": str(offset), "limit": str(PAGE_ROWS)}
            )
            if not isinstance(page, list):
                raise Unavailable(
                    "sessions cannot be read. Check the name of the OpenID Connect plugin."
                )
            for item in page:
                if not isinstance(item, dict) or not isinstance(item.get(key), str):
                    raise invalid_answer()
                if item.get("enabled") is not False:
                    found.append(item[key])
            if len(page) < PAGE_ROWS:
                return found
            offset += PAGE_ROWS

    def _revoke_known_tokens(self, order: Order, deadline: Deadline) -> bool:
        if self._revocation is None or not known_tokens(order):
            return False
        result = revoke_tokens(self._http, self._revocation, order, deadline)
        if result.state is EffectState.UNKNOWN:
            raise OutcomeUnknown(result.reason)
        if result.state is not EffectState.DONE:
            raise Unavailable(result.reason, retry_after_seconds=result.retry_after_seconds)
        return True

    def _sign_in(self, deadline: Deadline) -> IssuedCredential:
        answer = self._send(
            "POST",
            "/auth/",
            deadline,
            {},
            None,
            {"username": self._username, "password": self._password},
        )
        if answer.status in (400, 401, 403):
            raise Unavailable(
                "the provider refuses the configured credential. Check the administrator's name "
                "and password."
            )
        if not answer.is_success:
            raise status_error(answer)
        cookie = re.search(
            rf"{re.escape(self._session_key)}=[^;,\s]+", answer.headers.get("set-cookie", "")
        )
        if cookie is None:
            raise Unavailable(
                "the sign-in of the administrator created no session. Check `session_key`."
            )
        return IssuedCredential(headers={"Cookie": cookie.group()}, seconds=_SIGNED_IN_SECONDS)
