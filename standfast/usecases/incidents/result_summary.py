"""Results of steps in numbers, with reasons and some masked names.

A step is one part of an incident's response, such as the lock of a list of accounts. It has one
effect, and therefore one result, for each target.

Rules
- Causes and counts contain no personal data. The names of the first targets without success are
  shown masked; the person who typed the names recognises them.
- Full names of targets are shown on request. Each access is recorded in the audit log of the ledger
  (the database of incidents), with the actor and the number of names.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from standfast.adapters.senders.letters import WRITTEN
from standfast.errors import UsageError
from standfast.ledger.effects.effect_counts import count_effect_kinds, first_unfinished_effects
from standfast.ledger.effects.effect_rows import EffectRow
from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.accounts_prove_locked import PROVE
from standfast.playbook.actions.people_page import PAGE
from standfast.playbook.run_state import State
from standfast.plurals import counted
from standfast.records import EffectState, JsonObject, Mode, Proof, StepState
from standfast.reports.name_masking import mask_target
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.notice_effects import DECIDES
from standfast.usecases.notices.delivery_accounting import (
    LEFT_OUT,
    NOTIFIED_BY_STEP,
    OLD_NOTIFIED_BY_STEP,
)

MORE_PEOPLE = (
    "`standfast people add` enrols more people, who may approve after one day, or immediately if "
    "the owner's key signs the enrolment"
)

_NOT_SHORT = (EffectState.DONE, EffectState.PLANNED, EffectState.SUBMITTING)
_MOST_NAMED = 5  # targets shown for each reason
_MOST_OPENED = 200  # targets decrypted for a step: a notice may have a million failed messages


@dataclass(frozen=True, kw_only=True)
class Missed:
    """Targets on which one step was not done, for one reason."""

    state: EffectState
    reason: str
    count: int
    what_to_do: str
    who: tuple[str, ...] = ()  # the first targets, masked; empty while they are only planned

    @property
    def named(self) -> str:
        """Return the first names and the number of further targets, or ""."""
        more = self.count - len(self.who)
        others = [f"{more:,} more"] if more > 0 else []
        return ", ".join((*self.who, *others)) if self.who else ""

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "state": self.state.value,
            "reason": self.reason,
            "count": self.count,
            "who": [*self.who],
            "what_to_do": self.what_to_do,
        }


@dataclass(frozen=True, kw_only=True)
class Tally:
    """The number of results of one kind of act in a step, such as locks."""

    step: str
    verb: str
    done: int
    missed: tuple[Missed, ...]
    proofs: Mapping[Proof, int] = field(default_factory=dict)  # accounts proven locked, by proof

    @property
    def sentence(self) -> str:
        """The counts in words: `1,487 of 1,500 locked`."""
        word = ACTIONS[self.verb].done
        if self.proofs:
            levels = [
                f"{number:,} {level.words}" if len(self.proofs) > 1 else level.words
                for level, number in self.proofs.items()
            ]
            word += f" ({'; '.join(levels)})"
        short = sum(reason.count for reason in self.missed)
        if self.verb == PAGE:
            asked = f"{counted(self.done, 'person', 'people')} asked"
            return f"{asked}, {short:,} not reached" if short else asked
        return (
            f"{self.done:,} of {self.done + short:,} {word}" if short else f"{self.done:,} {word}"
        )

    def as_json(self) -> JsonObject:
        """Return the JSON form."""
        return {
            "step": self.step,
            "verb": self.verb,
            "done": self.done,
            "not_done": [reason.as_json() for reason in self.missed],
            "proofs": {level.value: number for level, number in self.proofs.items()},
        }


def tallies(installation: Installation, incident_id: str) -> list[Tally]:
    """Count the acts of each step, with reasons for acts that are not done.

    Each planning of a step is a round. A round that an approver refused is counted only until a
    later round exists.
    """
    kinds = count_effect_kinds(installation.ledger.database, incident_id)
    refused = installation.ledger.steps.refused(incident_id)
    latest: dict[str, int] = {}
    for kind in kinds:
        latest[kind.step] = max(latest.get(kind.step, 0), kind.round)
    grouped: dict[tuple[str, str], Counter[tuple[EffectState, str]]] = {}
    rounds: dict[str, set[int]] = {}
    proofs: dict[str, Counter[Proof]] = {}
    for kind, number in kinds.items():
        if kind.round == latest[kind.step] or (kind.step, kind.round) not in refused:
            rounds.setdefault(kind.step, set()).add(kind.round)
            found = grouped.setdefault((kind.step, kind.verb), Counter())
            found[kind.state, kind.reason] += number
            if kind.verb == PROVE and kind.state is EffectState.DONE:
                proofs.setdefault(kind.step, Counter())[kind.proof] += number
    return [
        _tally(
            incident_id,
            step,
            verb,
            found,
            _masked_targets(installation, incident_id, step, verb, found, rounds[step]),
            is_refused=(step, latest[step]) in refused,
            proofs=proofs.get(step, {}) if verb == PROVE else {},
        )
        for (step, verb), found in grouped.items()
    ]


def step_reasons(installation: Installation, incident_id: str) -> dict[str, str]:
    """Return the reason of each step's result; omit steps that run again."""
    reasons: dict[str, str] = {}
    for event in installation.ledger.timeline(incident_id):
        if event.action in ("step.begun", "step.prompted", "step.waits"):
            reasons.pop(str(event.detail["step"]), None)
        elif event.action == "step.finished" and event.detail.get("reason"):
            reasons[str(event.detail["step"])] = str(event.detail["reason"])
    return reasons


