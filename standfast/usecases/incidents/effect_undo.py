"""Undo of effects: of a target, a step or an incident.

The undo is shown first, then planned.

Rules
- An undo restores the recorded prior state and nothing else. It is refused where the effect is
  unknown or has yet to begin, and kept where another open incident holds the account.
- Giving an account back in a live incident asks for an approval: it could let an intruder in again.
  An exercise asks where the lock was never proven.
- What is not configured any more keeps nothing elsewhere from being given back: it is kept, and an
  undo gives it back once it is configured again.
- Two incidents that hold one account: whichever is undone first gives nothing back and says so; the
  last one restores what the first had found.
- Who opened the incident approves nothing of it, so their undo takes one approval. Anybody else
  could approve their own: then two must, and who asks may be one of them.
- In a stopped incident an undo is carried out, and nothing else. It takes over what an undo that
  the stop paused has not begun; what was planned and is stopped is not undone, since it was not
  done.
- `plan_undo` changes nothing. What `undo` plans is the same, looked at anew.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from standfast.adapters.factory import Outside
from standfast.adapters.factory.settings_digest import adapter_settings_digests
from standfast.errors import ConfigurationError, UsageError
from standfast.ledger.approvals.named_accounts import folded
from standfast.ledger.effects.effect_rows import EffectRow
from standfast.ledger.incidents.incident_store import IncidentRow
from standfast.ledger.incidents.stop_and_resume import take_over_paused_undo
from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.accounts_lock import LOCK, UNLOCK
from standfast.playbook.actions.accounts_prove_locked import PROVE
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
    """The result of an undo in advance: restored, not restored, needed first."""

    step: str  # the name to approve and to look at; empty when nothing is to be undone
    restores: int
    kept: tuple[str, ...]  # one reason for each target that stays as it is
    needs_approvals: int
    where: Mapping[str, int] = field(default_factory=dict)  # adapter → how many it gives back
    unproven: int = 0  # of them, the accounts that were never proven shut
    stays: tuple[str, ...] = ()  # what no undo there restores, in words

    @property
    def keeps(self) -> StepState | None:
        """PARTIAL if some requested effects stay, FAILED if no effect is undone."""
        if not self.kept:
            return None
        return StepState.PARTIAL if self.restores else StepState.FAILED

    def as_json(self) -> JsonObject:
        """Give it for `--json`."""
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
    """Say what an undo would do now, changing nothing."""
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
    """Plan an undo of everything, of one step, or of named targets.

    `requested_by` is the name of a person who signed in to ask for it; see `entitlement`. Asked for
    by several at once, each act is undone once.
    """
    refuse_closed(installation, incident_id, then="undo what it did")
    who = authorise_lifecycle_change(installation, incident_id, requested_by)
    core = installation.ledger.database
    while True:
        # The name before the locks: whoever plans an undo after this look takes the name, and then
        # the locks are looked at again.
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
        why = f"stopped; {name} was asked for instead"
        if paused and not take_over_paused_undo(core, incident_id, paused, why, who, now):
            continue  # one of them was begun since: the incident was resumed
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
    """Return the undo step of this name and its effects.

    Effects of paused undos that it replaces are included.
    """
    incident = installation.ledger.incidents.get(incident_id)
    refuse_closed(installation, incident_id, then="undo what it did")
    rows = installation.ledger.effects.of_incident(incident_id)
    state = installation.ledger.incidents.state(incident_id)
    refused = {view.step for view in state.extra if view.state is StepState.REFUSED}
    running = {
        view.step
        for view in state.steps.values()
        if view.state is StepState.RUNNING and not state.is_halted
    }
    paused = {view.step for view in state.extra if view.is_undo and view.is_paused}
    waits = [row for row in rows if row.step in paused and row.state is EffectState.PLANNED]
    waiting = {row.token for row in waits}
    others = [row for row in rows if row.token not in waiting]
    acts = _undoable(others, refused, running, step, targets)
    holders = installation.ledger.effects.holders(acts)
    proven = _proof_by_handle(rows)
    drafts: list[Draft] = []
    kept: list[str] = []
    lacking: list[ConfigurationError] = []
    unproven = 0
    with closing(installation.outside(incident)) as outside:
        for row in acts:
            reason = _reason_to_keep(row, holders.get(row.handle))
            try:
                reason = reason or _no_way_back(row, outside)
            except ConfigurationError as error:
                lacking.append(error)
                reason = f"{row.connector} cannot be used now: {error}"
            if reason:
                kept.append(reason)
                continue
            unproven += _is_unproven(row, proven, outside)
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
        stays = tuple(_what_stays(drafts, outside))
    if lacking and not drafts:
        raise lacking[0]
    lets_in = incident.mode is Mode.LIVE and any(d.verb == UNLOCK for d in drafts)
    where = Counter(draft.connector for draft in drafts)
    plan = UndoPlan(
        step=name if drafts else "",
        restores=len(drafts),
        kept=tuple(kept),
        needs_approvals=_needs(incident, requested_by) if unproven or lets_in else 0,
        where=dict(where),
        unproven=unproven,
        stays=stays,
    )
    meant = {draft.undoes for draft in drafts}
    return plan, tuple(drafts), [row for row in waits if row.undoes in meant]


def _needs(incident: IncidentRow, requested_by: str | None) -> int:
    is_signed = incident.is_signed and not incident.joined  # a trigger signs nothing
    return 1 if is_signed and requested_by == incident.opened_by else 2


def _why_approved(plan: UndoPlan) -> str:
    if plan.unproven:
        return "the lock was not proven for all of them"
    return "whoever has these accounts gets in again" if plan.needs_approvals else ""


def _undoable(
    rows: Sequence[EffectRow],
    refused: Set[str],
    running: Set[str],
    step: str | None,
    targets: Sequence[str],
) -> list[EffectRow]:
    """Return the selected effects that are not yet undone.

    Raise UsageError that names the targets on which nothing was done.

    `refused` names the undo steps that an approver refused: what they planned never happens. What
    those in `running` planned does, and is given too.
    """
    undone = {
        row.undoes
        for row in rows
        if row.undoes
        and row.step not in refused
        and row.state not in (EffectState.FAILED, EffectState.REFUSED)
    }
    acts = [
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
        raise UsageError(f"step {step!r} touched nothing that can be undone; {known}")
    if not targets:
        return acts
    by_name: dict[str, list[EffectRow]] = {}
    for row in acts:
        for name in {row.target, row.target.partition(":")[2]}:
            for spelling in {name, folded(name)}:
                by_name.setdefault(spelling, []).append(row)
    missing = [name for name in targets if not {name, folded(name)} & by_name.keys()]
    if missing:
        raise UsageError(
            f"{counted(len(missing), 'account that you name is', 'accounts that you name are')} "
            f"not locked by this incident, or unlocked already, such as {missing[0]}. Name those "
            "that `standfast incident status --targets` lists"
        )
    meant = {
        row.token for name in targets for row in by_name.get(name, by_name.get(folded(name), []))
    }
    return [row for row in acts if row.token in meant]


def _reason_to_keep(row: EffectRow, holder: str | None) -> str:
    if row.state is EffectState.PLANNED:
        claim = "its lock" if row.verb == LOCK else "what is done there"
        return f"{claim} is still to be carried out; undo it after that"
    if row.state is not EffectState.DONE:
        claim = "it was locked" if row.verb == LOCK else "it was done"
        return f"nobody knows yet whether {claim}; settle that first"
    if holder is None:
        return ""
    return f"{holder} holds it too; once this incident is closed, that one's undo gives it back"


def _no_way_back(row: EffectRow, outside: Outside) -> str:
    """Say that what was called has no undo of its own, or nothing.

    Raises `ConfigurationError` when it is not configured any more, or not wholly.
    """
    if row.verb == LOCK:
        outside.connector(row.connector)
    elif not outside.procedure(row.connector).can_undo:
        return f"{row.connector} has no undo; take it back by hand"
    return ""


def _is_unproven(row: EffectRow, proven: Mapping[str, Proof], outside: Outside) -> bool:
    """Return whether unlocking could admit a person never proved locked out."""
    if row.verb != LOCK:
        return False
    return not proven.get(row.handle, Proof.NONE).reaches(outside.connector(row.connector).proof)


def _proof_by_handle(rows: Sequence[EffectRow]) -> dict[str, Proof]:
    """The strongest proof that each account was shut.

    None where it was given back and locked again: the proof may be of the lock before.
    """
    given_back = {row.handle for row in rows if row.undoes and row.state is EffectState.DONE}
    found: dict[str, Proof] = {}
    for row in rows:
        is_proof = row.verb == PROVE and row.handle not in given_back
        if is_proof and row.state is EffectState.DONE:
            best = found.get(row.handle, Proof.NONE)
            found[row.handle] = row.proof if row.proof.reaches(best) else best
    return found


def _what_stays(drafts: Sequence[Draft], outside: Outside) -> list[str]:
    """Give what locks changed for good where accounts are given back."""
    found: list[str] = []
    for name in dict.fromkeys(d.connector for d in drafts if d.verb == UNLOCK):
        try:
            found += [f"{name}: {action}" for action in outside.connector(name).irreversible]
        except ConfigurationError:
            continue  # said by the undo itself, for each account
    return found
