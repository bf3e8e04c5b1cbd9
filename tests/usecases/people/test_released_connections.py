"""Read-only acts release their connections to directories."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from standfast.adapters.accounts.simulator import Fault, SimulatedConnector
from standfast.adapters.factory import Adapters
from standfast.ledger.incidents.incident_store import IncidentRow
from standfast.ledger.people.staff_list import Member
from standfast.records import EffectState
from standfast.usecases.approvals import step_retry
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.staff_messages import notify_each
from standfast.usecases.health.installation_check import check_installation
from standfast.usecases.incidents import effect_undo
from standfast.usecases.incidents.plan import plan_incident
from standfast.usecases.people import staff_access
from standfast.usecases.people.enrolment import enrol_person
from standfast.usecases.setup.installation_opening import open_installation
from tests.servers import wait_until
from tests.servers.postgres import Postgres
from tests.usecases.installations import OWNER, enrol_people, furnish
from tests.usecases.twins import SimulatedInstallation, simulated_installation

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
    """An installation with one directory, and its number of sessions."""

    installation: Installation
    config_file: Path
    env: dict[str, str]
    role: str
    server: Postgres

    def sessions(self) -> int:
        query = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{self.role}'"
        ((count,),) = self.server.rows(query, database="postgres")
        return int(count)

    def plan(self) -> None:
        (step,) = plan_incident(self.installation, "lock", {"accounts": [f"db:{self.role}"]}).steps
        assert dict(step.refused), "it was looked at: our own role is not locked"

    def leavers(self) -> None:
        (leaver,) = staff_access.leavers(self.installation).everybody
        assert leaver.still_in

    def check(self) -> None:
        found = [one.found for one in check_installation(self.config_file, env=self.env).checks]
        assert any("db" in one for one in found)


@pytest.fixture
def looked(tmp_path: Path, postgres_server: Postgres) -> Iterator[Looked]:
    role, password = postgres_server.role("SUPERUSER")
    config_file = furnish(tmp_path)
    with config_file.open("a") as file:
        file.write(DIRECTORY.format(host=postgres_server.socket_folder, user=role))
    env = {"SCIM_TOKEN": "unused", "DB_PASSWORD": password}
    with open_installation(config_file, env=env, actor="os:test") as installation:
        enrol_people(installation)
        now = installation.clock()
        member = Member(
            key="1",
            full_name="Ben Stone",
            accounts=(f"db:{role}",),
            leaves_at=now - timedelta(days=1),
        )
        installation.ledger.staff.replace_list("csv", [member], "os:test", now)
        yield Looked(
            installation=installation,
            config_file=config_file,
            env=env,
            role=role,
            server=postgres_server,
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


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> dict[int, Adapters]:
    """Return the adapters that were not released yet."""
    there: dict[int, Adapters] = {}
    close = Adapters.close

    def noted(build: Callable[..., Adapters]) -> Callable[..., Adapters]:
        def build_and_note(installation: Installation, *incident: IncidentRow) -> Adapters:
            built = build(installation, *incident)
            there[id(built)] = built
            return built

        return build_and_note

    def closed(self: Adapters) -> None:
        there.pop(id(self), None)
        close(self)

    for way in ("adapters_for", "reading_adapters", "alarm_channels"):
        build = getattr(SimulatedInstallation, way)
        monkeypatch.setattr(SimulatedInstallation, way, noted(build))
    monkeypatch.setattr(Adapters, "close", closed)
    return there


def test_retry_undo_and_enrolment_close_connections(
    tmp_path: Path, left: dict[int, Adapters]
) -> None:
    with simulated_installation(tmp_path) as installation:
        directory = installation.twins.directory
        assert isinstance(directory, SimulatedConnector)
        directory.script("lock", Fault.FAIL)
        case = installation.run("lock")
        assert step_retry.retry(installation, case).count == 1
        installation.advance(case)
        assert effect_undo.plan_undo(installation, case).restores == 1
        effect_undo.undo(installation, case, requested_by="dana")
        people = installation.ledger.people.all()
        told, why = notify_each(
            installation, "staff-heads-up", {"nothing": "it needs"}, people, "t"
        )
        assert (told[EffectState.FAILED], bool(why)) == (len(people), True)
        enrol_person(
            installation,
            name="may",
            full_name="May",
            mail="may@example.com",
            accounts=["agents:may"],
            roles=["operator"],
            passphrase="twelve grey geese",
            signer=OWNER,
        )
        assert left == {}