def missing_approvers(installation: Installation, incident_id: str, state: State) -> list[str]:
    """Return a warning for each step that nobody could approve or answer now."""
    may_not, now = installation.ledger.decisions.objection, installation.clock()
    found: list[str] = []
    for view in (*state.steps.values(), *state.extra):
        if view.state is StepState.PROMPTED and state.mode is Mode.LIVE:
            roles = state.playbook.step(view.step).roles
            if roles and not installation.ledger.people.all(roles):
                found.append(
                    f"`{view.step}` needs an answer of {' or '.join(roles)}, and nobody has that "
                    f"role; run `standfast people add NAME --role {roles[0]}`"
                )
        if view.state is not StepState.ASKING or view.approvals >= view.approvals_needed:
            continue
        try:
            roles = installation.ledger.decisions.question(incident_id, view.step).roles
        except UsageError:
            continue  # somebody decided after the state was read
        people = installation.ledger.people
        able = people.counted_once(
            person
            for person in people.all(roles)
            if not may_not(incident_id, person.name, roles, now)
        )
        if able < view.approvals_needed:
            who = f" with the role {' or '.join(roles)}" if roles else ""
            found.append(
                f"`{view.step}` needs {counted(view.approvals_needed, 'approval')}, but "
                f"{counted(able, 'person', 'people')}{who} can approve it now; {MORE_PEOPLE}"
            )
    return found


def targets(installation: Installation, incident_id: str) -> list[EffectRow]:
    """Return every target by name, and record the access."""
    rows = installation.ledger.effects.of_incident(incident_id)
    installation.record_event(incident_id, "targets.viewed", {"count": len(rows)})
    return rows


def _masked_targets(
    installation: Installation,
    incident_id: str,
    step: str,
    verb: str,
    counts: Counter[tuple[EffectState, str]],
    rounds: Collection[int],
) -> Mapping[tuple[EffectState, str], Sequence[str]]:
    """Return the first targets that were not done, masked, by cause."""
    if all(state in _NOT_SHORT for state, _ in counts):
        return {}
    found: dict[tuple[EffectState, str], list[str]] = {}
    effects = installation.ledger.effects
    for row in first_unfinished_effects(
        effects, incident_id, step, verb, _MOST_OPENED, rounds=rounds
    ):
        shown = mask_target(row.target) if ACTIONS[verb].names_people else row.target
        names = found.setdefault((row.state, row.reason), [])
        if len(names) < _MOST_NAMED:
            names.append(shown.removeprefix(":"))  # ":NAME" is an account that no system contains
    return found


def _tally(
    incident_id: str,
    step: str,
    verb: str,
    counts: Counter[tuple[EffectState, str]],
    who: Mapping[tuple[EffectState, str], Sequence[str]],
    *,
    is_refused: bool,
    proofs: Mapping[Proof, int],
) -> Tally:
    missed = Counter(
        {kind: number for kind, number in counts.items() if kind[0] is not EffectState.DONE}
    )
    return Tally(
        step=step,
        verb=verb,
        done=counts.total() - missed.total(),
        proofs=dict(proofs),
        missed=tuple(
            Missed(
                state=state,
                reason=reason,
                count=number,
                what_to_do="an approver refused the step: nothing of it is done"
                if is_refused and state is EffectState.PLANNED
                else _what_to_do(incident_id, step, state, reason),
                who=tuple(who.get((state, reason), ())),
            )
            for (state, reason), number in missed.most_common()
        ),
    )


def _what_to_do(incident_id: str, step: str, state: EffectState, reason: str) -> str:
    match state:
        case EffectState.UNKNOWN if reason == WRITTEN:
            return f"print and post them, then `standfast notice posted {incident_id} {step}`"
        case EffectState.REFUSED if reason.endswith(DECIDES):
            return f"`standfast notice held {incident_id}` names each recipient"
        case EffectState.REFUSED if reason.startswith(
            (LEFT_OUT, NOTIFIED_BY_STEP, OLD_NOTIFIED_BY_STEP)
        ):
            return "decided; nothing remains to be done"
        case EffectState.FAILED:
            return f"`standfast incident retry {incident_id} {step}`"
        case EffectState.UNKNOWN:
            return (
                f"check the system, then `standfast incident settle {incident_id} EFFECT yes|no`; "
                f"`incident status --targets` lists each EFFECT, `--step {step}` means all"
            )
        case EffectState.REFUSED:
            return "not retried: remove the cause, or do it by hand"
        case EffectState.SUBMITTING:
            return "its result is looked up after its call has ended"
        case _:
            return "runs with its step; nothing to do for this target"
