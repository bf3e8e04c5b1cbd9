"""Each role of the repository with its own S3 identity and policy.

Rules that SeaweedFS enforces are tried; for the other rules, the text of the policy is compared.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from backup.checker.verification import verify
from backup.errors import AlreadyThere, NotFound, UsageError
from backup.stores import Store
from backup.stores.s3.store import open_s3
from tests.backup.s3_options import options
from tests.backup.site import WRITER, new_site
from tests.backup.trees import describe, plain_tree
from tests.servers.seaweedfs import LOCK_DAYS, POLICIES, Bucket, Role, SeaweedFs, policy

ROLES: tuple[Role, ...] = ("owner", "writer", "reader", "drill-runner", "keeper", "verifier")
WITH_A_POLICY = ("owner", "writer", "reader", "keeper", "verifier")
SNAPSHOT = f"w/{WRITER}/s/0000000001"
PACK = f"w/{WRITER}/p/ab/{'ab' * 32}"
ROOT_RECORD = "pub/root/0000000000"


def store_of(bucket: Bucket, role: Role) -> Store:
    return open_s3(options(bucket, bucket.key(role)))


@pytest.fixture
def filled(s3_bucket: Bucket) -> Bucket:
    """A vault with root record, pack and snapshot, put by owner and writer."""
    return _fill(s3_bucket)


@pytest.fixture(scope="module")
def unchanged(seaweedfs_server: SeaweedFs) -> Iterator[Bucket]:
    """A filled vault of all tests in which every call is refused."""
    bucket = seaweedfs_server.bucket()
    yield _fill(bucket)
    bucket.remove_identities()


def _fill(bucket: Bucket) -> Bucket:
    store_of(bucket, "owner").put(ROOT_RECORD, b"root")
    writer = store_of(bucket, "writer")
    writer.put(PACK, b"pack")
    writer.put(SNAPSHOT, b"snapshot")
    return bucket


def version_of(bucket: Bucket, key: str) -> str:
    client = bucket.client(bucket.admin)
    (row,) = client.list_object_versions(Bucket=bucket.name, Prefix=key)["Versions"]
    return str(row["VersionId"])


def refused(client: Any, call: Callable[[], object]) -> bool:
    """Return whether a call of a plain client was denied; raise otherwise."""
    try:
        call()
    except client.exceptions.ClientError as error:
        if error.response["Error"]["Code"] not in ("AccessDenied", "403"):
            raise
        return True
    return False


def test_each_role_has_sufficient_rights(s3_bucket: Bucket, tmp_path: Path) -> None:
    site = new_site(tmp_path / "site", store_of(s3_bucket, "owner"))
    source = plain_tree(tmp_path / "source")
    site.vault = store_of(s3_bucket, "writer")
    first = site.back_up(source)
    assert first.complete
    (source / "note.txt").write_text("who called again\n")
    assert site.back_up(source).warnings == ()

    verifier = store_of(s3_bucket, "verifier")
    report = verify(verifier, read=True, owner=site.host.owner)
    assert (report.points, report.findings) == (2, ())

    site.vault = store_of(s3_bucket, "drill-runner")
    assert site.restore("latest", tmp_path / "out").problems == ()
    assert describe(tmp_path / "out" / "files") == describe(source)
    site.restore(first.point, tmp_path / "first")
    assert (tmp_path / "first/files/note.txt").read_text() != (source / "note.txt").read_text()


def test_writer_opens_no_point_with_custodians_identity(s3_bucket: Bucket, tmp_path: Path) -> None:
    site = new_site(tmp_path / "site", store_of(s3_bucket, "owner"))
    site.vault = store_of(s3_bucket, "writer")
    site.back_up(plain_tree(tmp_path / "source"))
    with pytest.raises(UsageError, match=r"w/desk-1/p/.*identity"):
        site.restore("latest", tmp_path / "out")
    with pytest.raises(UsageError, match=r"listing the vault was refused"):
        verify(site.vault)


def test_the_writer_reads_no_pack_by_any_way(unchanged: Bucket) -> None:
    writer = unchanged.client(unchanged.key("writer"))
    name, version = unchanged.name, version_of(unchanged, PACK)
    assert refused(writer, lambda: writer.get_object(Bucket=name, Key=PACK))
    assert refused(writer, lambda: writer.get_object(Bucket=name, Key=PACK, VersionId=version))
    assert refused(writer, lambda: writer.head_object(Bucket=name, Key=PACK))
    copy = {"Bucket": name, "Key": PACK}
    target = f"w/{WRITER}/s/0000000009"
    assert refused(writer, lambda: writer.copy_object(Bucket=name, Key=target, CopySource=copy))
    with pytest.raises(UsageError, match="refused"):
        store_of(unchanged, "writer").get(PACK)


def test_the_writer_writes_nowhere_else(unchanged: Bucket) -> None:
    writer = store_of(unchanged, "writer")
    for name in ("w/other/s/0000000001", "pub/root/0000000001", "pub/keep/0000000000", "stray"):
        with pytest.raises(UsageError, match=f"storing {name} was refused"):
            writer.put(name, b"x")
    with pytest.raises(UsageError, match="refused"):
        list(writer.list("w/other/"))
    with pytest.raises(AlreadyThere):
        writer.put(SNAPSHOT, b"another")


@pytest.mark.parametrize("role", ROLES)
def test_nobody_removes_a_locked_object(unchanged: Bucket, role: Role) -> None:
    client = unchanged.client(unchanged.key(role))
    for key in (PACK, SNAPSHOT, ROOT_RECORD):
        version = version_of(unchanged, key)

        def delete(key: str = key, **more: str) -> object:
            return client.delete_object(Bucket=unchanged.name, Key=key, **more)

        assert refused(client, delete)
        assert refused(client, partial(delete, VersionId=version))
        batch = {"Objects": [{"Key": key, "VersionId": version}, {"Key": key}]}
        answer = client.delete_objects(Bucket=unchanged.name, Delete=batch)
        assert [row["Code"] for row in answer["Errors"]] == ["AccessDenied"] * 2
    (_, _, _) = store_of(unchanged, "reader").list("")


def test_administrator_cannot_remove_a_locked_version(unchanged: Bucket) -> None:
    admin = unchanged.client(unchanged.admin)
    version = version_of(unchanged, SNAPSHOT)

    def delete() -> object:
        return admin.delete_object(
            Bucket=unchanged.name, Key=SNAPSHOT, VersionId=version, BypassGovernanceRetention=True
        )

    assert refused(admin, delete)
    assert store_of(unchanged, "reader").get(SNAPSHOT) == b"snapshot"


def test_versions_over_an_object_are_noticed(filled: Bucket) -> None:
    # On AWS bucket-policy.json refuses this PUT; SeaweedFS does not know its condition.
    writer = filled.client(filled.key("writer"))
    writer.put_object(Bucket=filled.name, Key=SNAPSHOT, Body=b"another")
    for role in ("writer", "reader"):
        store = store_of(filled, role)
        assert store.get(SNAPSHOT) == b"snapshot"
        assert store.stat(SNAPSHOT).later_versions == 1


def test_only_keeper_extends_locks(filled: Bucket) -> None:
    version = version_of(filled, PACK)

    def retain(role: Role, days: int) -> Callable[[], object]:
        until = datetime.now(UTC) + timedelta(days=days)
        return lambda: filled.client(filled.key(role)).put_object_retention(
            Bucket=filled.name,
            Key=PACK,
            VersionId=version,
            Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until},
        )

    client = filled.client(filled.admin)
    for role in ROLES:
        assert refused(client, retain(role, 1)), role
        assert refused(client, retain(role, 2 * LOCK_DAYS)) == (role != "keeper"), role
    left = client.get_object_retention(Bucket=filled.name, Key=PACK, VersionId=version)
    assert left["Retention"]["RetainUntilDate"] > datetime.now(UTC) + timedelta(days=LOCK_DAYS + 1)


@pytest.mark.parametrize("role", ROLES)
def test_nobody_can_publish_an_object(unchanged: Bucket, role: Role) -> None:
    client = unchanged.client(unchanged.key(role))
    for key in (PACK, SNAPSHOT, ROOT_RECORD):
        share = partial(client.put_object_acl, Bucket=unchanged.name, Key=key, ACL="public-read")
        assert refused(client, share)
        assert refused(client, partial(share, VersionId=version_of(unchanged, key)))


@pytest.mark.parametrize("role", ROLES)
def test_nobody_changes_the_bucket(unchanged: Bucket, role: Role) -> None:
    client, name = unchanged.client(unchanged.key(role)), unchanged.name
    tries: tuple[Callable[[], object], ...] = (
        lambda: client.put_bucket_versioning(
            Bucket=name, VersioningConfiguration={"Status": "Suspended"}
        ),
        lambda: client.put_object_lock_configuration(
            Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
        ),
        lambda: client.put_bucket_policy(Bucket=name, Policy=json.dumps(policy("bucket"))),
        lambda: client.delete_bucket(Bucket=name),
    )
    for attempt in tries:
        assert refused(client, attempt)
    traits = store_of(unchanged, role).describe()
    assert (traits.is_versioned, traits.is_write_only) == (True, True)


def test_keeper_adds_records_and_reads_no_pack(filled: Bucket) -> None:
    keeper = store_of(filled, "keeper")
    keeper.put("pub/keep/0000000000", b"kept")
    assert keeper.get(SNAPSHOT) == b"snapshot"
    for name in ("pub/root/0000000001", SNAPSHOT, f"w/{WRITER}/s/0000000002"):
        with pytest.raises(UsageError, match="refused"):
            keeper.put(name, b"x")
    with pytest.raises(UsageError, match=f"reading {PACK} was refused"):
        keeper.get(PACK)


def test_keeper_removes_unlocked_packs_but_no_snapshot(
    seaweedfs_server: SeaweedFs,
) -> None:
    bucket = seaweedfs_server.bucket(mode=None)
    admin = open_s3(options(bucket, bucket.admin, requires_lock=False))
    for name in (PACK, SNAPSHOT, ROOT_RECORD):
        admin.put(name, b"x")
    for role in ROLES:
        client = bucket.client(bucket.key(role))
        for key in (PACK, SNAPSHOT, ROOT_RECORD):

            def drop(key: str = key, client: Any = client) -> object:
                version = version_of(bucket, key)
                return client.delete_object(Bucket=bucket.name, Key=key, VersionId=version)

            may_drop = (role, key) == ("keeper", PACK)
            assert refused(client, drop) != may_drop
            if may_drop:
                with pytest.raises(NotFound):
                    admin.stat(PACK)
                admin.put(PACK, b"x")


def test_owner_adds_only_root_records_and_documents(filled: Bucket) -> None:
    owner = store_of(filled, "owner")
    for name in ("pub/root/0000000001", f"pub/format/{'ab' * 32}", f"pub/reader/{'ab' * 32}"):
        owner.put(name, b"signed")
        assert owner.get(name) == b"signed"
    assert owner.get(SNAPSHOT) == b"snapshot"
    for name in ("pub/keep/0000000000", f"w/{WRITER}/s/0000000002", PACK, "pub/other", "stray"):
        with pytest.raises(UsageError, match=f"storing {name} was refused"):
            owner.put(name, b"x")
    with pytest.raises(UsageError, match=f"reading {PACK} was refused"):
        owner.get(PACK)


@pytest.mark.parametrize("role", ["reader", "drill-runner", "verifier"])
def test_reader_reads_everything_and_adds_nothing(unchanged: Bucket, role: Role) -> None:
    store = store_of(unchanged, role)
    contents = {stat.name: store.get(stat.name) for stat in store.list("")}
    assert contents == {PACK: b"pack", SNAPSHOT: b"snapshot", ROOT_RECORD: b"root"}
    for name in (f"w/{WRITER}/s/0000000002", "pub/keep/0000000000", "stray"):
        with pytest.raises(UsageError, match="refused"):
            store.put(name, b"x")


class TestPolicies:
    """The text of the policies, for rules that no server here enforces."""

    def statements(self, name: str, **more: str) -> dict[str, dict[str, Any]]:
        return {one["Sid"]: one for one in policy(name, **more)["Statement"]}

    def allowed(self, name: str) -> set[str]:
        found = [one for one in policy(name)["Statement"] if one["Effect"] == "Allow"]
        return {action for one in found for action in _listed(one["Action"])}

    def test_aws_refuses_a_put_without_its_condition(self) -> None:
        only_new = self.statements("bucket")["OnlyUnderNewNames"]
        assert only_new == {
            "Sid": "OnlyUnderNewNames",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::vault/*",
            "Condition": {"Null": {"s3:if-none-match": "true"}},
        }

    def test_aws_denies_governance_bypass_and_plain_http(self) -> None:
        found = self.statements("bucket")
        assert found["NobodyBreaksALock"]["Effect"] == "Deny"
        assert found["NobodyBreaksALock"]["Action"] == "s3:BypassGovernanceRetention"
        assert found["OnlyEncryptedConnections"]["Condition"] == {
            "Bool": {"aws:SecureTransport": "false"}
        }

    @pytest.mark.parametrize("role", WITH_A_POLICY)
    def test_policies_name_each_right_and_break_no_lock(self, role: str) -> None:
        allowed = self.allowed(role)
        assert not {action for action in allowed if "*" in action}
        assert not allowed & {
            "s3:BypassGovernanceRetention", "s3:DeleteObject", "s3:PutObjectLegalHold",
            "s3:PutBucketPolicy", "s3:PutBucketVersioning", "s3:PutBucketObjectLockConfiguration",
            "s3:PutLifecycleConfiguration",
        }  # fmt: skip
        denied = {
            action
            for one in policy(role)["Statement"]
            if one["Effect"] == "Deny"
            for action in _listed(one["Action"])
        }
        assert denied >= {"s3:BypassGovernanceRetention", "s3:DeleteObject"}

    @pytest.mark.parametrize("role", ["owner", "writer", "keeper", "copier"])
    def test_identities_that_add_objects_cannot_share_them(self, role: str) -> None:
        # Where ACLs apply, as on Ceph, an object belongs to its writer, who can then permit
        # others to read it.
        assert self.statements(role)["NeverShare"] == {
            "Sid": "NeverShare",
            "Effect": "Deny",
            "Action": ["s3:PutObjectAcl", "s3:PutObjectVersionAcl"],
            "Resource": "arn:aws:s3:::vault/*",
        }

    def test_aws_locks_end_within_thirteen_months(self) -> None:
        # Otherwise the keeper's identity could lock useless data for a century, and the owner
        # would pay.
        assert self.statements("bucket")["NoLockWithoutAnEnd"] == {
            "Sid": "NoLockWithoutAnEnd",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObjectRetention",
            "Resource": "arn:aws:s3:::vault/*",
            "Condition": {"NumericGreaterThan": {"s3:object-lock-remaining-retention-days": "400"}},
        }

    def test_policies_name_what_each_role_adds(self) -> None:
        where = {
            role: {
                resource.removeprefix("arn:aws:s3:::vault/")
                for one in policy(role)["Statement"]
                if one["Effect"] == "Allow" and "s3:PutObject" in _listed(one["Action"])
                for resource in _listed(one["Resource"])
            }
            for role in WITH_A_POLICY
        }
        assert where == {
            "owner": {"pub/root/*", "pub/format/*", "pub/reader/*"},
            "writer": {f"w/{WRITER}/*"},
            "keeper": {"pub/keep/*"},
            "reader": set(),
            "verifier": set(),
        }

    def test_only_the_keeper_removes_and_only_packs(self) -> None:
        for role in WITH_A_POLICY:
            where = {
                resource
                for one in policy(role)["Statement"]
                if one["Effect"] == "Allow" and "s3:DeleteObjectVersion" in _listed(one["Action"])
                for resource in _listed(one["Resource"])
            }
            assert where == ({"arn:aws:s3:::vault/w/*/p/*"} if role == "keeper" else set()), role

    def test_policies_list_object_rights_of_each_role(self) -> None:
        may = {role: {a for a in self.allowed(role) if "Bucket" not in a} for role in WITH_A_POLICY}
        read = {"s3:GetObject", "s3:GetObjectVersion"}
        assert may == {
            "owner": read | {"s3:PutObject"},
            "writer": read | {"s3:PutObject"},
            "reader": read,
            "verifier": read | {"s3:GetObjectRetention"},
            "keeper": read
            | {
                "s3:PutObject", "s3:GetObjectRetention", "s3:PutObjectRetention",
                "s3:DeleteObjectVersion",
            },
        }  # fmt: skip

    def test_verifier_sees_locks_and_changes_none(self) -> None:
        found = self.statements("verifier")
        sees = found["ReadEveryVersionAndItsLock"]
        assert (sees["Effect"], sees["Resource"]) == ("Allow", "arn:aws:s3:::vault/*")
        assert "s3:GetObjectRetention" in sees["Action"]
        refused = found["NeverWriteOrTakeAway"]
        assert (refused["Effect"], refused["Resource"]) == ("Deny", "arn:aws:s3:::vault/*")
        assert {"s3:PutObjectRetention", "s3:PutObjectLegalHold"} <= set(refused["Action"])
        assert self.allowed("verifier") & {"s3:GetObjectRetention", "s3:PutObjectRetention"} == {
            "s3:GetObjectRetention"
        }

    def test_prefix_precedes_every_name(self) -> None:
        for role in (*WITH_A_POLICY, "bucket"):
            text = json.dumps(policy(role, prefix="call-centre/"))
            for place in ("pub/", "w/"):
                assert text.count(f"call-centre/{place}") == text.count(place), role

    def test_the_page_names_each_policy_and_every_placeholder(self) -> None:
        page = (POLICIES / "README.md").read_text()
        files = {path.name for path in POLICIES.glob("*.json")}
        assert files == {
            f"{name}-policy.json"
            for name in (*WITH_A_POLICY, "bucket", "copier", "evidence", "recovery", "source")
        }
        for name in files:
            assert f"({name})" in page
            filled = json.dumps(policy(name.removesuffix("-policy.json")))
            assert "{bucket}" not in filled
            assert "{prefix}" not in filled
            assert "{writer}" not in filled


def _listed(actions: str | list[str]) -> list[str]:
    return [actions] if isinstance(actions, str) else actions
