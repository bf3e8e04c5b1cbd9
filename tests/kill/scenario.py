"""Small incident from trigger to undo, to be killed at every point.

Each function here runs in one process, with every durable act of that process traced.
"""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from standfast.playbook.run_state import State
from standfast.records import Mode, StepState
from standfast.usecases.approvals import step_decisions
from standfast.usecases.core.installation import Installation
from standfast.usecases.health.watchdog import resume_incidents
from standfast.usecases.incidents import effect_undo, lifecycle
from standfast.usecases.setup.installation_opening import open_installation
from tests.kill.enrolled import PASSPHRASES
from tests.kill.tracing import (
    Death,
    Tracer,
    wrap_files,
    wrap_ledger,
    wrap_new_passwords,
    wrap_outside,
)

MOST_LOOKS = 400


@dataclass(frozen=True, kw_only=True)
class Case:
    """One call centre and one breach; the second account is not part of it."""

    config_file: Path
    accounts: tuple[str, str]
    env: Mapping[str, str]
    # "small": the whole incident; "telling": only the notice; "rotating": only new passwords
    scenario: str = "small"
    trigger: str = "alert-17"

    @property
    def log(self) -> Path:
        return self.config_file.parent / "trace.log"

    @contextmanager
    def installation(self) -> Iterator[Installation]:
        with open_installation(self.config_file, env=self.env, actor="os:test") as installation:
            yield installation

    def opened(self, installation: Installation) -> str:
        """Open the incident, or join it: the trigger may repeat."""
        return lifecycle.open_incident(
            installation,
            self.scenario,
            {} if self.scenario == "telling" else {"accounts": list(self.accounts)},
            mode=Mode.LIVE,
            opened_by="dana",
            trigger=self.trigger,
        ).incident


def trace(log: Path, death: Death | None) -> None:
    """Trace this process from now on; kill it at the given death."""
    tracer = Tracer(log=log, death=death)
    wrap_ledger(tracer)
    wrap_outside(tracer)
    wrap_files(tracer)
    wrap_new_passwords(tracer)


def run(case: Case, death: Death | None) -> None:
    """Contain, notify and restore one account, as the command line does."""
    trace(case.log, death)
    with case.installation() as installation:
        id_ = case.opened(installation)
        lifecycle.advance(installation, id_, "direct")
        while people_speak(installation, case, id_):
            lifecycle.advance(installation, id_, "direct")


def go_on(case: Case) -> None:
    """Repeat the watch of `serve` and people's answers until all is done."""
    with case.installation() as installation:
        id_ = case.opened(installation)
        for _ in range(MOST_LOOKS):
            carried_on, troubles = resume_incidents(installation, "serve")
            if not (carried_on or troubles or people_speak(installation, case, id_)):
                return
    raise AssertionError(f"the incident is never at rest: {troubles}")


def serve(case: Case, death: Death | None) -> None:
    """Run the loop of `serve` without Prefect until a request to end."""
    from flows.serve_loop import Serving

    trace(case.log, death)
    with case.installation() as installation:
        serving = Serving(installation=installation, config_file=case.config_file, prefect=None)
        signal.signal(signal.SIGTERM, lambda _number, _frame: serving.stop.set())
        serving.run()


def people_speak(installation: Installation, case: Case, id_: str) -> bool:
    """Answer, approve and unlock when it is time; False if nothing is due."""
    state = installation.ledger.incidents.state(id_)
    if _is(state, "customers_affected", StepState.PROMPTED):
        step_decisions.answer(installation, id_, "customers_affected", "yes", by="lee")
    elif _is(state, "tell_customers", StepState.ASKING):
        if state.steps["tell_customers"].approvals:
            return False
        step_decisions.decide(installation, id_, "tell_customers", "lee", PASSPHRASES["lee"])
    elif _is(state, "prove", StepState.DONE) and not state.extra:
        effect_undo.undo(installation, id_, targets=[case.accounts[1]], requested_by="dana")
    elif asking := [view for view in state.extra if view.state is StepState.ASKING]:
        if asking[0].approvals:
            return False
        step_decisions.decide(installation, id_, asking[0].step, "lee", PASSPHRASES["lee"])
    else:
        return False
    return True


def _is(state: State, step: str, wanted: StepState) -> bool:
    view = state.steps.get(step)
    return view is not None and view.state is wanted and view.answer is None
