"""Start of every killed run: a directory, and an installation with people."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.kill.people import Agents, running_directory
from tests.kill.world import NewWorld, World, fresh_world, furnish
from tests.memory_disk import tmp_path
from tests.servers import need
from tests.servers.postgres import Postgres

__all__ = ["tmp_path"]  # no disk is needed: a killed process loses no written data


@pytest.fixture(scope="module")
def agents() -> Iterator[Agents]:
    need("slapd", "apt-get install slapd ldap-utils")
    need("ldapmodify", "apt-get install slapd ldap-utils")
    with running_directory() as directory:
        yield directory


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation with enrolled people, to be copied for each death."""
    folder = tmp_path_factory.mktemp("furnished")
    furnish(folder)
    return folder


@pytest.fixture
def on_sqlite(tmp_path: Path, furnished: Path, agents: Agents) -> NewWorld:
    """Make worlds by name, each with a ledger of its own in a file."""

    def new_world(
        name: str, *, kind: str = "smtp", scenario: str = "small"
    ) -> AbstractContextManager[World]:
        return fresh_world(tmp_path / name, furnished, agents, kind, scenario=scenario)

    return new_world


@pytest.fixture
def on_postgresql(tmp_path: Path, agents: Agents, postgres_server: Postgres) -> Iterator[NewWorld]:
    """Make worlds by name, each with a ledger of its own on PostgreSQL."""
    with postgres_server.database() as template:
        furnished = tmp_path / "furnished"
        furnish(furnished, postgres_server.url(template))

        @contextmanager
        def new_world(name: str, *, kind: str = "smtp", scenario: str = "small") -> Iterator[World]:
            with postgres_server.database(template) as own:
                url, folder = postgres_server.url(own), tmp_path / name
                with fresh_world(
                    folder, furnished, agents, kind, scenario=scenario, ledger_url=url
                ) as world:
                    yield world

        yield new_world
