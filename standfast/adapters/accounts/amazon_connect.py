"""Connector for the agents of an Amazon Connect instance.

A lock replaces the agent's security profiles by a profile without permissions, replaces the routing
profile by a profile without queues, and sets the agent's status. Calls go through
`base.aws_client`.

Rules
- Connect has no "disabled", and a user must have a security profile. So an administrator creates a
  profile that grants nothing, and the connector verifies it before the first use. A user that has
  only this profile is reported as disabled.
- No operation ends a session: an open browser page loses its rights when it is reloaded, and a
  contact in progress continues. Approvers see this in the plan of a lock.
- Connect's search index is updated with a delay. So only the id is taken from a search, and the
  state is read with `DescribeUser`.
- Connect accepts two requests a second for each operation, in bursts of at most five, for the whole
  AWS account. The connector stays within that limit, so that reading many agents is not refused.
- An undo does not restore the status: the agent chooses it at the next sign-in.
"""

import threading
import time
from collections.abc import Callable, Sequence

from standfast.adapters.accounts.base.aws_client import AwsAnswer, AwsClient
from standfast.adapters.accounts.base.build_context import BuildContext, limits_of
from standfast.adapters.accounts.base.per_account_connector import (
    Account,
    PerAccountConnector,
    ProviderRefused,
)
from standfast.adapters.accounts.base.results import ABSENT
from standfast.config.sections.accounts import AmazonConnectConfig
from standfast.errors import Unavailable
from standfast.records import JsonObject, Order, Proof
from standfast.retry_rules import RETRY_SECONDS
from standfast.time_limit import Deadline

PER_SECOND = 2.0
BURST = 3  # Connect accepts five at once, but other programs use the AWS account too
_NO_SUCH = "ResourceNotFoundException"
_LONGEST_NAME = 100
_PAGE = 100
_NOT_AS_LOCKED = (
    "its profiles differ from those of the lock and from the earlier ones: somebody changed "
    "them, or the configuration of the lock was changed. Set the right profiles by hand."
)


