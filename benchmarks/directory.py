"""A real SCIM directory of accounts, and a bare client of it.

The bare client only sends requests: it does not retry, check or record anything.
"""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import httpx

from benchmarks.measure import Missing, expect
from tests.servers import find_program
from tests.servers.scim import USER_SCHEMA, ScimServer, running_scim

_PAGE = 100


@dataclass(frozen=True, kw_only=True)
class Agents:
    """Accounts of one tenant, all active when made."""

    server: ScimServer
    ids: tuple[str, ...]
    names: tuple[str, ...]

    def client(self) -> httpx.Client:
        """Return a plain HTTP client without retries or checks."""
        return httpx.Client(
            base_url=self.server.url,
            headers={
                "Authorization": f"Bearer {self.server.token}",
                "Content-Type": "application/scim+json",
            },
            timeout=30,
            trust_env=False,
        )

    def read(self) -> list[dict[str, Any]]:
        """Return each of these accounts as the directory shows it now."""
        found: list[dict[str, Any]] = []
        with self.client() as client:
            while True:
                page = client.get("/Users", params={"startIndex": len(found) + 1, "count": _PAGE})
                resources = page.raise_for_status().json().get("Resources") or []
                if not resources:
                    return [account for account in found if account["id"] in self.ids]
                found += resources

    def expect_all_locked(self) -> None:
        """Raise Wrong unless the directory has every account, and each is locked."""
        active = [account["active"] for account in self.read()]
        expect(len(active) == len(self.ids), f"{len(self.ids)} accounts are there")
        expect(not any(active), f"all {len(active)} are locked, not {active.count(False)}")

    def first_change(self) -> datetime:
        """Return the time of the first change to the created accounts."""
        return min(
            datetime.fromisoformat(account["meta"]["lastModified"])
            for account in self.read()
            if not account["active"]
        )


@contextmanager
def running_directory() -> Iterator[ScimServer]:
    """Run the directory; Missing if it is not installed."""
    if find_program("scim2-server") is None:
        raise Missing("scim2-server is not installed; take the development requirements")
    with running_scim() as server:
        yield server


def new_tenant(server: ScimServer) -> ScimServer:
    """Return a new, empty tenant."""
    url = server.url.replace("/first/", f"/t{uuid.uuid4().hex}/")
    return ScimServer(url=url, token=server.token)


def new_agents(server: ScimServer, count: int) -> Agents:
    """Create a tenant with active accounts."""
    return more_agents(new_tenant(server), count, "agent")


def more_agents(tenant: ScimServer, count: int, prefix: str) -> Agents:
    """Add active accounts with a name prefix to a tenant."""
    names = tuple(f"{prefix}{number:04}" for number in range(count))
    agents = Agents(server=tenant, ids=(), names=names)
    with agents.client() as client:
        ids = [
            client.post("/Users", json={"schemas": [USER_SCHEMA], "userName": name, "active": True})
            .raise_for_status()
            .json()["id"]
            for name in names
        ]
    return replace(agents, ids=tuple(ids))


def lock_bare(agents: Agents, threads: int) -> None:
    """Lock each account and read it back with a bare client.

    The client records nothing.
    """

    def lock(account_id: str) -> None:
        client.patch(f"/Users/{account_id}", json=LOCK).raise_for_status()
        after = client.get(f"/Users/{account_id}").raise_for_status().json()
        expect(after["active"] is False, "a lock that was read back holds")

    with agents.client() as client:
        if threads == 1:
            for account_id in agents.ids:
                lock(account_id)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(lock, agents.ids))


LOCK = {
    "schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
    "Operations": [{"op": "replace", "path": "active", "value": False}],
}
