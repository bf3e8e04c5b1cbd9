"""A real SCIM 2.0 directory (scim2-server): one empty tenant a test.

- `scim_server`: function; an empty directory with its address and bearer token.
- It has no sign-in: a test asserts the `active` flag, read without the connector under test.
- Its development server drops connections at about 32 at once.
"""

import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.servers import answers, find_program, free_port, need, send_request, wait_until

USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"


@dataclass(frozen=True, kw_only=True)
class ScimServer:
    """An empty directory; `url` is the address without /Users."""

    url: str
    token: str

    def create(self, name: str, *, is_active: bool = True, **more: object) -> str:
        """Add an account with more SCIM attributes; return its id."""
        answer = self._ask(
            "POST",
            "/Users",
            json={"schemas": [USER_SCHEMA], "userName": name, "active": is_active, **more},
        )
        return str(answer.json()["id"])

    def is_active(self, account_id: str) -> bool:
        """Read the flag of one account."""
        return self._ask("GET", f"/Users/{account_id}").json()["active"] is True

    def version(self, account_id: str) -> str:
        """Return the account's version, which every change renews."""
        return str(self._ask("GET", f"/Users/{account_id}").json()["meta"]["version"])

    def set_active(self, account_id: str, is_active: bool) -> None:
        """Change the flag as another administrator would."""
        self._patch(account_id, {"op": "replace", "path": "active", "value": is_active})

    def rename(self, account_id: str, name: str) -> None:
        """Rename the account, as another administrator would."""
        self._patch(account_id, {"op": "replace", "path": "userName", "value": name})

    def delete(self, account_id: str) -> None:
        """Remove one account for good."""
        self._ask("DELETE", f"/Users/{account_id}")

    def _patch(self, account_id: str, operation: dict[str, object]) -> None:
        self._ask(
            "PATCH",
            f"/Users/{account_id}",
            json={
                "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
                "Operations": [operation],
            },
        )

    def _ask(self, method: str, path: str, *, json: object = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = send_request(method, self.url + path, json=json, headers=headers)
        return answer.raise_for_status()


@contextmanager
def running_scim() -> Iterator[ScimServer]:
    """Run the server; each path segment of its URL is another tenant."""
    token = uuid.uuid4().hex
    port = free_port()
    program = find_program("scim2-server")
    assert program is not None
    # The log goes to a file: a pipe that nobody reads would fill up and block the server.
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [program, "--port", str(port), "--bearer-token", token, "--dynamic-tenants"],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            cwd=Path(tempfile.gettempdir()),
        )
        try:
            wait_until(
                lambda: process.poll() is not None or answers(port), "scim2-server accepts calls"
            )
            assert process.poll() is None, "scim2-server ended while starting"
            yield ScimServer(url=f"http://127.0.0.1:{port}/first/v2", token=token)
        finally:
            process.terminate()
            process.wait(timeout=60)


@pytest.fixture(scope="session")
def scim_process() -> Iterator[ScimServer]:
    """The process behind `scim_server`, which is empty for each test."""
    need("scim2-server", "it is the SCIM directory of the tests; install the dev requirements")
    with running_scim() as server:
        yield server


@pytest.fixture
def scim_server(scim_process: ScimServer) -> ScimServer:
    """An empty SCIM directory for one test."""
    tenant = f"t{uuid.uuid4().hex}"
    url = scim_process.url.replace("/first/", f"/{tenant}/")
    return ScimServer(url=url, token=scim_process.token)
