import pytest

from standfast.adapters.procedures.simulator import SimulatedProcedure
from standfast.config.sections.procedures import ParameterConfig
from standfast.records import digest
from tests.adapters.procedures.contract import ProcedureContract, Yard


class MemoryYard(Yard):
    def __init__(self) -> None:
        self.procedure = SimulatedProcedure(
            "commands.isolate", parameters={"host": ParameterConfig(type="host")}
        )

    def is_isolated(self, host: str) -> bool:
        assert isinstance(self.procedure, SimulatedProcedure)
        return digest([host, {"host": host}]) in self.procedure._in_effect


class TestMemory(ProcedureContract):
    @pytest.fixture
    def yard(self) -> Yard:
        return MemoryYard()


def test_the_twin_says_that_nothing_was_called() -> None:
    yard = MemoryYard()
    (result,) = yard.procedure.run([yard.order("pc-1")])
    assert result.facts == {"exercise": True}
    assert "nothing was called" in result.reason
