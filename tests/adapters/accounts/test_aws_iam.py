"""The AWS IAM connector on moto, which ignores conditions of policies."""

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from standfast.adapters.accounts.aws_iam import (
    CUT_POLICY,
    LOCK_POLICY,
    AwsIam,
    cut_policy,
    lock_policy,
)
from standfast.adapters.accounts.base.aws_client import AwsClient
from standfast.errors import Unavailable
from standfast.records import EffectState, Proof
from tests.adapters.accounts.connect import connect
from tests.adapters.accounts.contract import ConnectorContract
from tests.adapters.accounts.fault_contract import (
    BusyContract,
    FaultContract,
    HttpHouse,
    at_port,
    hurried,
    port_of,
)
from tests.servers.moto import ALLOW_ALL, REGION, Keys, Moto

NOW = datetime(2026, 1, 5, 3, 0, 0, 700_000, tzinfo=UTC)
RIGHTS = Path(__file__).parents[3] / "deploy" / "aws" / "aws_iam-policy.json"
PASSWORD = "The holder's 0wn"


class IamHouse(HttpHouse):
    change = b"Action=PutUserPolicy"
    undo_change = b"Action=DeleteUserPolicy"
    success = (
        b'<PutUserPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
        b"<ResponseMetadata><RequestId>x</RequestId></ResponseMetadata></PutUserPolicyResponse>"
    )
    busy = b"<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>"
    knows_factors = True
    patience_seconds = 2.0  # the change comes after about ten requests

    def __init__(self, server: Moto) -> None:
        self.server = server
        self.iam = server.client("iam")
        self.keys: dict[str, Keys] = {}
        self.relayed = port_of(server.url)
        self.settings: dict[str, Any] = {
            "region": REGION,
            "endpoint_url": server.url,
            "access_key_id": server.admin.id,
            "secret_access_key": server.admin.secret,
        }
        self.connector = connect(AwsIam, **self.settings)

    def through(self, port: int, seconds: float) -> AwsIam:
        url = at_port(self.server.url, port)
        return connect(AwsIam, **self.settings | {"endpoint_url": url} | hurried(seconds))

    def add(self, name: str, *, is_enabled: bool = True) -> None:
        self.iam.create_user(UserName=name)
        self.iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=ALLOW_ALL)
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        self.keys[name] = Keys(id=key["AccessKeyId"], secret=key["SecretAccessKey"])
        self.set_enabled(name, is_enabled)

    def is_enabled(self, name: str) -> bool:
        return LOCK_POLICY not in self.policies(name)

    def set_enabled(self, name: str, is_enabled: bool) -> None:
        if is_enabled and not self.is_enabled(name):
            self.iam.delete_user_policy(UserName=name, PolicyName=LOCK_POLICY)
        if not is_enabled:
            self.put(name, LOCK_POLICY, lock_policy(NOW))

    def let_sign_in(self, name: str) -> None:
        self.iam.create_login_profile(UserName=name, Password=PASSWORD)

    def give_factor(self, name: str) -> None:
        device = self.iam.create_virtual_mfa_device(VirtualMFADeviceName=name)["VirtualMFADevice"]
        self.iam.enable_mfa_device(
            UserName=name,
            SerialNumber=device["SerialNumber"],
            AuthenticationCode1="123456",
            AuthenticationCode2="234567",
        )

    def put(self, name: str, policy: str, document: str) -> None:
        self.iam.put_user_policy(UserName=name, PolicyName=policy, PolicyDocument=document)

    def policies(self, name: str) -> dict[str, Any]:
        names = self.iam.list_user_policies(UserName=name)["PolicyNames"]
        return {
            policy: self.iam.get_user_policy(UserName=name, PolicyName=policy)["PolicyDocument"]
            for policy in names
        }

    def key_states(self, name: str) -> list[str]:
        listed = self.iam.list_access_keys(UserName=name)["AccessKeyMetadata"]
        return sorted(key["Status"] for key in listed)

    def has_password(self, name: str) -> bool:
        try:
            self.iam.get_login_profile(UserName=name)
        except self.iam.exceptions.NoSuchEntityException:
            return False
        return True

    def stamp(self, name: str) -> object:
        return (self.policies(name), self.key_states(name), self.has_password(name))

    def sign_in(self, name: str) -> bool:
        """Call as the holder's own key.

        AWS does not apply the cut to a key, which is not a temporary credential. moto ignores
        conditions and would apply it, so the cut is removed for the call.
        """
        policies = self.policies(name)
        if CUT_POLICY in policies:
            self.iam.delete_user_policy(UserName=name, PolicyName=CUT_POLICY)
        holder = self.server.client("iam", self.keys[name])
        try:
            holder.list_users()
        except holder.exceptions.ClientError as error:
            return bool(error.response["Error"]["Code"] != "AccessDenied")
        finally:
            if CUT_POLICY in policies:
                self.put(name, CUT_POLICY, json.dumps(policies[CUT_POLICY]))
        return True


