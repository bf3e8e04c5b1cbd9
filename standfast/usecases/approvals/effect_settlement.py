"""Settlement of unknown outcomes by a person.

An effect is one act on one target outside Standfast, such as the lock of one account. Its outcome
is unknown if the call to the external system ended without an answer. A person can then examine the
target and state whether the effect happened.

Rules
- The person needs a role of the step, as for every decision about the step
  (`step_decisions.decision_actor`).
- While Standfast still looks up an effect automatically, the effect may happen later. Until the
  look-ups end, a person may state that the effect happened, but not that it did not happen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from standfast.errors import Refused, UsageError
from standfast.ledger.effects.effect_rows import EffectRow
from standfast.ledger.effects.unknown_outcomes import (
    unknown_outcomes_of_step,
    unknown_outcomes_with_prefix,
)
from standfast.playbook.run_state import State
from standfast.plurals import counted
from standfast.records import Observed
from standfast.usecases.approvals.step_decisions import (
    decision_actor,
    refuse_unknown_step,
    step_names,
)
from standfast.usecases.core.installation import Installation

TRANSACTION_ROWS = 1000


@dataclass(frozen=True, kw_only=True)
class Settled:
    """The result of settling effects."""

    count: int  # number of settled effects
    left: int  # number of unknown effects of the step that were not settled: they may still happen


def settle(
    installation: Installation,
    incident_id: str,
    token: str,
    *,
    happened: bool,
    by: str | None = None,
) -> None:
    """Record a person's statement on whether an unknown effect happened.

    `token` is the identifier of the effect, or its first characters.
    """
    rows = unknown_outcomes_with_prefix(installation.ledger.effects, incident_id, token)
    if len(rows) != 1:
        raise UsageError(
            f"{counted(len(rows), 'unknown effect')} of {incident_id} with a token that begins "
            f"with {token!r}. "
            f"List them with `standfast incident status {incident_id} --targets`."
        )
    if not (happened or rows[0].is_parked):
        raise Refused(
            f"effect {rows[0].token[:8]} of {incident_id}: it may still happen and is looked up "
            "again automatically. Wait: only an effect that cannot be looked up may be settled as "
            "not happened."
        )
    _settle(
        installation,
        installation.ledger.incidents.state(incident_id),
        rows,
        happened=happened,
        by=by,
    )


def settle_step(
    installation: Installation,
    incident_id: str,
    step: str,
    *,
    happened: bool,
    by: str | None = None,
) -> Settled:
    """Record that all unknown effects of a step happened, or did not.

    "Did not happen" is recorded only for effects that are no longer looked up automatically.
    """
    state = installation.ledger.incidents.state(incident_id)
    refuse_unknown_step(step, step_names(state), incident_id)
    unknown = unknown_outcomes_of_step(installation.ledger.effects, incident_id, step)
    if not unknown:
        raise UsageError(f"step {step!r} of {incident_id}: no unknown effect. Nothing to settle.")
    rows = [row for row in unknown if happened or row.is_parked]
    if not rows:
        raise Refused(
            f"step {step!r} of {incident_id}: {counted(len(unknown), 'unknown effect')} may still "
            "happen and are looked up again automatically. Wait: only effects that cannot be "
            "looked up may be settled as not happened."
        )
    _settle(installation, state, rows, happened=happened, by=by)
    return Settled(count=len(rows), left=len(unknown) - len(rows))


def _settle(
    installation: Installation,
    state: State,
    rows: Sequence[EffectRow],
    *,
    happened: bool,
    by: str | None,
) -> None:
    """Record a person's statement about effects of one step."""
    actor = decision_actor(installation, state, rows[0].step, by)
    reason = f"settled by a person: it {'happened' if happened else 'did not happen'}"
    seen = [(row, Observed(target=row.target, happened=happened, reason=reason)) for row in rows]
    for start in range(0, len(seen), TRANSACTION_ROWS):
        page = seen[start : start + TRANSACTION_ROWS]
        installation.ledger.unknown_outcomes.settle(
            state.incident, page, actor, installation.clock()
        )
