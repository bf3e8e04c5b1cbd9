"""Connector for AWS IAM users and roles: deny policies, keys, passwords.

A lock adds inline policies, deactivates access keys and deletes the console password. Calls go
through `base.aws_client`.

Rules
- The deny-all policy is set first: it applies to every key, session and certificate at once, so
  that nobody can use the account during the later steps. Then keys are made Inactive and the
  password is deleted.
- Temporary credentials and console sessions remain valid after a key is deactivated. A second
  policy denies every temporary credential that was issued before the lock (`aws:TokenIssueTime`).
  This policy stays when an undo unlocks the account, and does not affect newer credentials.
- The time of a lock is in the statement id of its policy. So a later call can check whether the
  second policy was set after the lock.
- IAM needs some seconds to propagate a change: a value that is read back may not be in effect
  everywhere yet.
- Second factors are read from the credential report, which AWS renews at most every four hours.
  They are reported for users with a console password, and for root: an access key needs no second
  factor.
- IAM has no "disabled": an account is reported as disabled while it has the deny-all policy.
"""

import csv
import io
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

from standfast.adapters.accounts import SecondFactors
from standfast.adapters.accounts.base.aws_client import AwsAnswer, AwsClient
from standfast.adapters.accounts.base.build_context import BuildContext, limits_of
from standfast.adapters.accounts.base.per_account_connector import Account, PerAccountConnector
from standfast.adapters.accounts.base.second_factors import (
    count_second_factors,
    second_factor_deadline,
)
from standfast.config.sections.accounts import AwsIamConfig
from standfast.errors import Unavailable
from standfast.records import Json, JsonObject, Order, Proof
from standfast.retry_rules import RETRY_SECONDS
from standfast.time_limit import Deadline

LOCK_POLICY = "StandfastLocked"
CUT_POLICY = "StandfastSessionsCut"
_NAME = re.compile(r"(?:(role)/)?([\w+=,.@-]{1,64})", re.ASCII)
_SID = re.compile(r"StandfastLocked(\d{8}T\d{6}Z)")
_NO_SUCH = "NoSuchEntity"
_ROOT = "<root_account>"  # root's name in the credential report; no user can have this name
_FLAGS = {"true": True, "false": False}
_POLL_SECONDS = 0.5
# Credentials that a lock does not change and a person must review: the kind, the operation that
# lists them, and the key of the items in its answer.
_CREDENTIALS = (
    ("signing certificate", "list_signing_certificates", "Certificates"),
    ("SSH key for CodeCommit", "list_ssh_public_keys", "SSHPublicKeys"),
    ("MFA device", "list_mfa_devices", "MFADevices"),
)


def lock_policy(now: datetime) -> str:
    """Return the deny-all policy; its statement id contains the time."""
    return _policy({"Sid": f"StandfastLocked{_compact(now)}"})


