"""AWS, imitated by moto: one server a process, with IAM policies.

- `moto_server`: session; its address, and the keys of an administrator. Tests add their own
  accounts.
- moto checks each signed call against the policies of its user or role, and an explicit Deny wins.
  It ignores `Condition` and accepts Inactive keys: assert the policies as well.
- It does not check the first three calls; they make the administrator.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.servers import answers, find_program, free_port, need, wait_until

REGION = "eu-west-1"
ALLOW_ALL = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    }
)


@dataclass(frozen=True, kw_only=True)
class Keys:
    """An access key, with the token of a session if it belongs to one."""

    id: str
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Moto:
    """A running server; `admin` may do everything."""

    url: str
    admin: Keys

    def client(self, service: str, keys: Keys | None = None) -> Any:
        """Return the SDK's client, by default as the administrator."""
        return _client(self.url, service, keys or self.admin)


def _client(url: str, service: str, keys: Keys) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=keys.id,
        aws_secret_access_key=keys.secret,
        aws_session_token=keys.token,
        config=Config(retries={"total_max_attempts": 1}),
    )


@contextmanager
def running_moto() -> Iterator[Moto]:
    """Run the server."""
    program = find_program("moto_server")
    assert program is not None
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [program, "-H", "127.0.0.1", "-p", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "3"},
        )
        try:
            wait_until(lambda: process.poll() is not None or answers(port), "moto accepts calls")
            assert process.poll() is None, "moto ended while starting"
            iam = _client(url, "iam", Keys(id="nobody", secret="nothing"))
            iam.create_user(UserName="admin")
            iam.put_user_policy(UserName="admin", PolicyName="all", PolicyDocument=ALLOW_ALL)
            key = iam.create_access_key(UserName="admin")["AccessKey"]
            admin = Keys(id=key["AccessKeyId"], secret=key["SecretAccessKey"])
            yield Moto(url=url, admin=admin)
        finally:
            process.kill()
            process.wait(timeout=60)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[Moto]:
    """The server of this test process."""
    need("moto_server", "it imitates AWS; install the dev requirements")
    with running_moto() as server:
        yield server
