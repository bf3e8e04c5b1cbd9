"""Undo of effects: the targets that are restored, and needed approvals.

An effect is one act on one target outside Standfast, such as the lock of one account. The prior
state is the state of the target before the first effect.

Rules
- An undo restores the recorded prior state and nothing else. It is refused while the effect's
  outcome is unknown, before the effect has begun, and while another open incident locks the same
  account. If several incidents locked an account, the last undo restores the prior state.
- Unlocking an account in a live incident needs an approval, because it could let an intruder in. In
  an exercise (against simulators), it needs an approval only if the lock was not proven, for
  example by a refused sign-in.
- A target whose adapter is no longer configured stays as it is, and a later undo restores it. The
  other targets are undone.
- If an undo needs approvals, it needs two, because the person who requests the undo may sign one of
  them. One approval is enough if three conditions are met: the person who opened the incident
  requests the undo, that person signed in to open it, and no accounts were added later, for example
  by a webhook. That person may not approve in the incident, so the one approval is from another
  person.
- A person can stop an incident; only undos run then. If an earlier undo is paused, a new undo takes
  over the effects that the paused undo has not begun. Effects that were planned and never begun are
  not undone.
- `plan_undo` changes nothing. `undo` computes the plan again before it records it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from standfast.adapters.factory import Adapters
from standfast.adapters.factory.settings_digest import adapter_settings_digests
from standfast.errors import ConfigurationError, UsageError
from standfast.ledger.approvals.named_accounts import folded
from standfast.ledger.effects.effect_rows import EffectRow
from standfast.ledger.incidents.incident_store import IncidentRow
from standfast.ledger.incidents.stop_and_resume import take_over_paused_undo
from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.accounts_lock import LOCK, UNLOCK
from standfast.playbook.actions.accounts_prove_locked import PROVE
from standfast.playbook.actions.service_recover import RETURN
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.plurals import counted
from standfast.records import EffectState, JsonObject, Mode, Proof, StepState
from standfast.suggestions import known_names_hint
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.lifecycle import refuse_closed
from standfast.usecases.incidents.lifecycle_permission import authorise_lifecycle_change

_UNDO_OF: Mapping[str, str] = {
    action.verb: action.undo for action in ACTIONS.values() if action.undo
}


@dataclass(frozen=True, kw_only=True)
class UndoPlan:
    """The targets that an undo restores or leaves, and its approvals."""

    step: str  # the name of the undo's step; "" if nothing is undone
    restores: int
    kept: tuple[str, ...]  # one reason for each target that stays as it is
    needs_approvals: int
    where: Mapping[str, int] = field(default_factory=dict)  # restored targets by adapter
    replaces_data: bool = False  # True if the undo reverses a live recovery
    unproven: int = 0  # restored accounts whose lock was never proven
    stays: tuple[str, ...] = ()  # changes that no undo reverts, in words

    @property
    def kept_result(self) -> StepState | None:
        """The result if targets stay: FAILED if all of them do, else PARTIAL."""
        if not self.kept:
            return None
        return StepState.PARTIAL if self.restores else StepState.FAILED

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "step": self.step,
            "restores": self.restores,
            "where": dict(self.where),
            "unproven": self.unproven,
            "kept": list(self.kept),
            "stays": list(self.stays),
            "needs_approvals": self.needs_approvals,
        }


def plan_undo(
    installation: Installation,
    incident_id: str,
    *,
    step: str | None = None,
    targets: Sequence[str] = (),
    requested_by: str | None = None,
) -> UndoPlan:
    """Return what an undo would do now; change nothing."""
    name = installation.ledger.incidents.next_undo(incident_id)
    return _planned(installation, incident_id, name, step, targets, requested_by)[0]


def undo(
    installation: Installation,
    incident_id: str,
    *,
    step: str | None = None,
    targets: Sequence[str] = (),
    requested_by: str | None = None,
) -> UndoPlan:
    """Record an undo of everything, of one step, or of named targets.

    Runners (processes that execute incidents) carry out the recorded undo. `requested_by` is the
    name of a person who signed in. If several undos are requested at once, each effect is undone
    once.
    """
    refuse_closed(installation, incident_id, then="undo what it did")
    who = authorise_lifecycle_change(installation, incident_id, requested_by)
    core = installation.ledger.database
    while True:
        # Choose the name of the undo's step before reading the effects: if a concurrent undo takes
        # the same name, `expand` returns False, and the effects are read again.
        name = installation.ledger.incidents.next_undo(incident_id)
        plan, drafts, paused = _planned(
            installation, incident_id, name, step, targets, requested_by
        )
        if not drafts:
            return plan
        expansion = Expansion(
            drafts=drafts,
            needs_approvals=plan.needs_approvals,
            settings=partial(adapter_settings_digests, installation.config),
            reason=_why_approved(plan),
        )
        now = installation.clock()
        why = f"stopped; {name} was requested instead"
        if paused and not take_over_paused_undo(core, incident_id, paused, why, who, now):
            continue  # a paused effect has begun, because the incident was resumed
        if installation.ledger.steps.expand(incident_id, name, 1, expansion, who, now):
            return plan


def _planned(
    installation: Installation,
    incident_id: str,
    name: str,
    step: str | None,
    targets: Sequence[str],
    requested_by: str | None,
) -> tuple[UndoPlan, tuple[Draft, ...], list[EffectRow]]:
    """Return the plan, its effects, and the paused effects that it takes over."""
    incident = installation.ledger.incidents.get(incident_id)
    refuse_closed(installation, incident_id, then="undo what it did")
    rows = installation.ledger.effects.of_incident(incident_id)
    state = installation.ledger.incidents.state(incident_id)
    refused = {view.step for view in state.extra if view.state is StepState.REFUSED}
    running = {
        view.step
        for view in state.steps.values()
        if view.state is StepState.RUNNING and not state.is_stopped_or_closed
    }
    paused = {view.step for view in state.extra if view.is_undo and view.is_paused}
    paused_effects = [
        row for row in rows if row.step in paused and row.state is EffectState.PLANNED
    ]
    waiting = {row.token for row in paused_effects}
    others = [row for row in rows if row.token not in waiting]
    effects = _undoable(others, refused, running, step, targets)
    holders = installation.ledger.effects.holders(effects)
    proven = _proof_by_handle(rows)
    drafts: list[Draft] = []
    kept: list[str] = []
    configuration_errors: list[ConfigurationError] = []
    unproven = 0
    with closing(installation.adapters_for(incident)) as adapters:
        for row in effects:
            reason = _reason_to_keep(row, holders.get(row.handle))
            try:
                reason = reason or _undo_obstacle(row, adapters)
            except ConfigurationError as error:
                configuration_errors.append(error)
                reason = f"{row.connector} cannot be used now: {error}"
            if reason:
                kept.append(reason)
                continue
            unproven += _is_unproven(row, proven, adapters)
            drafts.append(
                Draft(
                    verb=_UNDO_OF[row.verb],
                    connector=row.connector,
                    target=row.target,
                    details=row.details if row.verb != LOCK else {},
                    undoes=row.token,
                    prior=row.prior,
                )
            )
        stays = tuple(_irreversible_changes(drafts, adapters))
    if configuration_errors and not drafts:
        raise configuration_errors[0]
    is_live = incident.mode is Mode.LIVE
    lets_in = is_live and any(draft.verb == UNLOCK for draft in drafts)
    replaces = is_live and any(draft.verb == RETURN for draft in drafts)
    where = Counter(draft.connector for draft in drafts)
    plan = UndoPlan(
        step=name if drafts else "",
        restores=len(drafts),
        kept=tuple(kept),
        needs_approvals=_needed_approvals(incident, requested_by)
        if unproven or lets_in or replaces
        else 0,
        where=dict(where),
        replaces_data=replaces,
        unproven=unproven,
        stays=stays,
    )
    selected = {draft.undoes for draft in drafts}
    return plan, tuple(drafts), [row for row in paused_effects if row.undoes in selected]


def _needed_approvals(incident: IncidentRow, requested_by: str | None) -> int:
    # The person who opened the incident did not sign for accounts that were added later.
    is_signed = incident.is_signed and not incident.joined
    return 1 if is_signed and requested_by == incident.opened_by else 2


def _why_approved(plan: UndoPlan) -> str:
    if plan.unproven:
        return "some of these accounts were not proven locked"
    if plan.replaces_data:
        return "data that is in use is replaced by the data from before the recovery"
    return "the holders of these accounts can sign in again" if plan.needs_approvals else ""


def _undoable(
    rows: Sequence[EffectRow],
    refused: Set[str],
    running: Set[str],
    step: str | None,
    targets: Sequence[str],
) -> list[EffectRow]:
    """Return the selected effects that are not undone yet.

    `refused` names undo steps that an approver refused: the effects that they would have undone can
    be selected again. `running` names steps whose planned effects will happen, so these effects are
    included. Raise UsageError for targets without an effect.
    """
    undone = {
        row.undoes
        for row in rows
        if row.undoes
        and row.step not in refused
        and row.state not in (EffectState.FAILED, EffectState.REFUSED)
    }
    effects = [
        row
        for row in rows
        if row.verb in _UNDO_OF
        and row.token not in undone
        and (
            row.state in (EffectState.DONE, EffectState.UNKNOWN, EffectState.SUBMITTING)
            or (row.state is EffectState.PLANNED and row.step in running)
        )
        and step in (None, row.step)
    ]
    if step is not None and step not in {row.step for row in rows}:
        known = known_names_hint(step, {row.step for row in rows if row.verb in _UNDO_OF})
        raise UsageError(f"step {step!r}: it has nothing that can be undone; {known}")
    if not targets:
        return effects
    by_name: dict[str, list[EffectRow]] = {}
    for row in effects:
        for name in {row.target, row.target.partition(":")[2]}:
            for spelling in {name, folded(name)}:
                by_name.setdefault(spelling, []).append(row)
    missing = [name for name in targets if not {name, folded(name)} & by_name.keys()]
    if missing:
        others = f" and {counted(len(missing) - 1, 'other account')}" if missing[1:] else ""
        raise UsageError(
            f"{missing[0]}{others}: not locked by this incident, or unlocked already. "
            "`standfast incident status --targets` lists the locked accounts."
        )
    selected = {
        row.token for name in targets for row in by_name.get(name, by_name.get(folded(name), []))
    }
    return [row for row in effects if row.token in selected]


def _reason_to_keep(row: EffectRow, holder: str | None) -> str:
    if row.state is EffectState.PLANNED:
        claim = "its lock" if row.verb == LOCK else "its call"
        return f"{claim} is planned and has not run yet; undo it after it has run"
    if row.state is not EffectState.DONE:
        claim = "it was locked" if row.verb == LOCK else "it was done"
        return f"it is unknown whether {claim}; settle the outcome first"
    if holder is None:
        return ""
    return f"incident {holder} locks it too; close this incident, then undo {holder} to restore it"


def _undo_obstacle(row: EffectRow, adapters: Adapters) -> str:
    """Return why a call cannot be undone, or "".

    Raise ConfigurationError if its adapter is no longer configured.
    """
    if row.verb == LOCK:
        adapters.connector(row.connector)
    elif not adapters.procedure(row.connector).can_undo:
        return f"{row.connector} has no undo; restore it by hand"
    return ""


def _is_unproven(row: EffectRow, proven: Mapping[str, Proof], adapters: Adapters) -> bool:
    """Return whether a lock lacks the proof that its directory supports.

    A proof is, for example, a sign-in that the directory refused after the lock.
    """
    if row.verb != LOCK:
        return False
    return not proven.get(row.handle, Proof.NONE).reaches(adapters.connector(row.connector).proof)


def _proof_by_handle(rows: Sequence[EffectRow]) -> dict[str, Proof]:
    """Return the strongest proof of each account's lock.

    Omit accounts that this incident has unlocked: their proof may belong to an earlier lock.
    """
    unlocked = {row.handle for row in rows if row.undoes and row.state is EffectState.DONE}
    found: dict[str, Proof] = {}
    for row in rows:
        is_proof = row.verb == PROVE and row.handle not in unlocked
        if is_proof and row.state is EffectState.DONE:
            best = found.get(row.handle, Proof.NONE)
            found[row.handle] = row.proof if row.proof.reaches(best) else best
    return found


def _irreversible_changes(drafts: Sequence[Draft], adapters: Adapters) -> list[str]:
    """Return the changes of the locks that an unlock cannot revert."""
    found: list[str] = []
    for name in dict.fromkeys(d.connector for d in drafts if d.verb == UNLOCK):
        try:
            found += [f"{name}: {action}" for action in adapters.connector(name).irreversible]
        except ConfigurationError:
            continue  # the undo itself reports this error for each account
    return found
