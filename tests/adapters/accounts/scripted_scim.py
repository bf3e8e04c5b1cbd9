"""The SCIM connector on a scripted directory that holds alice, and what tests ask of the two."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from standfast.adapters.accounts.scim.connector import ScimConnector, ScimOptions
from standfast.records import JsonObject, Limits, Order, Result
from tests.adapters.accounts.scripted import TOKEN, Scripted, scripted_directory

NOW = datetime(2026, 1, 5, 3, 0, 0, tzinfo=UTC)


@pytest.fixture
def directory() -> Iterator[Scripted]:
    with scripted_directory() as directory:
        directory.add("alice")
        yield directory


def connect(
    url: str, *, seconds: float = 10.0, token: str = TOKEN, batch: int = 1
) -> ScimConnector:
    options = ScimOptions(limits=Limits(timeout_seconds=seconds, batch=batch))
    return ScimConnector("directory", url, token, options, clock=lambda: NOW)


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
