"""Expansion of a step: effects planned by its action, and approvals.

Rules
- Planning reads and changes nothing.
- Every target is named: what cannot be done becomes a refused effect with its reason.
- What goes to others than the own staff needs an approval, whatever the playbook says.
- An approval by one more person is needed when the requester did not sign in, and by one when more
  accounts would be locked than one person may (`blast_radius`).
"""

from dataclasses import dataclass, replace

from standfast.adapters.accounts import Connector
from standfast.adapters.factory import Outside
from standfast.config import Config
from standfast.errors import UsageError
from standfast.playbook.action_arguments import arguments_of
from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.action import Carrier
from standfast.playbook.model import Step
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.playbook.run_state import State
from standfast.records import JsonObject, Mode
from standfast.usecases.backups.retention_holds import is_keeper_machine
from standfast.usecases.incidents.account_effects import account_effects
from standfast.usecases.incidents.blast_radius import NOBODY, LockedAccounts, over_limit
from standfast.usecases.incidents.notice_effects import TokenOf, notice_effects, notice_preview
from standfast.usecases.incidents.procedure_effects import call_effect, call_effects
from standfast.usecases.playbooks import library


@dataclass(frozen=True, kw_only=True)
class StepPlanner:
    """The planner of one step, over the adapters of a mode.

    It is the `playbook.actions.action.Planner`.
    """

    step: Step
    state: State
    outside: Outside
    token_of: TokenOf = str

    @property
    def config(self) -> Config:
        return self.outside.config

    @property
    def mode(self) -> Mode:
        return self.outside.mode

    @property
    def incident(self) -> str:
        return "INCIDENT" if self.mode is Mode.PLAN else self.state.incident

    @property
    def is_keeper_machine(self) -> bool:
        return is_keeper_machine(self.config)

    def directory(self, name: str) -> Connector:
        return self.outside.connector(name)

    def accounts(
        self, verb: str, arguments: JsonObject, *, shows_obstacles: bool = False
    ) -> Expansion:
        return account_effects(verb, arguments, self.outside, shows_obstacles=shows_obstacles)

    def notice(self, arguments: JsonObject) -> Expansion:
        return notice_effects(self.step, arguments, self.state, self.outside, self.token_of)

    def notice_preview(self, verb: str, procedure: str, arguments: JsonObject) -> Expansion:
        return notice_preview(self.notice(arguments), verb, procedure)

    def call(
        self, verb: str, procedure: str, target: str, details: JsonObject, *, refusal: str = ""
    ) -> Draft:
        return call_effect(
            self.step, verb, procedure, target, details, self.outside, refusal=refusal
        )

    def calls(self, verb: str, procedure: str, arguments: JsonObject) -> Expansion:
        return Expansion(drafts=call_effects(self.step, verb, procedure, arguments, self.outside))

    def validate(self, procedure: str, details: JsonObject) -> None:
        self.outside.procedure(procedure).fit(details)


def expand(
    step: Step,
    state: State,
    outside: Outside,
    *,
    is_signed: bool,
    token_of: TokenOf,
    locked_today: LockedAccounts = NOBODY,
) -> Expansion:
    """Return the effects of a step.

    Raise the error that makes the whole step impossible now.
    """
    arguments = arguments_of(step, state)
    plan = ACTIONS[step.action or ""].plan
    if plan is None:
        raise UsageError(f"step {step.name!r}: {step.action!r} cannot be a step of its own")
    planner = StepPlanner(step=step, state=state, outside=outside, token_of=token_of)
    return add_required_approvals(
        step,
        plan(arguments, planner),
        outside,
        is_signed=is_signed,
        locked_today=locked_today,
    )


def add_required_approvals(
    step: Step,
    expansion: Expansion,
    outside: Outside,
    *,
    is_signed: bool,
    locked_today: LockedAccounts,
) -> Expansion:
    """Return the plan of a step with its approvals and abort window."""
    needed = step.approval.count if step.approval else 0
    roles = step.approval.roles if step.approval else ()
    over = over_limit(expansion.drafts, locked_today, outside.config)
    action = ACTIONS[step.action or ""]
    if over or action.approval_reason(step.arguments, library.staff_audiences(outside.config)):
        needed = max(needed, 1)
    if needed and not is_signed:
        needed += 1
    return replace(
        expansion,
        reason="; ".join(filter(None, (expansion.reason, over))),
        needs_approvals=needed,
        roles=roles,
        settings=outside.settings,
        hold_seconds=outside.config.notices.abort_window_seconds
        if needed and action.carrier is Carrier.SENDERS and outside.mode is not Mode.EXERCISE
        else 0,
    )


def is_irreversible(step: Step) -> bool:
    """Return whether nothing restores what this step does."""
    action = ACTIONS.get(step.action or "")
    return action is not None and action.is_irreversible
