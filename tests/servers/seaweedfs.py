"""A real S3 (SeaweedFS from a wheel): one fresh bucket a test.

- `seaweedfs_server`: session; the running server. `s3_bucket`: function; a bucket with versions and
  a default lock in COMPLIANCE mode, so nothing in it can be deleted.
- A bucket's identities are made at their first use, with the policies of `deploy/s3/`; `admin` may
  do everything that the locks permit.
- It does not know the condition key `s3:if-none-match` (every PUT would be refused), and has no TLS
  here, so tests compare the text of `deploy/s3/bucket-policy.json`.
- Its filer's own HTTP port would delete locked objects without a password: it stays off.
- A listing over 1,000 names loses some if a folder's name begins another's and the next character
  sorts before the slash (`desk/`, `desk-1/`). S3 itself does not.
- It is ended by kill -9: its normal end takes 15 seconds, and its data are discarded.
"""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.servers import answers, find_program, free_port, need, wait_until

Role = Literal[
    "owner",
    "writer",
    "reader",
    "drill-runner",
    "keeper",
    "verifier",
    "source",
    "recovery",
    "copier",
    "evidence",
]

POLICIES = Path(__file__).parents[2] / "deploy" / "s3"
WRITER = "desk-1"
LOCK_DAYS = 30
_POLICY = {"drill-runner": "reader"}  # a role without its own policy uses another role's
_REGION = "us-east-1"
_GRPC_ABOVE = 10_000  # each port has a second port, higher by this number


@dataclass(frozen=True, kw_only=True)
class Key:
    """The credentials of one identity."""

    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class SeaweedFs:
    """A running server."""

    url: str
    admin: Key
    iam: Any = field(repr=False)

    def bucket(
        self, *, can_lock: bool = True, mode: str | None = "COMPLIANCE", is_versioned: bool = True
    ) -> "Bucket":
        """Make an empty bucket; without `mode` it has no default lock."""
        bucket = Bucket(server=self, name=f"vault-{uuid.uuid4().hex}")
        client = bucket.client(self.admin)
        client.create_bucket(Bucket=bucket.name, ObjectLockEnabledForBucket=can_lock)
        if can_lock and mode is not None:
            client.put_object_lock_configuration(
                Bucket=bucket.name,
                ObjectLockConfiguration={
                    "ObjectLockEnabled": "Enabled",
                    "Rule": {"DefaultRetention": {"Mode": mode, "Days": LOCK_DAYS}},
                },
            )
        elif not can_lock and is_versioned:
            client.put_bucket_versioning(
                Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"}
            )
        return bucket


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Bucket of one test, with the rights of each role."""

    server: SeaweedFs
    name: str
    _keys: dict[str, Key] = field(default_factory=dict, repr=False)

    @property
    def admin(self) -> Key:
        return self.server.admin

    def key(self, role: Role, *, writer: str = WRITER) -> Key:
        """Return the credentials of a role, as `deploy/s3/` makes it."""
        if role not in self._keys:
            user = f"{role}-{self.name}"
            iam = self.server.iam
            iam.create_user(UserName=user)
            made = iam.create_access_key(UserName=user)["AccessKey"]
            name = _POLICY.get(role, role)
            document = json.dumps(policy(name, bucket=self.name, writer=writer))
            rules = iam.create_policy(PolicyName=user, PolicyDocument=document)["Policy"]
            iam.attach_user_policy(UserName=user, PolicyArn=rules["Arn"])
            self._keys[role] = Key(
                access_key=made["AccessKeyId"], secret_key=made["SecretAccessKey"]
            )
        return self._keys[role]

    def remove_identities(self) -> None:
        """Delete the bucket's identities, because each one slows the server."""
        iam = self.server.iam
        for role, key in self._keys.items():
            user = f"{role}-{self.name}"
            for attached in iam.list_attached_user_policies(UserName=user)["AttachedPolicies"]:
                iam.detach_user_policy(UserName=user, PolicyArn=attached["PolicyArn"])
                iam.delete_policy(PolicyArn=attached["PolicyArn"])
            iam.delete_access_key(UserName=user, AccessKeyId=key.access_key)
            iam.delete_user(UserName=user)
        self._keys.clear()

    def client(self, key: Key) -> Any:
        """Return a plain client, as an intruder would use it."""
        return _client("s3", self.server.url, key)


