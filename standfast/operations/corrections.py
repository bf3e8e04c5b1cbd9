"""The correction of a notice that was wrong, to exactly those who got it.

Rules
- It goes to those who got the wrong notice, or may have: done and unknown; also by a step of their
  own. Whose message is known to have bounced or to have been dropped got nothing.
- Nothing of the wrong notice may be under way or still to come, or the correction would miss
  somebody: the notice is stopped first.
- It is a step of its own, with the approvals, the roles and the abort window of the wrong one's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from standfast.errors import Refused, StandfastError, UsageError
from standfast.ledger.effects import Draft, EffectRow, effect_token, scope_of
from standfast.ledger.incidents import Expansion, FrozenNotice
from standfast.nearest import there_are
from standfast.notices.prepared import Prepared, merkle_root, pick_language
from standfast.notices.render import prepare
from standfast.operations.actions import with_approvals
from standfast.operations.extra_steps import CORRECTS
from standfast.operations.notice_plan import refuse_placeholders
from standfast.operations.place import Place
from standfast.records import DeliveryState, EffectState, Json, Mode

CORRECTION = "wrong-notice-correction"
_SEND = "notices.send"
_GOT = (EffectState.DONE, EffectState.UNKNOWN)
_STILL = (EffectState.PLANNED, EffectState.SUBMITTING)
_LOST = (DeliveryState.BOUNCED, DeliveryState.DROPPED)


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What was planned: the step to approve, and to how many people."""

    step: str
    recipients: int
    refused: int
    needs_approvals: int
    warnings: tuple[str, ...]  # of what its readers will not get as it was meant


def correct(
    place: Place,
    incident_id: str,
    step_name: str,
    context: Mapping[str, str],
    *,
    requested_by: str | None = None,
    is_another: bool = False,
) -> Correction:
    """Plan the correction of a notice to exactly those who got it, or may have.

    `context` has what the template says was wrong and what is right. Refused while anything of the
    notice is under way or may still leave, and where it is corrected already unless `is_another`;
    UsageError when nobody got it.
    """
    incident = place.ledger.incidents.get(incident_id)
    if not incident.is_open:
        raise Refused(f"incident {incident_id} is closed; open another one to correct a notice")
    state = place.ledger.incidents.state(incident_id)
    try:
        step = state.playbook.step(step_name)
    except KeyError:
        known = [one.name for one in state.playbook.steps if one.action == _SEND]
        raise UsageError(
            f"{incident_id} has no step {step_name!r} that tells anybody; "
            f"{there_are(step_name, known)}"
        ) from None
    while True:
        # The name before the look: whoever plans a correction after it takes the name.
        name = place.ledger.notices.next_step(incident_id, CORRECTS)
        if not is_another:
            _refuse_twice(place, incident_id, step_name)
        wrong = _wrong(place, incident_id, step_name)
        outside = place.outside(incident)
        prepared = _prepared(place, incident_id, context, incident.mode)
        drafts = [_draft(place, incident_id, name, prepared, row) for row in wrong]
        leaves = [str(one.details["digest"]) for one in drafts if "digest" in one.details]
        expansion = with_approvals(
            step,
            Expansion(
                drafts=tuple(drafts),
                notice=FrozenNotice(
                    template=CORRECTION,
                    body=prepared.as_json(),
                    digest=prepared.digest,
                    root=merkle_root(leaves),
                    audience=_who_got(step_name),
                    recipients=len(leaves),
                ),
                reason="; ".join((*prepared.warnings, f"corrects {step_name}")),
            ),
            outside,
            is_signed=incident.is_signed and requested_by == incident.opened_by,
            locked_today={},
        )
        now = place.clock()
        actor = requested_by or place.actor
        if place.ledger.steps.expand(incident_id, name, 1, expansion, actor, now):
            return Correction(
                step=name,
                recipients=len(leaves),
                refused=len(drafts) - len(leaves),
                needs_approvals=expansion.needs_approvals,
                warnings=prepared.warnings,
            )


def _who_got(step_name: str) -> str:
    return f"who got {step_name}"


def _refuse_twice(place: Place, incident_id: str, step_name: str) -> None:
    """Raise Refused where another correction of the notice stands: people would get both."""
    refused = place.ledger.steps.refused(incident_id)
    for row in place.ledger.notices.of_incident(incident_id):
        is_correction = row.step.startswith(CORRECTS) and row.audience == _who_got(step_name)
        if is_correction and (row.step, row.round) not in refused:
            raise Refused(
                f"{row.step} corrects {step_name} already, and whoever got it would get two; see "
                f"it: `standfast notice status {incident_id}`. Where that one is wrong too: "
                "`standfast notice correct … --another`"
            )


def _wrong(place: Place, incident_id: str, step_name: str) -> list[EffectRow]:
    refused = place.ledger.steps.refused(incident_id)
    sent = [
        row
        for row in place.ledger.effects.of_incident(incident_id)
        if row.verb == _SEND and (row.step, row.round) not in refused
    ]
    rows = [row for row in sent if row.step == step_name]
    theirs = {row.token for row in rows}
    rows += [row for row in sent if row.details.get("settles") in theirs]  # told it apart
    if still := [row.step for row in rows if row.state in _STILL]:
        raise Refused(
            f"{len(still)} messages of {still[0]} are under way or still to leave; first "
            f"`standfast notice stop {incident_id} {still[0]}`, then correct"
        )
    deliveries = place.ledger.deliveries.of_incident(incident_id)
    lost = {token for token, one in deliveries.items() if one.state in _LOST}
    got = [row for row in rows if row.state in _GOT and row.token not in lost]
    if not got:
        raise UsageError(f"nobody got the notice of {step_name!r} in {incident_id}")
    return [*{row.target: row for row in got}.values()]  # a guardian may be among them anyway


def _prepared(place: Place, incident_id: str, given: Mapping[str, str], mode: Mode) -> Prepared:
    outside = place.reader()
    template, organisation = outside.templates[CORRECTION], place.config.organisation
    refuse_placeholders(template, organisation, mode)
    known: dict[str, Json] = {
        "organisation": organisation.name,
        "contact_line": organisation.contact_by_language,
        "incident_id": incident_id,
    }
    if unknown := sorted(set(given) - set(template.variables)):
        raise UsageError(
            f"the correction takes no {', '.join(unknown)}; it takes "
            f"{', '.join(sorted(set(template.variables) - set(known)))}"
        )
    return prepare(template, {**known, **given}, banner=mode is Mode.EXERCISE)


def _draft(place: Place, incident_id: str, name: str, prepared: Prepared, row: EffectRow) -> Draft:
    address = row.target.partition(":")[2]
    handle = place.ledger.vault.handle(scope_of(_SEND, incident_id), row.target)
    token = effect_token(incident_id, name, 1, _SEND, handle)
    before = cast("Mapping[str, str]", row.details["values"])
    values = {slot: before.get(slot, "") for slot in prepared.slots}
    default = place.config.organisation.languages[0]
    language = pick_language(str(row.details["language"]), prepared.languages, default).language
    details: dict[str, Json] = {
        "language": language,
        "values": values,
        "why": str(row.details.get("why", "")),
        "corrects": row.token,
    }
    try:
        filled = prepared.fill(language, values, token, address=address)
    except StandfastError as error:
        return Draft(
            verb=_SEND,
            connector=row.connector,
            target=row.target,
            details=details,
            state=EffectState.REFUSED,
            reason=str(error),
        )
    details["digest"] = filled.digest
    return Draft(verb=_SEND, connector=row.connector, target=row.target, details=details)