class Pace:
    """Limit of two requests a second for each operation; thread-safe."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
        self._guard = threading.Lock()
        self._last_turn: dict[str, float] = {}  # time of the last turn, by operation

    def wait(self, operation: str, deadline: Deadline) -> None:
        """Wait for a turn; `Unavailable` if the turn is after the deadline."""
        gap = 1 / PER_SECOND
        with self._guard:
            now = self._monotonic()
            turn = max(self._last_turn.get(operation, 0.0), now - BURST * gap) + gap
            if turn - now > deadline.left_seconds():
                raise Unavailable(
                    "too many requests to Connect are waiting",
                    retry_after_seconds=max(turn - now, RETRY_SECONDS),
                )
            self._last_turn[operation] = turn
        if turn > now:
            self._sleep(turn - now)


class AmazonConnect(PerAccountConnector):
    """Connector of the agents of one instance."""

    proof = Proof.READ_BACK
    is_contract_tested = True
    verbs = frozenset({"lock", "prove", "undo"})
    irreversible = ("a contact in progress continues; take it over or end it by hand",)

    def __init__(
        self,
        name: str,
        settings: AmazonConnectConfig,
        context: BuildContext,
        *,
        pace: Pace | None = None,
    ) -> None:
        super().__init__(name, limits_of(settings))
        self._aws = AwsClient("connect", settings, context)
        self._settings = settings
        self._pace = pace or Pace()
        self._is_harmless = False  # the profile for locked agents was verified

    def close(self) -> None:
        self._aws.close()

    def canonical(self, name: str) -> str:
        return name.casefold()

    def _find(self, name: str, deadline: Deadline) -> Account | None:
        if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            return None  # Connect does not permit such a name
        self._check_profile(deadline)
        alike = {
            str(user["Username"]): str(user["Id"])
            for user in self._search(name, deadline)
            if self.canonical(str(user.get("Username"))) == self.canonical(name)
        }
        if name not in alike and len(alike) > 1:
            raise Unavailable(
                "the names of several agents differ from this name only in upper and lower case. "
                "Write the name in its exact case."
            )
        account_id = alike.get(name) or next(iter(alike.values()), None)
        return None if account_id is None else self._read(account_id, deadline)

    def _read(self, account_id: str, deadline: Deadline) -> Account | None:
        answer = self._ask("describe_user", deadline, absent=_NO_SUCH, UserId=account_id)
        if answer is None:
            return None
        user = answer["User"]
        profiles = sorted(map(str, user["SecurityProfileIds"]))
        return Account(
            id=account_id,
            is_enabled=profiles != [self._settings.no_access_security_profile],
            prior={"security_profiles": profiles, "routing_profile": str(user["RoutingProfileId"])},
        )

    def _disable(self, account: Account, deadline: Deadline) -> bool:
        settings = self._settings
        changed = self._set_profiles(
            account,
            [settings.no_access_security_profile],
            settings.no_contacts_routing_profile,
            deadline,
        )
        if changed and settings.offline_status is not None:
            self._act("put_user_status", account, deadline, AgentStatusId=settings.offline_status)
        return changed

    def _restore(self, account: Account, prior: JsonObject, deadline: Deadline) -> bool:
        profiles, routing = prior.get("security_profiles"), prior.get("routing_profile")
        if not isinstance(profiles, list | tuple) or not profiles or not isinstance(routing, str):
            raise ProviderRefused("the earlier profiles are unknown. Set them by hand.")
        if self._settings.no_contacts_routing_profile is None:
            routing = None  # locks do not change the routing profile
        return self._set_profiles(account, sorted(map(str, profiles)), routing, deadline)

    def _objection(self, account: Account, prior: JsonObject) -> str:
        ours: dict[str, object] = {"security_profiles": [self._settings.no_access_security_profile]}
        if self._settings.no_contacts_routing_profile is not None:
            ours["routing_profile"] = self._settings.no_contacts_routing_profile
        # If the agent was disabled before the lock, the undo grants nothing: it needs no check.
        is_theirs = prior.get("enabled") and any(
            account.prior[key] not in (prior.get(key), locked) for key, locked in ours.items()
        )
        return _NOT_AS_LOCKED if is_theirs else ""

    def _end_sessions(self, account: Account, order: Order, deadline: Deadline) -> bool:
        return False  # Connect has no such operation, so `verbs` excludes it

    # Requests to Connect.

    def _set_profiles(
        self, account: Account, profiles: Sequence[str], routing: str | None, deadline: Deadline
    ) -> bool:
        """Set the profiles that differ; return whether any profile differed."""
        changed = False
        if account.prior["security_profiles"] != profiles:
            self._act(
                "update_user_security_profiles",
                account,
                deadline,
                SecurityProfileIds=list(profiles),
            )
            changed = True
        if routing is not None and account.prior["routing_profile"] != routing:
            self._act("update_user_routing_profile", account, deadline, RoutingProfileId=routing)
            changed = True
        return changed

    def _search(self, name: str, deadline: Deadline) -> Sequence[AwsAnswer]:
        found: list[AwsAnswer] = []
        more: dict[str, str] = {}
        while True:
            page = (
                self._ask(
                    "search_users",
                    deadline,
                    MaxResults=_PAGE,
                    SearchCriteria={
                        "StringCondition": {
                            "FieldName": "Username",
                            "Value": name,
                            "ComparisonType": "EXACT",
                        }
                    },
                    **more,
                )
                or {}
            )
            found += page.get("Users", ())
            if not page.get("NextToken"):
                return found
            more = {"NextToken": str(page["NextToken"])}

    def _check_profile(self, deadline: Deadline) -> None:
        if self._is_harmless:
            return
        answer = self._ask(
            "list_security_profile_permissions",
            deadline,
            absent=_NO_SUCH,
            SecurityProfileId=self._settings.no_access_security_profile,
        )
        if answer is None:
            raise Unavailable("`no_access_security_profile` does not exist. Check its id.")
        if answer.get("Permissions"):
            raise Unavailable(
                "`no_access_security_profile` grants permissions. Name a profile without "
                "permissions."
            )
        self._is_harmless = True

    def _ask(
        self, operation: str, deadline: Deadline, *, absent: str = "", **parameters: object
    ) -> AwsAnswer | None:
        self._pace.wait(operation, deadline)
        return self._aws.read(
            operation, deadline, absent=absent, InstanceId=self._settings.instance_id, **parameters
        )

    def _act(
        self, operation: str, account: Account, deadline: Deadline, **parameters: object
    ) -> None:
        self._pace.wait(operation, deadline)
        answer = self._aws.change(
            operation,
            deadline,
            absent=_NO_SUCH,
            InstanceId=self._settings.instance_id,
            UserId=account.id,
            **parameters,
        )
        if answer is None:
            raise ProviderRefused(ABSENT)