def policy(
    name: str, *, bucket: str = "vault", prefix: str = "", writer: str = WRITER
) -> dict[str, Any]:
    """Fill in a policy of `deploy/s3/`, as its README says."""
    text = (POLICIES / f"{name}-policy.json").read_text()
    for placeholder, value in (("{bucket}", bucket), ("{prefix}", prefix), ("{writer}", writer)):
        text = text.replace(placeholder, value)
    filled: dict[str, Any] = json.loads(text)
    return filled


@contextmanager
def running_seaweedfs() -> Iterator[SeaweedFs]:
    """Start the server in a new folder; kill it and remove the folder."""
    program = find_program("weed")
    assert program is not None
    admin = Key(access_key="admin", secret_key=uuid.uuid4().hex)
    folder = Path(tempfile.mkdtemp(prefix="sf-s3-"))
    try:
        (folder / "data").mkdir()
        identities = folder / "s3.json"
        identities.write_text(json.dumps({"identities": [_administrator(admin)]}))
        ports = {kind: _port() for kind in ("master", "volume", "filer", "s3")}
        # The log goes to a file: a pipe that nobody reads would fill up and block the server.
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    program, "-logtostderr=true", "server", f"-dir={folder / 'data'}",
                    "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                    f"-master.port={ports['master']}", "-master.volumeSizeLimitMB=256",
                    "-master.volumePreallocate=false", "-master.electionTimeout=1s",
                    "-master.heartbeatInterval=100ms",
                    f"-volume.port={ports['volume']}", "-volume.max=1000",
                    "-volume.preStopSeconds=0",
                    f"-filer.port={ports['filer']}", "-filer.disableHttp=true",
                    f"-filer.localSocket={folder / 'filer.sock'}",
                    "-s3", f"-s3.port={ports['s3']}", f"-s3.config={identities}",
                    f"-s3.localSocket={folder / 's3.sock'}", "-s3.port.iceberg=0",
                    "-s3.port.lance=0", "-s3.allowDeleteBucketNotEmpty=false",
                    "-s3.iam.readOnly=false",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                # A bucket allocates one volume at a time, not seven, so that many buckets fit on
                # the disk.
                env={**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},
                cwd=folder,
            )  # fmt: skip
            try:
                wait_until(
                    lambda: process.poll() is not None or answers(ports["s3"]),
                    "SeaweedFS accepts calls",
                )
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                url = f"http://127.0.0.1:{ports['s3']}"
                server = SeaweedFs(url=url, admin=admin, iam=_client("iam", url, admin))
                wait_until(lambda: _serves(server), "SeaweedFS makes a bucket")
                yield server
            finally:
                process.kill()
                process.wait(timeout=60)
                for kind, port in ports.items():
                    # The server chooses this fixed path, and does not remove the file when it is
                    # killed.
                    socket_file = f"/tmp/seaweedfs-{kind}-grpc-{port + _GRPC_ABOVE}.sock"
                    Path(socket_file).unlink(missing_ok=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serves(server: SeaweedFs) -> bool:
    """Return whether an object can be stored; the port answers before that."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        bucket = server.bucket(can_lock=False)
        bucket.client(server.admin).put_object(Bucket=bucket.name, Key="first", Body=b"x")
    except (BotoCoreError, ClientError):
        return False
    return True


def _administrator(key: Key) -> dict[str, Any]:
    return {
        "name": "admin",
        "credentials": [{"accessKey": key.access_key, "secretKey": key.secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }


@cache
def _session() -> Any:
    """Reuse one session, because a new one reads megabytes of descriptions."""
    import boto3

    return boto3.session.Session()


def _client(service: str, url: str, key: Key) -> Any:
    from botocore.config import Config

    return _session().client(
        service,
        endpoint_url=url,
        region_name=_REGION,
        aws_access_key_id=key.access_key,
        aws_secret_access_key=key.secret_key,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )


def _port() -> int:
    while True:
        port = free_port()
        with suppress(OSError), socket.socket() as high:
            high.bind(("127.0.0.1", port + _GRPC_ABOVE))
            return port


@pytest.fixture(scope="session")
def seaweedfs_server() -> Iterator[SeaweedFs]:
    """A SeaweedFS for this test process."""
    need("weed", "it is the S3 of the tests; install the dev requirements")
    with running_seaweedfs() as server:
        yield server


@pytest.fixture
def s3_bucket(seaweedfs_server: SeaweedFs) -> Iterator[Bucket]:
    """A fresh bucket that locks every object at its put."""
    bucket = seaweedfs_server.bucket()
    yield bucket
    bucket.remove_identities()
