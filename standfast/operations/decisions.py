"""What people say about an incident: approve, refuse, answer, accept, retry, settle, undo.

Rules
- Whoever approves signs in here: the passphrase makes the key, the key signs the plan's digest.
- A word changes the ledger only; a runner carries out what follows from it.
- An undo restores the recorded prior state and nothing else. It is refused where the effect is
  unknown, kept where another open incident holds the account, and asks for an approval of the
  remaining risk where the lock was never proven: it could let the intruder back in.
- Whoever asks for an undo without having signed in could be its approver: then two must approve.
- What an approver refused is asked again as a new round, with a plan of its own to be signed.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass

from standfast.errors import Refused, UsageError
from standfast.ledger.approvals import APPROVE, REFUSE, Question
from standfast.ledger.effects import NEEDS_PRIOR, Draft, EffectRow
from standfast.ledger.incidents import Expansion
from standfast.operations.incident import expand_step
from standfast.operations.place import Place
from standfast.people.sign_in import Credential, sign_in
from standfast.playbook.engine import State
from standfast.playbook.inputs import read_answer
from standfast.records import EffectState, Observed, Proof, StepState

_PROOFS = "accounts.prove_locked"
_UNDO_OF = {"accounts.lock": "accounts.unlock"}


@dataclass(frozen=True, kw_only=True)
class UndoPlan:
    """What an undo will restore, what it will not, and what it needs first."""

    step: str  # the name to approve and to look at; empty when nothing is to be undone
    restores: int
    kept: tuple[str, ...]  # one reason for each target that stays as it is
    needs_approvals: int


def known_person(place: Place, name: str, passphrase: str) -> str:
    """Sign a person in; give the name. ApprovalRefused when the passphrase is not theirs."""
    person = place.ledger.people.get(name)
    sign_in(name, passphrase, Credential(public_key=person.public_key, salt=person.salt))
    return name


def decide(
    place: Place,
    incident_id: str,
    step: str | None,
    person_name: str,
    passphrase: str,
    *,
    approves: bool = True,
) -> Question:
    """Sign an approval or a refusal of a step; with no step named, of the only one that asks."""
    step = step or _the_asking_step(place, incident_id)
    person = place.ledger.people.get(person_name)
    key = sign_in(
        person_name, passphrase, Credential(public_key=person.public_key, salt=person.salt)
    )
    asked = place.ledger.steps.question(incident_id, step)
    decision = APPROVE if approves else REFUSE
    signature = key.sign(asked.message(person_name, decision)).hex()
    return place.ledger.steps.decide(
        incident_id, step, person_name, decision, signature, place.clock()
    )


def answer(place: Place, incident_id: str, step: str, text: str) -> None:
    """Answer a decision or report on a manual step."""
    state = place.ledger.incidents.state(incident_id)
    try:
        asked = state.playbook.step(step)
    except KeyError:
        names = ", ".join(one.name for one in state.playbook.steps)
        raise UsageError(f"{incident_id} has no step {step!r}; its steps are: {names}") from None
    place.ledger.steps.answer(
        incident_id, step, read_answer(asked, text), place.actor, place.clock()
    )


def accept(place: Place, incident_id: str, step: str) -> None:
    """Let what needs a step go on although the step was not wholly done."""
    place.ledger.steps.accept(incident_id, step, place.actor, place.clock())


def retry(place: Place, incident_id: str, step: str | None = None) -> int:
    """Plan again what failed: effects one by one, and steps that came to no effect or to a no."""
    again = place.ledger.attempts.retry(incident_id, step, place.actor, place.clock())
    state = place.ledger.incidents.state(incident_id)
    outside = place.outside(place.ledger.incidents.get(incident_id))
    for name, view in state.steps.items():
        has_nothing = view.state is StepState.FAILED and not view.counts.total
        if step in (None, name) and (has_nothing or view.state is StepState.REFUSED):
            expand_step(place, state, outside, name, view.round + 1)
            again += 1
    return again


def settle(place: Place, incident_id: str, token: str, *, happened: bool) -> None:
    """Say about an effect that nobody could look up whether it happened; it takes a person."""
    rows = [
        row
        for row in place.ledger.effects.of_incident(incident_id)
        if row.state is EffectState.UNKNOWN and row.token.startswith(token)
    ]
    if len(rows) == 1 and not happened and not rows[0].is_parked:
        raise Refused(
            f"effect {rows[0].token[:8]} of {incident_id} may still happen; it is looked up again "
            "by itself, and only what nobody can look up takes a person's no"
        )
    if len(rows) != 1:
        raise UsageError(
            f"{len(rows)} unknown effects of {incident_id} begin with {token!r}; "
            f"`standfast incident status {incident_id} --targets` lists them"
        )
    seen = Observed(
        target=rows[0].target,
        happened=happened,
        reason=f"settled by a person: it {'happened' if happened else 'did not happen'}",
    )
    place.ledger.attempts.settle(incident_id, [(rows[0], seen)], place.actor, place.clock())


def undo(
    place: Place,
    incident_id: str,
    *,
    step: str | None = None,
    targets: Sequence[str] = (),
    requested_by: str | None = None,
) -> UndoPlan:
    """Plan to give accounts back what they had: all that were locked, of one step, or by name.

    `requested_by` is the name of a person who signed in to ask for it. Asked for by several at
    once, each lock is undone once.
    """
    while True:
        # The name before the locks: whoever plans an undo after this look takes the name, and then
        # the locks are looked at again.
        name = place.ledger.incidents.next_undo(incident_id)
        plan = _plan_undo(place, incident_id, name, step, targets, requested_by)
        if plan is not None:
            return plan


def _plan_undo(
    place: Place,
    incident_id: str,
    name: str,
    step: str | None,
    targets: Sequence[str],
    requested_by: str | None,
) -> UndoPlan | None:
    """Plan the undo step of this name; None when another operator took the name."""
    incident = place.ledger.incidents.get(incident_id)
    if not incident.is_open:
        raise Refused(f"incident {incident_id} is closed; open another one to change accounts")
    rows = place.ledger.effects.of_incident(incident_id)
    refused = {
        view.step
        for view in place.ledger.incidents.state(incident_id).extra
        if view.state is StepState.REFUSED
    }
    locked = _undoable(rows, refused, step, targets)
    holders = place.ledger.effects.holders(locked)
    proven = _proof_by_handle(rows)
    outside = place.outside(incident)
    drafts: list[Draft] = []
    kept: list[str] = []
    is_risky = False
    for row in locked:
        reason = _reason_to_keep(row, holders.get(row.handle))
        if reason:
            kept.append(reason)
            continue
        needed = outside.connector(row.connector).proof
        is_risky |= not proven.get(row.handle, Proof.NONE).reaches(needed)
        drafts.append(
            Draft(
                verb=_UNDO_OF[row.verb],
                connector=row.connector,
                target=row.target,
                details={},
                undoes=row.token,
                prior=row.prior,
            )
        )
    if not drafts:
        return UndoPlan(step="", restores=0, kept=tuple(kept), needs_approvals=0)
    is_asked_by_opener = incident.is_signed and requested_by == incident.opened_by
    needs = (1 if is_asked_by_opener else 2) if is_risky else 0
    expansion = Expansion(
        drafts=tuple(drafts),
        needs_approvals=needs,
        reason="the lock was not proven for all of them" if is_risky else "",
    )
    if not place.ledger.steps.expand(incident_id, name, 1, expansion, place.actor, place.clock()):
        return None
    return UndoPlan(step=name, restores=len(drafts), kept=tuple(kept), needs_approvals=needs)


def _undoable(
    rows: Sequence[EffectRow], refused: Set[str], step: str | None, targets: Sequence[str]
) -> list[EffectRow]:
    """Give the locks that are meant and not yet undone; UsageError names what was not locked.

    `refused` names the undo steps that an approver refused: what they planned never happens.
    """
    undone = {
        row.undoes
        for row in rows
        if row.undoes
        and row.step not in refused
        and row.state not in (EffectState.FAILED, EffectState.REFUSED)
    }
    locks = [
        row
        for row in rows
        if row.verb in NEEDS_PRIOR
        and row.token not in undone
        and row.state in (EffectState.DONE, EffectState.UNKNOWN, EffectState.SUBMITTING)
        and step in (None, row.step)
    ]
    if not targets:
        return locks
    by_name: dict[str, list[EffectRow]] = {}
    for row in locks:
        for name in (row.target, row.target.partition(":")[2]):
            by_name.setdefault(name, []).append(row)
    missing = [name for name in targets if name not in by_name]
    if missing:
        raise UsageError(
            f"{len(missing)} of the accounts named are not locked by this incident, the first is "
            f"number {list(targets).index(missing[0]) + 1} in your list"
        )
    meant = {row.token for name in targets for row in by_name[name]}
    return [row for row in locks if row.token in meant]


def _reason_to_keep(row: EffectRow, holder: str | None) -> str:
    if row.state is not EffectState.DONE:
        return "nobody knows yet whether it was locked; settle that first"
    if holder is None:
        return ""
    return f"{holder} holds it too; once this incident is closed, that one's undo gives it back"


def _proof_by_handle(rows: Sequence[EffectRow]) -> dict[str, Proof]:
    """The strongest proof that each account was shut."""
    found: dict[str, Proof] = {}
    for row in rows:
        if row.verb == _PROOFS and row.state is EffectState.DONE:
            best = found.get(row.handle, Proof.NONE)
            found[row.handle] = row.proof if row.proof.reaches(best) else best
    return found


def _the_asking_step(place: Place, incident_id: str) -> str:
    state: State = place.ledger.incidents.state(incident_id)
    views = (*state.steps.values(), *state.extra)
    asking = [view.step for view in views if view.state is StepState.ASKING]
    if len(asking) != 1:
        raise UsageError(
            f"{len(asking)} steps of {incident_id} ask for approval"
            + (f": {', '.join(asking)}; name one" if asking else "")
        )
    return asking[0]
