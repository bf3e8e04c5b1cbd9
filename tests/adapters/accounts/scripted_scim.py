"""The SCIM connector on a scripted directory that holds alice."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from standfast.adapters.accounts.scim.connector import ScimConnector
from standfast.records import JsonObject, Order, Result
from tests.adapters.accounts.connect import connect as build
from tests.adapters.accounts.scripted import TOKEN, Scripted, scripted_directory

NOW = datetime(2026, 1, 5, 3, 0, 0, tzinfo=UTC)


@pytest.fixture
def directory() -> Iterator[Scripted]:
    with scripted_directory() as directory:
        directory.add("alice")
        yield directory


def connect(
    url: str, *, seconds: float = 10.0, token: str = TOKEN, batch: int = 1, **more: Any
) -> ScimConnector:
    settings = {"url": url, "token": token, "timeout_seconds": seconds, "bulk": batch, **more}
    return build(ScimConnector, clock=lambda: NOW, **settings)


@pytest.fixture
def connector(directory: Scripted) -> Iterator[ScimConnector]:
    connector = connect(directory.url)
    yield connector
    connector.close()


def order(verb: str = "lock", target: str = "alice", prior: JsonObject | None = None) -> Order:
    return Order(token="t", verb=f"accounts.{verb}", target=target, prior=prior)


def lock(connector: ScimConnector, target: str = "alice") -> Result:
    (result,) = connector.lock([order(target=target)])
    return result


def alice(directory: Scripted) -> bool:
    return directory.accounts[0].active
