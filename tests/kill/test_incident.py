"""An incident that is killed at any point ends like a clean one.

Nobody requests that the incident continues: the watch finds it, as in `standfast serve`. An outcome
that the dead runner left unknown is settled by the provider's event, or by a person if the provider
reports none. `test_serve` kills incidents on PostgreSQL.
"""

from collections import Counter
from pathlib import Path

import pytest

from standfast.usecases.notices.delivery_accounting import End
from tests.kill.deaths import die_everywhere
from tests.kill.ends import (
    check_at_rest,
    check_end,
    check_recipients,
    send_delivery_events,
    settle_unknown_messages,
)
from tests.kill.people import Agents
from tests.kill.tracing import Death
from tests.kill.world import CUSTOMERS, KILLED, Grid, NewWorld, World, fresh_world

# Pairs of a scenario and its channel: a whole incident, or the notice alone.
CARRIED_OUT = [("small", "smtp"), ("telling", "sendgrid")]


def carried_out(world: World) -> None:
    assert world.run(None) == 0
    check_at_rest(world)
    check_recipients(world)
    check_end(world)


def test_a_clean_run_has_points_of_every_kind(
    tmp_path: Path, furnished: Path, agents: Agents
) -> None:
    with fresh_world(tmp_path / "clean", furnished, agents, "smtp") as world:
        carried_out(world)
        trace = world.trace
    assert len(set(trace)) == len(trace) > 50
    kinds = {point.split(" ")[0] for point in trace}
    assert kinds == {"commit", "call", "observe", "replace", "rename", "append"}


def test_what_the_provider_delivered_counts_as_delivered(
    tmp_path: Path, furnished: Path, agents: Agents
) -> None:
    folder = tmp_path / "clean"
    with fresh_world(folder, furnished, agents, "sendgrid", scenario="telling") as world:
        carried_out(world)
        assert check_recipients(world) == Counter({End.HANDED_OVER: 2, End.REFUSED: 1})
        assert isinstance(world.channel, Grid)
        send_delivery_events(world, world.channel)
        found = check_recipients(world)
        assert found == Counter({End.DELIVERED: len(CUSTOMERS), End.REFUSED: 1})


def ends_as_the_clean_run(
    new_world: NewWorld, name: str, *, kind: str = "smtp", scenario: str = "small"
) -> None:
    """Die at each point of a clean run, each time in a world of its own."""
    with new_world("clean", kind=kind, scenario=scenario) as world:
        carried_out(world)
        points = world.trace

    def died(death: Death, name: str) -> bool:
        with new_world(name, kind=kind, scenario=scenario) as world:
            is_dead = world.run(death) == KILLED
            check_recipients(world)
            world.go_on()
            check_at_rest(world)
            if settle_unknown_messages(world):
                world.go_on()
            check_recipients(world)
            check_end(world)
            return is_dead

    die_everywhere(points, died, name)


@pytest.mark.parametrize(("scenario", "kind"), CARRIED_OUT)
def test_killed_incident_ends_as_the_clean_run(
    scenario: str, kind: str, on_sqlite: NewWorld
) -> None:
    ends_as_the_clean_run(on_sqlite, f"incident {kind}", scenario=scenario, kind=kind)
