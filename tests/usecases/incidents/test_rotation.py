"""New passwords in an incident: planned, set on Redis, in receipts."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyrage
import pytest
import redis

from standfast.adapters.accounts.base.new_passwords import new_secrets
from standfast.adapters.accounts.redis import RedisConnector
from standfast.adapters.factory.live_adapters import Live
from standfast.config.sections.password_rotation import RotationConfig
from standfast.records import EffectState, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.incidents.plan import as_lines, plan_incident
from tests.adapters.accounts.connect import connect
from tests.servers.redis import RedisServer
from tests.usecases.installations import PASSPHRASES
from tests.usecases.twins import SimulatedInstallation, Twins, simulated_installation

pytestmark = pytest.mark.xdist_group("redis")

PAGE = Path(__file__).parents[3] / "docs/accounts.md"


def playbook() -> str:
    """Return the playbook of docs/accounts.md."""
    (found,) = re.findall(r"```yaml\n(playbook: rotate\n.*?)```", PAGE.read_text(), re.DOTALL)
    return str(found)


def admits(server: RedisServer, password: str) -> bool:
    try:
        client = server.connect("queue", password)
    except redis.AuthenticationError:
        return False
    client.close()
    return True


@pytest.fixture
def identity() -> pyrage.x25519.Identity:
    return pyrage.x25519.Identity.generate()


@pytest.fixture
def installation(
    tmp_path: Path,
    redis_server: RedisServer,
    identity: pyrage.x25519.Identity,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[SimulatedInstallation]:
    """Live installation with a real Redis, one user and one recipient."""
    redis_server.ask("ACL", "SETUSER", "queue", "on", ">exposed", "~*", "+@all")
    rotation = RotationConfig(
        recipients=(str(identity.to_public()),), folder=tmp_path / "new-passwords"
    )
    directory = connect(
        RedisConnector,
        "agents",
        new_secrets=new_secrets(rotation, lambda: datetime.now(UTC)),
        host="127.0.0.1",
        port=redis_server.port,
        user="default",
        password="",
        batch=10,
    )
    monkeypatch.setattr(Live, "connector", lambda self, name: directory)
    with simulated_installation(
        tmp_path, "sqlite:///ledger.db", Twins(directory=directory)
    ) as installation:
        (tmp_path / "playbooks").mkdir()
        (tmp_path / "playbooks/rotate.yaml").write_text(playbook())
        playbooks = installation.config.playbooks.model_copy(
            update={"folder": tmp_path / "playbooks"}
        )
        yield replace(
            installation,
            config=installation.config.model_copy(
                update={"rotation": rotation, "playbooks": playbooks}
            ),
        )
    directory.close()


def test_plan_states_irreversible_rotation_and_destination(
    installation: SimulatedInstallation,
) -> None:
    report = plan_incident(installation, "rotate", {"accounts": ["agents:queue"]})
    (step,) = [step for step in report.steps if step.by_adapter]
    assert step.is_irreversible
    folder = installation.config.folder / "new-passwords"
    assert f"agents: new passwords are encrypted to 1 key, in {folder}" in step.notes
    assert "encrypted to 1 key" in "\n".join(as_lines(report))


def test_exposed_password_is_refused_after_rotation(
    installation: SimulatedInstallation, redis_server: RedisServer, identity: pyrage.x25519.Identity
) -> None:
    case = installation.run("rotate", ["agents:queue"])
    assert admits(redis_server, "exposed")
    step_decisions.decide(installation, case, "rotate", "lee", PASSPHRASES["lee"])
    installation.advance(case)
    assert installation.ledger.incidents.state(case).steps["rotate"].state is StepState.DONE
    rows = installation.ledger.effects.of_incident(case)
    (row,) = [row for row in rows if row.verb == "accounts.rotate"]
    assert row.state is EffectState.DONE
    sealed = Path(str(row.facts["sealed_in"]))
    assert str(sealed) in row.reason
    password = json.loads(pyrage.decrypt(sealed.read_bytes(), [identity]))["password"]
    assert admits(redis_server, password)
    assert not admits(redis_server, "exposed")
    for file in installation.config.folder.rglob("*"):
        assert not file.is_file() or password.encode() not in file.read_bytes(), file


def test_rotation_without_recipients_is_refused(
    installation: SimulatedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = connect(RedisConnector, "agents", host="127.0.0.1", password="")
    monkeypatch.setattr(Live, "connector", lambda self, name: nobody)
    report = plan_incident(installation, "rotate", {"accounts": ["agents:queue"]})
    (step,) = [step for step in report.steps if step.refused]
    (why,) = step.refused
    assert "[rotation]" in why
    assert step.by_adapter == {}
