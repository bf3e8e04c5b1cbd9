"""Simulator of a procedure, for exercises and tests.

Rules
- The simulator passes the contract tests of all procedures. So an exercise (a run of a playbook
  against simulators) rehearses the real call.
- For each set of parameters, the simulator remembers whether the change is in effect, as the real
  target would.
"""

import threading
from collections.abc import Mapping

from standfast.adapters.procedures import Procedure
from standfast.adapters.procedures.parameters import parameters_of, read_parameters
from standfast.config.sections.procedures import ParameterConfig
from standfast.records import EffectState, JsonObject, Limits, Order, Result, digest


class SimulatedProcedure(Procedure):
    """A procedure in memory; with `parameters` it checks them as a real one."""

    can_observe = True
    can_undo = True

    def __init__(
        self,
        name: str,
        *,
        parameters: Mapping[str, ParameterConfig] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.name = name
        # The simulated target is in this process: after its end nothing more can happen.
        self.limits = limits or Limits(batch=100, workers=4, is_local=True)
        self._parameters = parameters
        self._in_effect: set[str] = set()
        self._guard = threading.Lock()

    def fit(self, details: JsonObject) -> None:
        if self._parameters is not None:
            read_parameters(self.name, self._parameters, details)

    def _is_in_effect(self, order: Order) -> bool:
        with self._guard:
            return _key(order) in self._in_effect

    def _run(self, order: Order) -> Result:
        with self._guard:
            self._in_effect.add(_key(order))
        return _simulated_result(order)

    def _undo(self, order: Order) -> Result:
        with self._guard:
            self._in_effect.discard(_key(order))
        return _simulated_result(order)


def _simulated_result(order: Order) -> Result:
    return Result(
        target=order.target,
        state=EffectState.DONE,
        reason="exercise: nothing was called",
        facts={"exercise": True},
    )


def _key(order: Order) -> str:
    return digest([order.target, parameters_of(order.details)])