def cut_policy(now: datetime) -> str:
    """Return the policy that denies temporary credentials issued before now."""
    # Whole seconds, rounded up: credentials issued in this second are denied too.
    moment = (now.astimezone(UTC) + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    condition = {"DateLessThan": {"aws:TokenIssueTime": moment}}
    return _policy({"Sid": "StandfastSessionsCut", "Condition": condition})


@dataclass(frozen=True, kw_only=True)
class _Principal:
    """A user or a role, and the names of IAM's operations on it."""

    kind: str  # "user" or "role", as in the operations' names
    name: str

    @property
    def named(self) -> Mapping[str, str]:
        return {f"{self.kind.capitalize()}Name": self.name}


class AwsIam(PerAccountConnector):
    """Connector of the users and roles of one AWS account."""

    proof = Proof.SESSIONS_GONE
    irreversible = (
        "the console password of a user is deleted and cannot be restored; set a new one",
        "sessions and temporary credentials that were cut stay cut; holders sign in again",
    )

    def __init__(self, name: str, settings: AwsIamConfig, context: BuildContext) -> None:
        super().__init__(name, limits_of(settings))
        self._aws = AwsClient("iam", settings, context)
        self._clock = context.clock

    def close(self) -> None:
        self._aws.close()

    def canonical(self, name: str) -> str:
        return name.casefold()  # IAM names are unique regardless of case

    def _find(self, name: str, deadline: Deadline) -> Account | None:
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        principal = _Principal(kind=match[1] or "user", name=match[2])
        found = self._aws.read(
            f"get_{principal.kind}", deadline, absent=_NO_SUCH, **principal.named
        )
        if found is None:
            return None
        inner = found[principal.kind.capitalize()]
        spelt = str(inner[f"{principal.kind.capitalize()}Name"])
        if self.canonical(spelt) != self.canonical(principal.name):
            return None
        locked_at, cut_at = self._locked_at(principal, deadline), self._cut_at(principal, deadline)
        keys, has_password = (
            self._keys(principal, deadline),
            self._has_password(principal, deadline),
        )
        credentials = list(keys.values()).count("Active") + int(has_password)
        is_locked = locked_at is not None
        if locked_at and (cut_at is None or cut_at < locked_at):
            credentials += 1  # sessions from before the lock would be valid again after an undo
        prefix = "role/" if principal.kind == "role" else ""
        unique = str(inner[f"{principal.kind.capitalize()}Id"])
        return Account(
            id=f"{prefix}{spelt} {unique}",
            is_enabled=not is_locked,
            live_sessions=credentials if is_locked else None,
            prior={"keys": dict(keys), "password": has_password},
        )

    def _read(self, account_id: str, deadline: Deadline) -> Account | None:
        # IAM reads by name only; the unique id shows whether it is the same account.
        account = self._find(account_id.partition(" ")[0], deadline)
        return account if account is not None and account.id == account_id else None

    def _disable(self, account: Account, deadline: Deadline) -> bool:
        principal = _principal(account)
        if account.is_enabled:
            self._put(principal, LOCK_POLICY, lock_policy(self._clock()), deadline)
        return bool(account.is_enabled)

    def _end_sessions(self, account: Account, order: Order, deadline: Deadline) -> bool:
        principal = _principal(account)
        locked_at = self._locked_at(principal, deadline)
        changed = self._set_keys(
            principal, dict.fromkeys(self._keys(principal, deadline), "Inactive"), deadline
        )
        if locked_at is not None and self._has_password(principal, deadline):
            self._aws.change("delete_login_profile", deadline, absent=_NO_SUCH, **principal.named)
            changed = True
        if changed or locked_at is None:
            self._put(principal, CUT_POLICY, cut_policy(self._clock()), deadline)
            return True
        return self._cut_since(locked_at, principal, deadline)

    def _before_undo(self, account: Account, order: Order, deadline: Deadline) -> bool:
        # Only sessions are ended: keys and a password that were created after the lock stay.
        principal = _principal(account)
        locked_at = self._locked_at(principal, deadline)
        return locked_at is not None and self._cut_since(locked_at, principal, deadline)

    def _restore(self, account: Account, prior: JsonObject, deadline: Deadline) -> bool:
        principal = _principal(account)
        before = prior.get("keys")
        keys = {
            key: status
            for key, status in (before.items() if isinstance(before, Mapping) else ())
            if isinstance(status, str)
        }
        changed = self._set_keys(principal, keys, deadline)
        if prior["enabled"] is account.is_enabled:
            return changed
        if prior["enabled"]:
            self._aws.change(
                f"delete_{principal.kind}_policy",
                deadline,
                absent=_NO_SUCH,
                PolicyName=LOCK_POLICY,
                **principal.named,
            )
        else:
            self._put(principal, LOCK_POLICY, lock_policy(self._clock()), deadline)
        return True

    def _review_notes(self, account: Account, deadline: Deadline) -> Sequence[str]:
        principal = _principal(account)
        if principal.kind == "role":
            return ("the trust policy of the role: it was not changed",)
        seen: list[str] = []
        for credential_kind, operation, key in _CREDENTIALS:
            count = len(list(self._aws.pages(operation, key, deadline, **principal.named)))
            seen += [f"{credential_kind}: {count}"] if count else []
        try:
            found = self._aws.read("list_service_specific_credentials", deadline, **principal.named)
            count = len((found or {}).get("ServiceSpecificCredentials", ()))
            seen += [f"service-specific credential: {count}"] if count else []
        except Unavailable:
            seen.append("service-specific credentials could not be listed")
        return seen

    def _second_factors(self) -> SecondFactors:
        until = second_factor_deadline(self.limits)
        seen = []
        for row in csv.DictReader(io.StringIO(self._credential_report(until))):
            is_root = row["user"] == _ROOT
            has_password = _FLAGS.get(row["password_enabled"])  # may be absent for root
            if has_password or (is_root and has_password is None):
                seen.append((row["user"], _FLAGS.get(row["mfa_active"]), is_root))
        return count_second_factors(seen, is_whole=True)

    # Requests to IAM.

    def _credential_report(self, until: Deadline) -> str:
        """Read the credential report; AWS renews a report after four hours."""
        while True:
            made = self._aws.read("generate_credential_report", until) or {}
            if made.get("State") == "COMPLETE":
                break
            if until.left_seconds() < _POLL_SECONDS:
                raise Unavailable(
                    "AWS is still creating the credential report", retry_after_seconds=RETRY_SECONDS
                )
            time.sleep(_POLL_SECONDS)
        found = self._aws.read("get_credential_report", until) or {}
        return bytes(found["Content"]).decode()

    def _keys(self, principal: _Principal, deadline: Deadline) -> dict[str, str]:
        if principal.kind == "role":
            return {}
        return {
            str(key["AccessKeyId"]): str(key["Status"])
            for key in self._aws.pages(
                "list_access_keys", "AccessKeyMetadata", deadline, **principal.named
            )
        }

    def _set_keys(
        self, principal: _Principal, wanted: Mapping[str, str], deadline: Deadline
    ) -> bool:
        """Set the status of the existing keys; return whether any differed."""
        existing_keys = self._keys(principal, deadline)
        differing = {
            key: status
            for key, status in wanted.items()
            if existing_keys.get(key, status) != status
        }
        for key, status in differing.items():
            self._aws.change(
                "update_access_key",
                deadline,
                absent=_NO_SUCH,
                AccessKeyId=key,
                Status=status,
                **principal.named,
            )
        return bool(differing)

    def _has_password(self, principal: _Principal, deadline: Deadline) -> bool:
        if principal.kind == "role":
            return False
        found = self._aws.read("get_login_profile", deadline, absent=_NO_SUCH, **principal.named)
        return found is not None

    def _locked_at(self, principal: _Principal, deadline: Deadline) -> datetime | None:
        """Return the time of the lock on the account; None if it is not locked."""
        for statement in self._statements(principal, LOCK_POLICY, deadline):
            match = _SID.fullmatch(str(statement.get("Sid")))
            if match and {**statement, "Sid": ""} == {**_DENY_ALL, "Sid": ""}:
                return datetime.strptime(match[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return None

    def _cut_since(self, locked_at: datetime, principal: _Principal, deadline: Deadline) -> bool:
        """Ensure that sessions from before the lock are denied.

        Return whether a change was needed.
        """
        cut_at = self._cut_at(principal, deadline)
        if cut_at is not None and cut_at >= locked_at:
            return False
        self._put(principal, CUT_POLICY, cut_policy(self._clock()), deadline)
        return True

    def _cut_at(self, principal: _Principal, deadline: Deadline) -> datetime | None:
        for statement in self._statements(principal, CUT_POLICY, deadline):
            try:
                moment = statement["Condition"]["DateLessThan"]["aws:TokenIssueTime"]
                return datetime.fromisoformat(str(moment)).astimezone(UTC)
            except (KeyError, TypeError, ValueError):
                continue
        return None

    def _statements(
        self, principal: _Principal, policy: str, deadline: Deadline
    ) -> Sequence[AwsAnswer]:
        """Return the statements of a policy that this connector set, if any."""
        found = self._aws.read(
            f"get_{principal.kind}_policy",
            deadline,
            absent=_NO_SUCH,
            PolicyName=policy,
            **principal.named,
        )
        if found is None:
            return ()
        document = found["PolicyDocument"]
        try:
            # The SDK decodes the document, which IAM sends percent-encoded (RFC 3986).
            read = json.loads(unquote(document)) if isinstance(document, str) else document
            return [statement for statement in read["Statement"] if isinstance(statement, dict)]
        except (ValueError, KeyError, TypeError):
            return ()  # somebody changed the policy, so it is not this connector's lock

    def _put(self, principal: _Principal, policy: str, document: str, deadline: Deadline) -> None:
        self._aws.change(
            f"put_{principal.kind}_policy",
            deadline,
            PolicyName=policy,
            PolicyDocument=document,
            **principal.named,
        )


_DENY_ALL: Mapping[str, Json] = {"Effect": "Deny", "Action": "*", "Resource": "*"}


def _policy(statement: Mapping[str, Json]) -> str:
    body = {"Version": "2012-10-17", "Statement": [{**_DENY_ALL, **statement}]}
    return json.dumps(body, separators=(",", ":"))


def _compact(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def _principal(account: Account) -> _Principal:
    name = account.id.partition(" ")[0]
    kind, slash, inner = name.partition("/")
    return _Principal(kind="role", name=inner) if slash else _Principal(kind="user", name=kind)
