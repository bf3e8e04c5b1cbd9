"""Each adapter is built once, also for concurrent threads."""

import threading
from pathlib import Path
from typing import Any

import pytest

from standfast.adapters.accounts import Connector
from standfast.adapters.accounts.simulator import SimulatedConnector
from standfast.adapters.evidence_sources import Custody
from standfast.adapters.factory.exercise_adapters import Exercise
from standfast.adapters.procedures import Procedure
from standfast.adapters.procedures.simulator import SimulatedProcedure
from standfast.config import load
from standfast.playbook.planned_effects import FrozenNotice
from tests.usecases.installations import furnish


class Slow(Exercise):
    """A factory in which another thread requests the same adapter meanwhile."""

    other: threading.Thread

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.built: list[str] = []

    def wanted_meanwhile(self, want: str, name: str) -> None:
        self.built.append(name)
        if len(self.built) > 1:
            return
        self.other = threading.Thread(target=lambda: getattr(self, want)(name))
        self.other.start()
        self.other.join(0.3)  # by then it has built a second adapter, or it waits for this thread

    def _build_connector(self, name: str) -> Connector:
        self.wanted_meanwhile("connector", name)
        return SimulatedConnector(name, {})

    def _build_procedure(self, name: str) -> Procedure:
        self.wanted_meanwhile("procedure", name)
        return SimulatedProcedure(name)


@pytest.mark.parametrize(("want", "name"), [("connector", "agents"), ("procedure", "own.act")])
def test_two_lanes_that_begin_together_share_one_adapter(
    tmp_path: Path, want: str, name: str
) -> None:
    config = load(furnish(tmp_path))
    custody = Custody(incident="inc-1", collector="test", reason="test", folder=tmp_path)
    adapters = Slow(config, custody, no_notice, accounts=[], locked=[])
    adapter = getattr(adapters, want)(name)
    adapters.other.join()
    assert adapters.built == [name]
    assert getattr(adapters, want)(name) is adapter


def no_notice(incident: str, step: str, round_: int) -> FrozenNotice:
    raise AssertionError((incident, step, round_))
