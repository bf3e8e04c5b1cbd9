"""Kills during a password rotation: the valid password is in a file.

The directory is a real OpenLDAP. The files are opened with a key that the killed process never had.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyrage
import pytest

from standfast.records import EffectState
from tests.adapters.accounts.rights import block
from tests.kill.deaths import die_everywhere
from tests.kill.ends import cases, rows
from tests.kill.people import Agents
from tests.kill.tracing import Death
from tests.kill.world import KILLED, World, fresh_world

OLD = "right"
IDENTITY = pyrage.x25519.Identity.generate()


@pytest.fixture(scope="module")
def directory(agents: Agents) -> Agents:
    """The agents' directory, where Standfast may write passwords as well."""
    agents.slapd.apply(block("openldap", "the right to write passwords"), to_configuration=True)
    return agents


@contextmanager
def rotating_world(folder: Path, furnished: Path, directory: Agents) -> Iterator[World]:
    with fresh_world(folder, furnished, directory, "smtp", scenario="rotating") as world:
        with world.case.config_file.open("a") as settings:
            settings.write(f"""
[rotation]
recipients = ["{IDENTITY.to_public()}"]
folder = "new-passwords"
""")
        yield world


def sealed(world: World, account: str) -> list[str]:
    """Return all sealed passwords of an account; partial files have none."""
    found = []
    for installation in (world.case.config_file.parent / "new-passwords").glob("*.age"):
        try:
            opened = json.loads(pyrage.decrypt(installation.read_bytes(), [IDENTITY]))
        except pyrage.DecryptError:
            continue
        if opened["account"] == account:
            found.append(opened["password"])
    return found


def who_holds_a_key_comes_in(world: World) -> None:
    """Check that one password works: the old one, or one in a file."""
    for account in world.case.accounts:
        known = [OLD, *sealed(world, account)]
        let_in = [one for one in known if world.agents.signs_in_with(account, one)]
        assert len(let_in) == 1, (len(known), len(let_in))


def every_receipt_leads_to_the_password_that_holds(world: World) -> None:
    effects = rows(world)
    assert len(effects) == len(world.case.accounts)
    for row in effects:
        assert row.state is EffectState.DONE, row.reason
        opened = json.loads(
            pyrage.decrypt(Path(str(row.facts["sealed_in"])).read_bytes(), [IDENTITY])
        )
        assert f"agents:{opened['account']}" == row.target
        assert world.agents.signs_in_with(opened["account"], opened["password"])
        assert not world.agents.signs_in_with(opened["account"], OLD)
    assert len(cases(world)) == 1
    assert world.installation.ledger.audit.verify().findings == ()


def test_killed_rotation_leaves_the_password_openable(
    tmp_path: Path, furnished: Path, directory: Agents
) -> None:
    with rotating_world(tmp_path / "clean", furnished, directory) as world:
        assert world.run(None) == 0
        every_receipt_leads_to_the_password_that_holds(world)
        points = world.trace
    assert {"seal 1", "set 1", "seal 2", "set 2", "call accounts.rotate 1"} <= set(points)

    def died(death: Death, name: str) -> bool:
        with rotating_world(tmp_path / name, furnished, directory) as world:
            is_dead = world.run(death) == KILLED
            who_holds_a_key_comes_in(world)
            world.go_on()
            who_holds_a_key_comes_in(world)
            every_receipt_leads_to_the_password_that_holds(world)
            return is_dead

    die_everywhere(points, died, "rotation")
