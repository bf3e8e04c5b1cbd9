"""Contract of every procedure: subclass `ProcedureContract`.

A `Yard` (fixture `yard`) is one procedure with the parameter `host`, over a real system. The tests
read the state of that system without the procedure.
"""

import uuid
from abc import ABC, abstractmethod

from standfast.adapters.procedures import WAS_IN_EFFECT, Procedure
from standfast.records import EffectState, JsonObject, Order


class Yard(ABC):
    """A procedure that isolates a host, and the system behind it."""

    procedure: Procedure

    @abstractmethod
    def is_isolated(self, host: str) -> bool:
        """Return the state without the procedure."""

    def order(self, host: str, *, prior: JsonObject | None = None) -> Order:
        return Order(
            token=uuid.uuid4().hex,
            verb="run.command",
            target=host,
            details={"parameters": {"host": host}},
            prior=prior,
        )


class ProcedureContract:
    def test_undo_takes_back_what_was_run(self, yard: Yard) -> None:
        order = yard.order("pc-17")
        (before,) = yard.procedure.observe([order])
        assert before.happened is False
        assert before.is_readable
        assert before.state == {WAS_IN_EFFECT: False}
        (done,) = yard.procedure.run([order])
        assert done.state is EffectState.DONE
        assert yard.is_isolated("pc-17")
        assert yard.procedure.observe([order])[0].happened is True
        (back,) = yard.procedure.undo([yard.order("pc-17", prior=before.state)])
        assert back.state is EffectState.DONE
        assert not yard.is_isolated("pc-17")

    def test_earlier_effect_is_not_taken_back(self, yard: Yard) -> None:
        yard.procedure.run([yard.order("pc-18")])
        (seen,) = yard.procedure.observe([yard.order("pc-18")])
        (back,) = yard.procedure.undo([yard.order("pc-18", prior=seen.state)])
        assert back.state is EffectState.DONE
        assert "before the incident" in back.reason
        assert yard.is_isolated("pc-18")

    def test_looking_changes_nothing(self, yard: Yard) -> None:
        yard.procedure.observe([yard.order("pc-19")] * 2)
        assert not yard.is_isolated("pc-19")

    def test_running_twice_is_as_good_as_once(self, yard: Yard) -> None:
        order = yard.order("pc-20")
        states = [yard.procedure.run([order])[0].state for _ in range(2)]
        assert states == [EffectState.DONE, EffectState.DONE]
        assert yard.is_isolated("pc-20")

    def test_answers_come_one_an_order_and_in_order(self, yard: Yard) -> None:
        hosts = ["pc-21", "pc-22", "pc-23"]
        results = yard.procedure.run([yard.order(host) for host in hosts])
        assert [result.target for result in results] == hosts
        seen = yard.procedure.observe([yard.order(host) for host in ["pc-23", "pc-99"]])
        assert [one.happened for one in seen] == [True, False]

    def test_unfit_parameter_is_refused_and_not_sent(self, yard: Yard) -> None:
        for host in ("-rf", "../../etc", "a b", "pc;reboot", "pc\n17", "", "ä", "$(id)", "a" * 300):
            (result,) = yard.procedure.run([yard.order(host)])
            assert result.state is EffectState.REFUSED, host
            assert "'host'" in result.reason
            if host:
                assert host not in result.reason
            assert not yard.is_isolated(host)
