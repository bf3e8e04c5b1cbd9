"""A small incident from trigger to undo, written so that running it again goes on where it was."""

from pathlib import Path

from standfast.operations import decisions, incident
from standfast.records import Mode, StepState
from tests.kill.tracing import Death, Tracer, wrap_ledger, wrap_outside
from tests.operations.places import PASSPHRASES, place_at

ACCOUNTS = ["agent01", "agent02"]
INNOCENT = "agent02"
TRIGGER = "alert-17"


def run_incident(config_file: Path, token: str, log: Path, death: Death | None) -> None:
    """Contain, tell, and give one account back."""
    tracer = Tracer(log=log, death=death)
    wrap_ledger(tracer)
    wrap_outside(tracer)
    with place_at(config_file, token=token) as place:
        opened = incident.open_incident(
            place,
            "account-takeover",
            {"accounts": ACCOUNTS},
            mode=Mode.LIVE,
            opened_by="dana",
            trigger=TRIGGER,
        )
        id_ = opened.incident
        state = incident.advance(place, id_, "direct").state
        if _is(state, "customers_affected", StepState.PROMPTED):
            decisions.answer(place, id_, "customers_affected", "yes")
            state = incident.advance(place, id_, "direct").state
        if _is(state, "tell_customers", StepState.ASKING):
            decisions.decide(place, id_, "tell_customers", "lee", PASSPHRASES["lee"])
            state = incident.advance(place, id_, "direct").state
        if _is(state, "watch", StepState.PROMPTED):
            decisions.answer(place, id_, "watch", "nothing more was found")
        held = {name.partition(":")[2] for name in place.ledger.effects.locked_targets(id_)}
        if INNOCENT in held and not any(view.state is StepState.RUNNING for view in state.extra):
            decisions.undo(place, id_, targets=[INNOCENT])
        incident.advance(place, id_, "direct")


def _is(state: object, step: str, wanted: StepState) -> bool:
    view = state.steps.get(step)  # type: ignore[attr-defined]
    return view is not None and view.state is wanted and view.answer is None
