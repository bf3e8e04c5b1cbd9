"""Expansion of a step into effects; approvals; refusal of early notices.

A step is one part of a playbook (the file that describes the response to one kind of incident). An
effect is one act on one target outside Standfast, such as the lock of one account. A notice is a
message to the people that the incident concerns. Its abort window is the time between its approval
and its first message.

Rules
- Expansion computes the effects of a step and the approvals that they need. It reads external
  systems and changes nothing there.
- Every target is named: the effect of an impossible act is planned as refused, with its reason.
- A message to anybody outside the staff needs an approval, whatever the playbook says.
- If the requester did not sign in, a step that needs approvals needs one more approval.
- A step needs an approval if it would lock more accounts than one person may lock (`blast_radius`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from standfast.adapters.accounts import Connector
from standfast.adapters.factory import Adapters
from standfast.config import Config
from standfast.deadlines.incident_facts import Facts
from standfast.errors import StandfastError, UsageError
from standfast.ledger.effects.effect_rows import effect_token, scope_of
from standfast.ledger.effects.recent_locks import RecentLocksChanged
from standfast.ledger.incidents.trigger_messages import EXTENDED
from standfast.playbook.action_arguments import arguments_of
from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.accounts_prove_locked import PROVE
from standfast.playbook.actions.action import Carrier
from standfast.playbook.actions.evidence_snapshot import SNAPSHOT
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.model import Step
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.playbook.run_state import State
from standfast.records import JsonObject, Mode, StepState
from standfast.usecases.backups.retention_holds import is_keeper_machine
from standfast.usecases.core.installation import Installation
from standfast.usecases.deadlines.legal_clocks import refuse_blocked
from standfast.usecases.incidents.account_effects import account_effects
from standfast.usecases.incidents.blast_radius import (
    NO_LOCKS,
    LockedAccounts,
    by_directory,
    locked_today,
    over_limit,
    would_lock,
)
from standfast.usecases.incidents.notice_effects import TokenOf, notice_effects, notice_preview
from standfast.usecases.incidents.procedure_effects import call_effect, call_effects
from standfast.usecases.incidents.recovery_effects import recovery_effects
from standfast.usecases.notices.delivery_plan import NoticePlan
from standfast.usecases.playbooks import library


@dataclass(frozen=True, kw_only=True)
class StepPlanner:
    """The planner of one step, with the adapters of the incident's mode.

    It implements `playbook.actions.action.Planner`.
    """

    step: Step
    state: State
    adapters: Adapters
    token_of: TokenOf = str

    @property
    def config(self) -> Config:
        return self.adapters.config

    @property
    def mode(self) -> Mode:
        return self.adapters.mode

    @property
    def incident(self) -> str:
        return "INCIDENT" if self.mode is Mode.PLAN else self.state.incident

    @property
    def is_keeper_machine(self) -> bool:
        return is_keeper_machine(self.config)

    def directory(self, name: str) -> Connector:
        return self.adapters.connector(name)

    def accounts(
        self, verb: str, arguments: JsonObject, *, shows_obstacles: bool = False
    ) -> Expansion:
        return account_effects(verb, arguments, self.adapters, shows_obstacles=shows_obstacles)

    def notice(self, arguments: JsonObject) -> Expansion:
        return notice_effects(self.step, arguments, self.state, self.adapters, self.token_of)

    def notice_preview(self, verb: str, procedure: str, arguments: JsonObject) -> Expansion:
        return notice_preview(self.notice(arguments), verb, procedure)

    def call(
        self, verb: str, procedure: str, target: str, details: JsonObject, *, refusal: str = ""
    ) -> Draft:
        return call_effect(
            self.step, verb, procedure, target, details, self.adapters, refusal=refusal
        )

    def calls(self, verb: str, procedure: str, arguments: JsonObject) -> Expansion:
        return Expansion(drafts=call_effects(self.step, verb, procedure, arguments, self.adapters))

    def recoveries(self, arguments: JsonObject) -> Expansion:
        return recovery_effects(self.step, arguments, self.adapters)

    def validate(self, procedure: str, details: JsonObject) -> None:
        self.adapters.procedure(procedure).fit(details)


def expand(
    step: Step,
    state: State,
    adapters: Adapters,
    *,
    is_signed: bool,
    token_of: TokenOf,
    locked_today: LockedAccounts = NO_LOCKS,
) -> Expansion:
    """Return the effects of a step.

    Raise a StandfastError if the whole step is impossible now.
    """
    arguments = arguments_of(step, state)
    plan = ACTIONS[step.action or ""].plan
    if plan is None:
        raise UsageError(f"step {step.name!r}: {step.action!r} cannot be a step of its own")
    planner = StepPlanner(step=step, state=state, adapters=adapters, token_of=token_of)
    return add_required_approvals(
        step, plan(arguments, planner), adapters, is_signed=is_signed, locked_today=locked_today
    )


def add_required_approvals(
    step: Step,
    expansion: Expansion,
    adapters: Adapters,
    *,
    is_signed: bool,
    locked_today: LockedAccounts,
) -> Expansion:
    """Return the effects of a step with their approvals and abort window."""
    needed = max(step.approval.count if step.approval else 0, expansion.needs_approvals)
    roles = step.approval.roles if step.approval else ()
    limit_reason = over_limit(expansion.drafts, locked_today, adapters.config)
    action = ACTIONS[step.action or ""]
    if limit_reason or action.approval_reason(
        step.arguments, library.staff_audiences(adapters.config)
    ):
        needed = max(needed, 1)
    if needed and not is_signed:
        needed += 1
    return replace(
        expansion,
        reason="; ".join(filter(None, (expansion.reason, limit_reason))),
        needs_approvals=needed,
        roles=roles,
        settings=adapters.settings,
        hold_seconds=adapters.config.notices.abort_window_seconds
        if needed and action.carrier is Carrier.SENDERS and adapters.mode is not Mode.EXERCISE
        else 0,
    )


def is_irreversible(step: Step) -> bool:
    """Return whether no undo reverts the changes of this step."""
    action = ACTIONS.get(step.action or "")
    return action is not None and action.is_irreversible


def expand_step(
    installation: Installation, state: State, adapters: Adapters, step_name: str, round_: int
) -> None:
    """Plan the effects of a step; an impossible step fails with the cause."""
    while True:
        try:
            _expand_once(installation, state, adapters, step_name, round_)
        except RecentLocksChanged:
            continue  # another step began to lock accounts: plan again and count its locks
        return


def _expand_once(
    installation: Installation, state: State, adapters: Adapters, step_name: str, round_: int
) -> None:
    ledger, incident_id = installation.ledger, state.incident
    step = state.playbook.step(step_name)
    verb = step.action or ""
    scope = scope_of(verb, incident_id)

    def token_of(target: str) -> str:
        handle = ledger.cipher.handle(scope, target)
        return effect_token(incident_id, step_name, round_, verb, handle)

    # The person who opened the incident did not sign for targets that were added later, for example
    # by a webhook.
    is_signed = ledger.incidents.get(incident_id).is_signed and not state.joined
    own = (incident_id, step_name)  # locks of earlier rounds (plannings) are counted with this step
    # Read the ledger (the database of incidents) outside `try`: if it is unreachable, the step must
    # not be recorded as failed.
    facts = ledger.facts.of_incident(incident_id)
    locked = locked_today(
        ledger, state.mode, installation.clock(), installation.config, excluded_step=own
    )
    try:
        _refuse_early_notice(installation, step, state, facts)
        expansion = expand(
            step,
            state,
            adapters,
            is_signed=is_signed,
            token_of=token_of,
            locked_today=by_directory(locked, ledger, installation.config),
        )
    except Exception as error:
        _fail(installation, incident_id, step_name, round_, error)
        return
    if verb == PROVE:
        expansion = _without_unlocked(installation, incident_id, expansion)
    if round_ > 1 and not (verb == SNAPSHOT and _is_extended(installation, state, step_name)):
        expansion = _only_new(installation, incident_id, step_name, expansion)
        if _is_empty(expansion) and state.steps[step_name].joined < state.joined:
            ledger.steps.cover(
                incident_id, step_name, round_ - 1, state.joined, installation.clock()
            )
            return
    try:
        ledger.steps.expand(
            incident_id,
            step_name,
            round_,
            expansion,
            installation.actor,
            installation.clock(),
            joined=state.joined,
            counted_locks=locked if would_lock(expansion.drafts, installation.config) else None,
        )
    except (StandfastError, RecentLocksChanged):
        raise  # the ledger is unavailable or has changed: the step is planned again later
    except Exception as error:
        _fail(installation, incident_id, step_name, round_, error)


def _fail(
    installation: Installation, incident_id: str, step_name: str, round_: int, error: Exception
) -> None:
    """Mark an impossible step as failed, so that other steps continue."""
    # Record only the class of an unexpected error: its text may contain an account.
    reason = (
        str(error)
        if isinstance(error, StandfastError)
        else f"could not be planned: unexpected {type(error).__name__}"
    )
    steps, now = installation.ledger.steps, installation.clock()
    steps.finish(incident_id, step_name, round_, StepState.FAILED, reason, now)


def _refuse_early_notice(
    installation: Installation, step: Step, state: State, facts: Facts
) -> None:
    """Raise Refused if a legal rule forbids the notice now; staff are exempt."""
    if step.action != SEND:
        return
    audience = arguments_of(step, state)["audience"]
    if audience not in library.staff_audiences(installation.config):
        refuse_blocked(installation.config, state.incident, facts, installation.clock())


def _is_extended(installation: Installation, state: State, step_name: str) -> bool:
    """Return whether a person added accounts since the last round of the step.

    A round is one planning of the step. Evidence is then copied and sealed (signed) again, because
    the logs contain more about the added accounts. It is not copied again for accounts that a
    trigger (such as a webhook) adds, because a trigger may fire every minute.
    """
    return any(
        event.action == EXTENDED and int(event.detail["joined"]) > state.steps[step_name].joined
        for event in installation.ledger.timeline(state.incident)
    )


def _only_new(
    installation: Installation, incident_id: str, step_name: str, expansion: Expansion
) -> Expansion:
    """Remove the effects that an earlier round of the step planned."""

    def new(drafts: Sequence[Draft]) -> Sequence[Draft]:
        earlier = installation.ledger.effects.planned_before(incident_id, step_name, drafts)
        return [draft for draft in drafts if (draft.verb, draft.target) not in earlier]

    if isinstance(expansion.streamed_notice, NoticePlan):
        expansion.streamed_notice.leave_out = new
        return expansion
    return replace(expansion, drafts=tuple(new(expansion.drafts)))


def _is_empty(expansion: Expansion) -> bool:
    if expansion.streamed_notice is None:
        return not expansion.drafts
    return next(expansion.streamed_notice.pages(), None) is None


def _without_unlocked(
    installation: Installation, incident_id: str, expansion: Expansion
) -> Expansion:
    """Omit accounts that this incident has unlocked: no lock can be proven."""
    effects = installation.ledger.effects
    unlocked = set(effects.locked_targets(incident_id, is_undone=True))
    unlocked -= set(effects.locked_targets(incident_id))  # keep accounts that were locked again
    kept = [draft for draft in expansion.drafts if draft.target not in unlocked]
    return replace(expansion, drafts=tuple(kept))
