"""Switch a service to a prepared emergency mode, or back."""

from standfast.errors import UsageError
from standfast.playbook.actions.action import (
    Action,
    ArgumentSpec,
    ArgumentType,
    Carrier,
    Planner,
    Use,
)
from standfast.playbook.planned_effects import Expansion
from standfast.records import JsonObject, Mode

DEGRADE, RESTORE = "service.degrade", "service.restore"


def _plan(arguments: JsonObject, planner: Planner) -> Expansion:
    name, mode = str(arguments["service"]), str(arguments["mode"])
    step, services = planner.step.name, planner.config.services
    if planner.mode is Mode.EXERCISE and not services:
        # An exercise needs no configured service: the simulator, which replaces the live adapter,
        # accepts a request with the name of any mode.
        details: JsonObject = {"mode": mode, "parameters": {}}
        draft = planner.call(DEGRADE, f"requests.{mode}", f"service.{name}:{name}", details)
        return Expansion(drafts=(draft,))
    if name not in services:
        raise UsageError(
            f"step {step!r}: service {name!r} is not configured. Add [services.{name}]."
        )
    modes = services[name].modes
    if mode not in modes:
        raise UsageError(
            f"step {step!r}: the service {name!r} has no mode {mode!r}; its modes: "
            f"{', '.join(modes) or 'none'}. Add [services.{name}.modes.{mode}]."
        )
    procedure = modes[mode].procedure
    if procedure is None:
        raise UsageError(
            f"step {step!r}: mode {mode!r} of {name!r} is entered by hand. Make it a manual step, "
            f"or add a command or a request to [services.{name}.modes.{mode}]."
        )
    details = {"mode": mode, "parameters": dict(modes[mode].parameters)}
    draft = planner.call(DEGRADE, procedure, f"service.{name}:{name}", details)
    return Expansion(drafts=(draft,))


ACTION = Action(
    verb=DEGRADE,
    title="switch a service to a prepared emergency mode",
    targets="services",
    carrier=Carrier.PROCEDURES,
    method="run",
    arguments={
        "service": ArgumentSpec(
            type=ArgumentType.SERVICE, required=True, description="the service, by name"
        ),
        "mode": ArgumentSpec(
            type=ArgumentType.TEXT,
            required=True,
            description="one of the modes in the service's configuration",
        ),
    },
    plan=_plan,
    done="switched",
    undo=RESTORE,
    keeps_prior_state=True,
    names_people=False,
)
UNDO = Action(
    verb=RESTORE,
    title="switch the service back to its normal mode",
    targets="services",
    carrier=Carrier.PROCEDURES,
    method="undo",
    done="switched back",
    use=Use.UNDO,
    names_people=False,
)