@pytest.fixture(scope="module")
def iam_house(moto_server: Moto) -> Iterator[IamHouse]:
    """One connector for all tests; each test has its own users.

    It is shared because the SDK needs long to make a client.
    """
    house = IamHouse(moto_server)
    yield house
    house.connector.close()


@pytest.fixture
def house(iam_house: IamHouse) -> IamHouse:
    return iam_house


class TestAwsIam(ConnectorContract, FaultContract, BusyContract): ...


def test_the_policies_are_what_aws_needs_to_read() -> None:
    assert json.loads(lock_policy(NOW)) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "StandfastLocked20260105T030000Z",
                "Effect": "Deny",
                "Action": "*",
                "Resource": "*",
            }
        ],
    }
    assert json.loads(cut_policy(NOW)) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "StandfastSessionsCut",
                "Effect": "Deny",
                "Action": "*",
                "Resource": "*",
                "Condition": {"DateLessThan": {"aws:TokenIssueTime": "2026-01-05T03:00:01Z"}},
            }
        ],
    }
    # A user's inline policies may have 2,048 characters together.
    assert len(lock_policy(NOW)) + len(cut_policy(NOW)) < 400


def test_lock_closes_all_and_undo_restores(house: IamHouse, alice: str) -> None:
    house.iam.create_login_profile(UserName=alice, Password=PASSWORD)
    spare = house.iam.create_access_key(UserName=alice)["AccessKey"]["AccessKeyId"]
    house.iam.update_access_key(UserName=alice, AccessKeyId=spare, Status="Inactive")
    before = house.observe(alice)

    assert house.lock(alice).state is EffectState.DONE
    assert house.key_states(alice) == ["Inactive", "Inactive"]
    assert not house.has_password(alice)
    assert set(house.policies(alice)) == {"own", LOCK_POLICY, CUT_POLICY}
    assert not house.sign_in(alice)
    proven = house.prove(alice)
    assert (proven.state, proven.proof) == (EffectState.DONE, Proof.SESSIONS_GONE)

    assert house.undo(alice, before).state is EffectState.DONE
    assert house.key_states(alice) == ["Active", "Inactive"]
    assert set(house.policies(alice)) == {"own", CUT_POLICY}
    assert house.sign_in(alice)
    assert not house.has_password(alice)
    assert any("password" in words for words in house.connector.irreversible)


def test_session_before_the_lock_stays_cut(house: IamHouse, alice: str) -> None:
    before = house.observe(alice)
    house.lock(alice)
    locked_at = datetime.now(UTC)
    house.undo(alice, before)
    (statement,) = house.policies(alice)[CUT_POLICY]["Statement"]
    cut = datetime.fromisoformat(statement["Condition"]["DateLessThan"]["aws:TokenIssueTime"])
    assert abs((cut - locked_at).total_seconds()) < 5


def test_proof_fails_with_open_key_or_session(house: IamHouse, alice: str) -> None:
    house.put(alice, LOCK_POLICY, lock_policy(datetime.now(UTC)))
    assert "still live" in house.prove(alice).reason
    house.lock(alice)
    assert house.prove(alice).state is EffectState.DONE
    house.put(alice, CUT_POLICY, cut_policy(NOW))
    assert house.prove(alice).state is EffectState.FAILED
    # The lock writes the cut again, with a new time.
    assert house.lock(alice).state is EffectState.DONE
    assert house.prove(alice).state is EffectState.DONE


