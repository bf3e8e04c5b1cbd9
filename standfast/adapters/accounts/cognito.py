"""Connector for the users of an Amazon Cognito user pool.

A lock disables the user and ends the user's sessions. Calls go through `base.aws_client`.

Rules
- A disabled user cannot sign in, but an access or ID token is valid until it expires, up to a day.
  An application that checks only the signature accepts it; only Cognito's own end points check the
  sign-out. Approvers see this in the plan of a lock.
- The global sign-out revokes every refresh token, so that none works when an undo has enabled the
  user again. Cognito has no operation that counts refresh tokens, and answers the sign-out of a
  user without refresh tokens in the same way. So the result of a sign-out is always "changed".
- A user's `sub` is permanent; a user name can be reassigned.
- A pool requires a second factor of every user, of no user, or only of users that registered a
  factor. Each user is queried only in the last case. Users of an external identity provider have a
  factor with that provider, or none.
- Cognito may answer a query by user name with another user, whose alias is this name. So an answer
  is accepted only if it contains the name as the user name or an alias, in upper or lower case.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from standfast.adapters.accounts import SecondFactors
from standfast.adapters.accounts.base.aws_client import AwsAnswer, AwsClient
from standfast.adapters.accounts.base.build_context import BuildContext, limits_of
from standfast.adapters.accounts.base.oauth_token_revocation import known_tokens
from standfast.adapters.accounts.base.per_account_connector import (
    Account,
    PerAccountConnector,
    ProviderRefused,
    SessionsRemain,
)
from standfast.adapters.accounts.base.results import ABSENT
from standfast.adapters.accounts.base.second_factors import (
    MOST_LISTED,
    count_second_factors,
    query_second_factors,
    second_factor_deadline,
)
from standfast.config.sections.accounts import CognitoConfig
from standfast.http_client import fits_a_header
from standfast.records import JsonObject, Order, Proof
from standfast.time_limit import Deadline

_NO_SUCH = "UserNotFoundException"
_REFUSED = "NotAuthorizedException"
_LONGEST_NAME = 128
PAGE_ROWS = 60  # the largest page of Cognito
_ALIASES = ("email", "phone_number", "preferred_username")


class Cognito(PerAccountConnector):
    """Connector of one user pool."""

    proof = Proof.READ_BACK  # the level is `refused` if the order names an access token
    irreversible = (
        "refresh tokens that were revoked stay revoked; holders sign in again",
        "access tokens stay valid until they expire in applications that do not ask Cognito",
    )

    def __init__(self, name: str, settings: CognitoConfig, context: BuildContext) -> None:
        super().__init__(name, limits_of(settings))
        self._aws = AwsClient("cognito-idp", settings, context)
        self._pool = settings.user_pool_id

    def close(self) -> None:
        self._aws.close()

    def _find(self, name: str, deadline: Deadline) -> Account | None:
        user = self._get(name, deadline)
        if user is None:
            return None
        attributes = _attributes(user)
        username = str(user["Username"])
        known_as = [username, *(attributes[key] for key in _ALIASES if key in attributes)]
        if name.casefold() not in [known.casefold() for known in known_as]:
            return None
        enabled = user.get("Enabled")
        return Account(
            id=f"{username} {attributes.get('sub', '')}",
            is_enabled=enabled if isinstance(enabled, bool) else None,
            prior={},
            name=username,
        )

    def _read(self, account_id: str, deadline: Deadline) -> Account | None:
        # Cognito reads by name only; `sub` shows whether it is the same user.
        account = self._find(_username(account_id), deadline)
        return account if account is not None and account.id == account_id else None

    def _disable(self, account: Account, deadline: Deadline) -> bool:
        return self._set_enabled(account, False, deadline)

    def _restore(self, account: Account, prior: JsonObject, deadline: Deadline) -> bool:
        return self._set_enabled(account, prior["enabled"] is True, deadline)

    def _end_sessions(self, account: Account, order: Order, deadline: Deadline) -> bool:
        self._act("admin_user_global_sign_out", account, deadline)
        return True

    def _proof_level(self, account: Account, order: Order, deadline: Deadline) -> Proof:
        # A token that no HTTP header can contain is always refused, so it proves nothing.
        tokens = [token for token in known_tokens(order) if fits_a_header(token)]
        for token in tokens:
            if self._aws.read("get_user", deadline, absent=_REFUSED, AccessToken=token):
                raise SessionsRemain("an access token of the account is still accepted. Revoke it.")
        return Proof.REFUSED if tokens else Proof.READ_BACK

    def _review_notes(self, account: Account, deadline: Deadline) -> Sequence[str]:
        user = self._get(_username(account.id), deadline) or {}
        factors = len(user.get("UserMFASettingList") or ())
        return (f"second factor: {factors}",) if factors else ()

    def _second_factors(self) -> SecondFactors:
        until = second_factor_deadline(self.limits)
        pool = self._aws.read("get_user_pool_mfa_config", until, UserPoolId=self._pool) or {}
        mode = pool.get("MfaConfiguration", "OFF")
        if mode == "ON":
            return SecondFactors(without=())
        names = self._users_that_can_sign_in(until)
        if mode == "OFF":
            listed = list(islice(names, MOST_LISTED + 1))
            return count_second_factors(
                [(name, False, False) for name in listed[:MOST_LISTED]],
                is_whole=len(listed) <= MOST_LISTED,
            )

        def has_factor(name: str) -> bool | None:
            user = self._aws.read(
                "admin_get_user", until, absent=_NO_SUCH, UserPoolId=self._pool, Username=name
            )
            return None if user is None else bool(user.get("UserMFASettingList"))

        return query_second_factors(names, has_factor, self.limits)

    # Requests to Cognito.

    def _users_that_can_sign_in(self, until: Deadline) -> Iterator[str]:
        after: dict[str, str] = {}
        while True:
            page = (
                self._aws.read("list_users", until, UserPoolId=self._pool, Limit=PAGE_ROWS, **after)
                or {}
            )
            for user in page.get("Users", ()):
                is_elsewhere = user.get("UserStatus") == "EXTERNAL_PROVIDER"
                if user.get("Enabled") is not False and not is_elsewhere:
                    yield str(user["Username"])
            following = page.get("PaginationToken")
            if not following or following == after.get("PaginationToken"):
                return
            after = {"PaginationToken": following}

    def _get(self, name: str, deadline: Deadline) -> AwsAnswer | None:
        if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable() or " " in name:
            return None  # Cognito does not permit such a name
        return self._aws.read(
            "admin_get_user", deadline, absent=_NO_SUCH, UserPoolId=self._pool, Username=name
        )

    def _set_enabled(self, account: Account, is_enabled: bool, deadline: Deadline) -> bool:
        if account.is_enabled is is_enabled:
            return False
        self._act("admin_enable_user" if is_enabled else "admin_disable_user", account, deadline)
        return True

    def _act(self, operation: str, account: Account, deadline: Deadline) -> None:
        answer = self._aws.change(
            operation,
            deadline,
            absent=_NO_SUCH,
            UserPoolId=self._pool,
            Username=_username(account.id),
        )
        if answer is None:
            raise ProviderRefused(ABSENT)


def _username(account_id: str) -> str:
    return account_id.rpartition(" ")[0]


def _attributes(user: AwsAnswer) -> Mapping[str, str]:
    return {
        str(attribute["Name"]): str(attribute.get("Value", ""))
        for attribute in user.get("UserAttributes", ())
    }
