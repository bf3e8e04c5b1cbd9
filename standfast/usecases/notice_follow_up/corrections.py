"""The correction of a notice that was wrong, to exactly those who got it.

Rules
- It goes to those who got the wrong notice, or may have: done and unknown; also by a step of their
  own. Whose message is known to have bounced or to have been dropped got nothing.
- Nothing of the wrong notice may be under way or still to come, or the correction would miss
  somebody: the notice is stopped first.
- Words that were corrected go to nobody any more: what had failed is not tried again in them, and
  whom it was for is told apart what holds.
- It is a step of its own, with the approvals, the roles and the abort window of the wrong one's.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

from standfast.errors import Refused, StandfastError, UsageError
from standfast.ledger.effects.effect_rows import EffectRow, effect_token, scope_of
from standfast.ledger.messages.sent_messages import SentMessage, individual_messages, sent_messages
from standfast.notices.prepared_notice import Prepared, pick_language
from standfast.notices.template_renderer import prepare
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.records import DeliveryState, EffectState, Json, Mode
from standfast.suggestions import known_names_hint
from standfast.usecases.core.additional_steps import CORRECTS
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.blast_radius import NOBODY
from standfast.usecases.incidents.lifecycle import refuse_closed
from standfast.usecases.incidents.step_expansion import add_required_approvals
from standfast.usecases.notices.correction_history import standing_corrections, who_got
from standfast.usecases.notices.delivery_plan import NoticePlan, refuse_placeholders

CORRECTION = "wrong-notice-correction"
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
    installation: Installation,
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
    incident = installation.ledger.incidents.get(incident_id)
    refuse_closed(installation, incident_id, then="correct the notice")
    state = installation.ledger.incidents.state(incident_id)
    try:
        step = state.playbook.step(step_name)
    except KeyError:
        known = [one.name for one in state.playbook.steps if one.action == SEND]
        raise UsageError(
            f"{incident_id} has no step {step_name!r} that tells anybody; "
            f"{known_names_hint(step_name, known)}"
        ) from None
    while True:
        # The name before the look: whoever plans a correction after it takes the name.
        name = installation.ledger.notices.next_step(incident_id, CORRECTS)
        if not is_another:
            _refuse_twice(installation, incident_id, step_name)
        _refuse_unfinished(installation, incident_id, step_name)
        outside = installation.outside(incident)
        prepared = _prepared(installation, incident_id, context, incident.mode)
        telling = NoticePlan(
            template=CORRECTION,
            audience=who_got(step_name),
            prepared=prepared,
            drafts=partial(_drafts, installation, incident_id, step_name, name, prepared),
        )
        expansion = add_required_approvals(
            step,
            Expansion(
                telling=telling,
                reason="; ".join((*prepared.warnings, f"corrects {step_name}")),
            ),
            outside,
            is_signed=incident.is_signed and requested_by == incident.opened_by,
            locked_today=NOBODY,
        )
        now = installation.clock()
        actor = requested_by or installation.actor
        if installation.ledger.steps.expand(incident_id, name, 1, expansion, actor, now):
            return Correction(
                step=name,
                recipients=telling.notice().recipients,
                refused=telling.tally.refused.total(),
                needs_approvals=expansion.needs_approvals,
                warnings=prepared.warnings,
            )


def _refuse_twice(installation: Installation, incident_id: str, step_name: str) -> None:
    """Raise Refused where another correction of the notice stands: people would get both."""
    for name in standing_corrections(installation, incident_id, step_name):
        raise Refused(
            f"{name} corrects {step_name} already, and whoever got it would get two; see "
            f"it: `standfast notice status {incident_id}`. Where that one is wrong too: "
            "`standfast notice correct … --another`"
        )


def _refuse_unfinished(installation: Installation, incident_id: str, step_name: str) -> None:
    """Raise Refused while some of the notice may still leave, UsageError when nobody got it."""
    still: Counter[str] = Counter()
    is_got = False
    for message in _messages(installation, incident_id, step_name):
        if message.row.state in _STILL:
            still[message.row.step] += 1
        is_got = is_got or _has_come(message)
    for step, number in still.items():
        raise Refused(
            f"{number} messages of {step} are under way or still to leave; first "
            f"`standfast notice stop {incident_id} {step}`, then correct"
        )
    if not is_got:
        raise UsageError(f"nobody got the notice of {step_name!r} in {incident_id}")


def _messages(
    installation: Installation, incident_id: str, step_name: str
) -> Iterator[SentMessage]:
    """Give the messages of a notice, and last those that told it apart."""
    ledger = installation.ledger
    refused = ledger.steps.refused(incident_id)
    settled = {
        row.details.get("settles") for row in individual_messages(ledger.effects, incident_id)
    }
    theirs: set[str] = set()
    apart: list[SentMessage] = []
    for message in sent_messages(ledger.database, ledger.effects, incident_id):
        row = message.row
        if (row.step, row.round) in refused:
            continue
        if "settles" in row.details:
            apart.append(message)
        elif row.step == step_name:
            if row.token in settled:
                theirs.add(row.token)
            yield message
    while ours := [message for message in apart if message.row.details["settles"] in theirs]:
        yield from ours
        theirs = {message.row.token for message in ours}  # one that bounced was told apart again


def _has_come(message: SentMessage) -> bool:
    is_lost = message.delivery is not None and message.delivery.state in _LOST
    return message.row.state in _GOT and not is_lost


def _drafts(
    installation: Installation, incident_id: str, step_name: str, name: str, prepared: Prepared
) -> Iterator[Draft]:
    elsewhere = {
        row.target for row in individual_messages(installation.ledger.effects, incident_id)
    }
    met: set[str] = set()
    for message in _messages(installation, incident_id, step_name):
        target = message.row.target
        if _has_come(message) and target not in met:  # a guardian may be a customer, too
            met |= {target} & elsewhere
            yield _draft(installation, incident_id, name, prepared, message.row)


def _prepared(
    installation: Installation, incident_id: str, given: Mapping[str, str], mode: Mode
) -> Prepared:
    outside = installation.reader()
    template, organisation = outside.templates[CORRECTION], installation.config.organisation
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


def _draft(
    installation: Installation, incident_id: str, name: str, prepared: Prepared, row: EffectRow
) -> Draft:
    address = row.target.partition(":")[2]
    handle = installation.ledger.cipher.handle(scope_of(SEND, incident_id), row.target)
    token = effect_token(incident_id, name, 1, SEND, handle)
    before = cast("Mapping[str, str]", row.details["values"])
    values = {slot: before.get(slot, "") for slot in prepared.slots}
    default = installation.config.organisation.languages[0]
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
            verb=SEND,
            connector=row.connector,
            target=row.target,
            details=details,
            state=EffectState.REFUSED,
            reason=str(error),
        )
    details["digest"] = filled.digest
    return Draft(verb=SEND, connector=row.connector, target=row.target, details=details)