def test_changed_lock_policy_does_not_count(house: IamHouse, alice: str) -> None:
    house.lock(alice)
    weaker = json.loads(lock_policy(NOW))
    weaker["Statement"][0]["Action"] = "s3:*"
    house.put(alice, LOCK_POLICY, json.dumps(weaker))
    assert house.observe(alice).is_enabled
    assert house.prove(alice).state is EffectState.FAILED
    assert house.lock(alice).state is EffectState.DONE
    assert not house.sign_in(alice)


def test_credentials_created_during_the_lock_are_kept(house: IamHouse, alice: str) -> None:
    before = house.observe(alice)
    house.lock(alice)
    house.iam.create_login_profile(UserName=alice, Password=PASSWORD)
    new = house.iam.create_access_key(UserName=alice)["AccessKey"]
    assert house.undo(alice, before).state is EffectState.DONE
    assert house.has_password(alice)
    assert house.key_states(alice) == ["Active", "Active"]
    house.keys[alice] = Keys(id=new["AccessKeyId"], secret=new["SecretAccessKey"])
    assert house.sign_in(alice)


def test_revocation_cuts_sessions_and_keeps_password(house: IamHouse, alice: str) -> None:
    house.iam.create_login_profile(UserName=alice, Password=PASSWORD)
    (result,) = house.connector.revoke([house.order("revoke", alice)])
    assert result.state is EffectState.DONE
    assert house.key_states(alice) == ["Inactive"]
    assert house.has_password(alice)
    assert set(house.policies(alice)) == {"own", CUT_POLICY}


def test_later_session_is_cut_by_next_revocation(house: IamHouse, alice: str) -> None:
    house.iam.delete_access_key(UserName=alice, AccessKeyId=house.keys[alice].id)
    house.put(alice, CUT_POLICY, cut_policy(NOW))
    (result,) = house.connector.revoke([house.order("revoke", alice)])
    assert (result.state, result.facts["changed"]) == (EffectState.DONE, True)
    (statement,) = house.policies(alice)[CUT_POLICY]["Statement"]
    cut_at = statement["Condition"]["DateLessThan"]["aws:TokenIssueTime"]
    assert datetime.fromisoformat(cut_at) > NOW


def test_undo_of_partial_lock_revives_no_session(house: IamHouse, alice: str) -> None:
    """The process died between the lock and the cut of the sessions."""
    before = house.observe(alice)
    house.lock(alice)
    house.iam.delete_user_policy(UserName=alice, PolicyName=CUT_POLICY)
    assert house.undo(alice, before).state is EffectState.DONE
    assert house.is_enabled(alice)
    assert CUT_POLICY in house.policies(alice)


def test_reassigned_name_is_not_changed(house: IamHouse, alice: str) -> None:
    before = house.observe(alice)
    house.lock(alice)
    for policy in house.policies(alice):
        house.iam.delete_user_policy(UserName=alice, PolicyName=policy)
    house.iam.delete_access_key(UserName=alice, AccessKeyId=house.keys[alice].id)
    house.iam.delete_user(UserName=alice)
    house.add(alice, is_enabled=False)
    assert house.undo(alice, before).state is EffectState.REFUSED
    assert not house.is_enabled(alice)


def test_locked_role_sessions_are_refused_until_undo(
    house: IamHouse,
) -> None:
    role = f"agents-{uuid.uuid4().hex[:8]}"
    trust = json.loads(ALLOW_ALL)
    trust["Statement"][0] |= {"Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    trust["Statement"][0].pop("Resource")
    house.iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(trust))
    house.iam.put_role_policy(RoleName=role, PolicyName="own", PolicyDocument=ALLOW_ALL)
    given = house.server.client("sts").assume_role(
        RoleArn=f"arn:aws:iam::123456789012:role/{role}", RoleSessionName="intruder"
    )["Credentials"]
    session = house.server.client(
        "iam",
        Keys(
            id=given["AccessKeyId"],
            secret=given["SecretAccessKey"],
            token=given["SessionToken"],
        ),
    )
    session.list_users()
    before = house.observe(f"role/{role}")
    assert (before.exists, before.is_enabled) == (True, True)

    assert house.lock(f"role/{role}").state is EffectState.DONE
    with pytest.raises(session.exceptions.ClientError, match="AccessDenied"):
        session.list_users()
    assert house.prove(f"role/{role}").proof is Proof.SESSIONS_GONE

    assert house.undo(f"role/{role}", before).state is EffectState.DONE
    names = house.iam.list_role_policies(RoleName=role)["PolicyNames"]
    assert sorted(names) == sorted(["own", CUT_POLICY])
    with pytest.raises(session.exceptions.ClientError, match="AccessDenied"):
        session.list_users()  # the cut remains in force for the old session


