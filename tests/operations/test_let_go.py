"""Whoever only looked lets the directories go: a `serve` that plans for months fills none up."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from standfast.ledger.staff import Member
from standfast.operations import staff
from standfast.operations.checks import check_place
from standfast.operations.place import Place, open_place
from standfast.operations.planning import plan_incident
from tests.operations.places import enrol_people, furnish
from tests.servers import wait_until
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.xdist_group("databases")

DIRECTORY = """
[accounts.db]
kind = "postgresql"
host = "{host}"
user = "{user}"
password = "env:DB_PASSWORD"
timeout_seconds = 5
"""


@dataclass(frozen=True, kw_only=True)
class Looked:
    """A place with one directory, and how many sessions it has there."""

    place: Place
    config_file: Path
    env: dict[str, str]
    role: str
    server: Postgres

    def sessions(self) -> int:
        query = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{self.role}'"
        ((count,),) = self.server.rows(query, database="postgres")
        return int(count)

    def plan(self) -> None:
        (step,) = plan_incident(self.place, "lock", {"accounts": [f"db:{self.role}"]}).steps
        assert dict(step.refused), "it was looked at: our own role is not locked"

    def leavers(self) -> None:
        (leaver,) = staff.leavers(self.place).everybody
        assert leaver.still_in

    def check(self) -> None:
        found = [one.found for one in check_place(self.config_file, env=self.env).checks]
        assert any("db" in one for one in found)


@pytest.fixture
def looked(tmp_path: Path, postgres_server: Postgres) -> Iterator[Looked]:
    role, password = postgres_server.role("SUPERUSER")
    config_file = furnish(tmp_path)
    with config_file.open("a") as file:
        file.write(DIRECTORY.format(host=postgres_server.socket_folder, user=role))
    env = {"SCIM_TOKEN": "unused", "DB_PASSWORD": password}
    with open_place(config_file, env=env, actor="os:test") as place:
        enrol_people(place)
        now = place.clock()
        member = Member(
            key="1",
            full_name="Ben Stone",
            accounts=(f"db:{role}",),
            leaves_at=now - timedelta(days=1),
        )
        place.ledger.staff.take("csv", [member], "os:test", now)
        yield Looked(
            place=place, config_file=config_file, env=env, role=role, server=postgres_server
        )
    postgres_server.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    "look", [Looked.plan, Looked.leavers, Looked.check], ids=["plan", "leavers", "check"]
)
def test_no_session_and_no_thread_is_left_behind(
    looked: Looked, look: Callable[[Looked], None]
) -> None:
    look(looked)
    threads = threading.active_count()
    for _ in range(3):
        look(looked)
    wait_until(lambda: looked.sessions() == 0, "every session there is over")
    wait_until(lambda: threading.active_count() <= threads, "every thread is over")
