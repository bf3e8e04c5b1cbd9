"""Prior states: written once per effect, inherited by later locks.

An effect is one change of one target, such as one locked account. Its prior state is the state of
the target before that change.

Rules
- The prior state of an effect is written once, before its first attempt.
- If an effect of an open incident has locked an account already, a further lock of the account
  inherits the prior state of the first. So the last undo restores the state before the first lock.
- Nothing is inherited from a closed incident, because its accounts stay as they are. Nothing is
  inherited from a lock of another account that had the same name.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, select

from standfast.ledger.audit.audited_database import AuditedDatabase
from standfast.ledger.effects.effect_conditions import is_held
from standfast.ledger.effects.effect_rows import EffectRow, scope_of, seal_reason_of
from standfast.ledger.effects.effect_store import lock_in_state
from standfast.ledger.schema.tables import attempt, effect, incident
from standfast.records import EffectState, JsonObject, Observed
from standfast.retry_rules import after_failed_prior_observation

_HANDLES_A_STATEMENT = 500


class PriorStates:
    """The prior states of the effects of all incidents."""

    def __init__(self, database: AuditedDatabase) -> None:
        self._database = database

    def keep(
        self,
        incident_id: str,
        seen: Sequence[tuple[EffectRow, Observed]],
        runner: str,
        now: datetime,
    ) -> None:
        """Store observed states as prior states.

        If a target does not exist, its effect is refused. If a target could not be read, its effect
        is planned for later, or fails after several attempts.
        """
        with self._database.write(
            actor=f"runner:{runner}",
            subject=incident_id,
            action="effects.observed",
            now=now,
            detail={"count": len(seen)},
        ) as write:
            still = lock_in_state(write, [row for row, _ in seen], "planned", unread=True)
            kept = [(row, observed) for row, observed in seen if row.token in still]
            earlier = self.find_prior_states(write.connection, [row for row, _ in kept], is_held())
            write.update_many(
                effect,
                [
                    self._columns_after_observation(
                        row, observed, _inherited_prior(earlier[row.handle], observed), now
                    )
                    for row, observed in kept
                ],
            )

    def _columns_after_observation(
        self, row: EffectRow, observed: Observed, earlier: JsonObject | None, now: datetime
    ) -> dict[str, Any]:
        """Return the column values of an effect after its target was observed.

        `earlier` is the prior state that the effect inherits, if any.
        """
        change: dict[str, Any] = {
            "token": row.token,
            "state": EffectState.PLANNED.value,
            "sealed_reason": None,
            "tries": row.tries,
            "not_before": None,
            "sealed_prior": None,
        }
        if not observed.is_readable:
            change["sealed_reason"] = seal_reason_of(self._database.cipher, row, observed.reason)
            verdict = after_failed_prior_observation(tries=row.tries, now=now)
            change["tries"], change["not_before"] = verdict.tries, verdict.not_before
            change["state"] = verdict.state.value
        elif not observed.exists:
            change["state"] = EffectState.REFUSED.value
            change["sealed_reason"] = seal_reason_of(
                self._database.cipher, row, "the directory has no such account"
            )
        else:
            change["sealed_prior"] = self._database.cipher.seal(
                scope_of(row.verb, row.incident),
                f"effect.prior {row.token}",
                earlier or observed.state,
            )
        return change

    def find_prior_states(
        self, connection: Connection, rows: Sequence[EffectRow], is_meant: ColumnElement[bool]
    ) -> dict[str, list[JsonObject]]:
        """Return the prior states of other locks of these accounts, by handle.

        A handle is the keyed hash of an account's name. `rows` belong to one incident; `is_meant`
        selects the locks. The states of other incidents come first, then the states of this
        incident, each in the order of execution. The last state takes precedence: another incident
        may have locked another account of the same name.
        """
        mine = incident.alias("mine")
        found: dict[str, list[JsonObject]] = defaultdict(list)
        for start in range(0, len(rows), _HANDLES_A_STATEMENT):
            part = rows[start : start + _HANDLES_A_STATEMENT]
            earlier = connection.execute(
                select(effect)
                .join(incident, incident.c.id == effect.c.incident)
                .outerjoin(attempt, attempt.c.token == effect.c.attempt)
                .join(mine, (mine.c.id == part[0].incident) & (mine.c.mode == incident.c.mode))
                .where(
                    effect.c.handle.in_([row.handle for row in part]),
                    effect.c.sealed_prior.is_not(None),
                    incident.c.state == "open",
                    is_meant,
                )
                .order_by(
                    effect.c.incident == part[0].incident,
                    attempt.c.submitted_at.nulls_first(),
                    effect.c.step,
                    effect.c.round,
                )
            )
            for row in earlier:
                found[row.handle].append(
                    self._database.cipher.open(
                        scope_of(row.verb, row.incident),
                        f"effect.prior {row.token}",
                        row.sealed_prior,
                    )
                )
        return found


def _inherited_prior(earlier: Sequence[JsonObject], observed: Observed) -> JsonObject | None:
    """Return the last prior state that belongs to the observed account."""
    return last_prior([prior for prior in earlier if not observed.is_another_than(prior)])


def last_prior(earlier: Sequence[JsonObject]) -> JsonObject | None:
    return earlier[-1] if earlier else None