def test_user_and_role_are_two_accounts(house: IamHouse, alice: str) -> None:
    assert not house.observe(f"role/{alice}").exists
    assert not house.observe(f"user/{alice}").exists


def test_published_policy_permits_exactly_the_calls(
    house: IamHouse, alice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: set[str] = set()

    def noting(ask: Callable[..., Any]) -> Callable[..., Any]:
        def note(client: AwsClient, operation: str, *rest: Any, **more: Any) -> Any:
            called.add(f"iam:{house.iam.meta.method_to_api_mapping[operation]}")
            return ask(client, operation, *rest, **more)

        return note

    monkeypatch.setattr(AwsClient, "read", noting(AwsClient.read))
    monkeypatch.setattr(AwsClient, "change", noting(AwsClient.change))
    role = f"agents-{uuid.uuid4().hex[:8]}"
    house.iam.create_role(RoleName=role, AssumeRolePolicyDocument=ALLOW_ALL)
    house.iam.create_login_profile(UserName=alice, Password=PASSWORD)
    for name in (alice, f"role/{role}"):
        before = house.observe(name)
        assert house.lock(name).state is EffectState.DONE
        assert house.undo(name, before).state is EffectState.DONE
    house.connector.second_factors()
    allowed = {
        action
        for statement in json.loads(RIGHTS.read_text())["Statement"]
        if statement["Effect"] == "Allow"
        for action in statement["Action"]
    }
    assert called == allowed


def test_what_a_person_should_look_at_is_told(house: IamHouse, alice: str) -> None:
    device = house.iam.create_virtual_mfa_device(VirtualMFADeviceName=alice)
    house.iam.enable_mfa_device(
        UserName=alice,
        SerialNumber=device["VirtualMFADevice"]["SerialNumber"],
        AuthenticationCode1="123456",
        AuthenticationCode2="654321",
    )
    result = house.lock(alice)
    assert "MFA device: 1" in str(result.facts["to_look_at"])


REPORT = """user,arn,password_enabled,mfa_active
<root_account>,arn:aws:iam::123456789012:root,{root},false
alice,arn:aws:iam::123456789012:user/alice,true,false
bob,arn:aws:iam::123456789012:user/bob,true,true
program,arn:aws:iam::123456789012:user/program,false,false
"""


@pytest.mark.parametrize(
    ("root", "without"),
    [("not_supported", ["<root_account>", "alice"]), ("false", ["alice"])],
)
def test_root_with_password_counts_without_factor(
    house: IamHouse, monkeypatch: pytest.MonkeyPatch, root: str, without: list[str]
) -> None:
    """The report of moto has no root; this row is as AWS describes it."""
    read = AwsClient.read

    def described(client: AwsClient, operation: str, *given: Any, **named: Any) -> Any:
        if operation == "get_credential_report":
            return {"Content": REPORT.format(root=root).encode()}
        return read(client, operation, *given, **named)

    monkeypatch.setattr(AwsClient, "read", described)
    found = house.connector.second_factors()
    assert [one.name for one in found.without] == without
    assert found.without[0].is_privileged is (root != "false")


def test_late_report_is_no_answer(house: IamHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: Any, **__: Any) -> Any:
        return {"State": "INPROGRESS"}

    monkeypatch.setattr(AwsClient, "read", slow)
    connector = house.through(port_of(house.server.url), 0.2)
    with pytest.raises(Unavailable, match="still creating the credential report"):
        connector.second_factors()
    connector.close()
