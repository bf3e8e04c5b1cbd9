"""Correction of a wrong notice: its recipients, and when it is refused.

A notice is a message to the people that an incident concerns. A correction is a second notice. An
individual message is a message to one recipient about whom a person had to decide, or whom the
first message did not reach.

Rules
- A correction is sent to everybody who received, or may have received, the wrong notice. A message
  may have been received if its state is `DONE` or `UNKNOWN`, and it neither bounced nor was
  dropped. Individual messages that replaced a message of the notice are included.
- A notice with messages that are in progress or planned cannot be corrected, because the correction
  would miss their recipients. The notice must be stopped first.
- The wrong text is never sent again. A failed message is not retried; its recipient is notified
  individually with the valid text.
- A correction is a separate step. Its approvals, its roles and its abort window (the time between
  approval and first message) are those of the wrong notice.
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
from standfast.usecases.incidents.blast_radius import NO_LOCKS
from standfast.usecases.incidents.lifecycle import refuse_closed
from standfast.usecases.incidents.step_expansion import add_required_approvals
from standfast.usecases.notices.correction_history import correction_audience, valid_corrections
from standfast.usecases.notices.delivery_plan import NoticePlan, refuse_placeholders

CORRECTION = "wrong-notice-correction"
_MAY_BE_RECEIVED = (EffectState.DONE, EffectState.UNKNOWN)
_UNFINISHED = (EffectState.PLANNED, EffectState.SUBMITTING)
_LOST = (DeliveryState.BOUNCED, DeliveryState.DROPPED)


@dataclass(frozen=True, kw_only=True)
class Correction:
    """A planned correction: its step and the number of recipients."""

    step: str
    recipients: int
    refused: int
    needs_approvals: int
    warnings: tuple[str, ...]  # values that some recipients receive untranslated or as a code


def correct(
    installation: Installation,
    incident_id: str,
    step_name: str,
    context: Mapping[str, str],
    *,
    requested_by: str | None = None,
    is_another: bool = False,
) -> Correction:
    """Plan the correction of a notice for exactly its recipients.

    `context` contains the wrong and the correct facts for the template. Raise Refused while
    messages of the notice are in progress or planned. Raise Refused also for a notice that is
    corrected already, unless `is_another` is set. Raise UsageError if nobody received the notice.
    """
    incident = installation.ledger.incidents.get(incident_id)
    refuse_closed(installation, incident_id, then="correct the notice")
    state = installation.ledger.incidents.state(incident_id)
    try:
        step = state.playbook.step(step_name)
    except KeyError:
        known = [candidate.name for candidate in state.playbook.steps if candidate.action == SEND]
        raise UsageError(
            f"step {step_name!r} of {incident_id}: no step with this name sends a notice; "
            f"{known_names_hint(step_name, known)}"
        ) from None
    while True:
        # Choose the name before the checks. If another process plans a correction during the
        # checks, it takes this name. Then `expand` returns False, and the loop checks again.
        name = installation.ledger.notices.next_step(incident_id, CORRECTS)
        if not is_another:
            _refuse_twice(installation, incident_id, step_name)
        _refuse_unfinished(installation, incident_id, step_name)
        adapters = installation.adapters_for(incident)
        prepared = _prepared(installation, incident_id, context, incident.mode)
        plan = NoticePlan(
            template=CORRECTION,
            audience=correction_audience(step_name),
            prepared=prepared,
            drafts=partial(_drafts, installation, incident_id, step_name, name, prepared),
        )
        expansion = add_required_approvals(
            step,
            Expansion(
                streamed_notice=plan,
                reason="; ".join((*prepared.warnings, f"corrects {step_name}")),
            ),
            adapters,
            is_signed=incident.is_signed and requested_by == incident.opened_by,
            locked_today=NO_LOCKS,
        )
        now = installation.clock()
        actor = requested_by or installation.actor
        if installation.ledger.steps.expand(incident_id, name, 1, expansion, actor, now):
            return Correction(
                step=name,
                recipients=plan.notice().recipients,
                refused=plan.tally.refused.total(),
                needs_approvals=expansion.needs_approvals,
                warnings=prepared.warnings,
            )


def _refuse_twice(installation: Installation, incident_id: str, step_name: str) -> None:
    """Raise Refused if a correction exists: recipients would receive two."""
    for name in valid_corrections(installation, incident_id, step_name):
        raise Refused(
            f"{step_name}: {name} corrects it already; its recipients would get two corrections. "
            f"See `standfast notice status {incident_id}`. If that correction is wrong too, use "
            "`standfast notice correct … --another`."
        )


def _refuse_unfinished(installation: Installation, incident_id: str, step_name: str) -> None:
    """Raise Refused while a message may still be sent.

    Raise UsageError if nobody received the notice.
    """
    unfinished: Counter[str] = Counter()
    is_received = False
    for message in _messages(installation, incident_id, step_name):
        if message.row.state in _UNFINISHED:
            unfinished[message.row.step] += 1
        is_received = is_received or _may_be_received(message)
    for step, number in unfinished.items():
        raise Refused(
            f"{step}: {number} messages are in progress or planned. Run "
            f"`standfast notice stop {incident_id} {step}`, then correct the notice."
        )
    if not is_received:
        raise UsageError(f"{step_name!r} of {incident_id}: nobody received the notice.")


def _messages(
    installation: Installation, incident_id: str, step_name: str
) -> Iterator[SentMessage]:
    """Yield the messages of a notice, then individual messages in their place."""
    ledger = installation.ledger
    refused = ledger.steps.refused(incident_id)
    settled = {
        row.details.get("settles") for row in individual_messages(ledger.effects, incident_id)
    }
    replaced: set[str] = set()
    individual: list[SentMessage] = []
    for message in sent_messages(ledger.database, ledger.effects, incident_id):
        row = message.row
        if (row.step, row.round) in refused:
            continue
        if "settles" in row.details:
            individual.append(message)
        elif row.step == step_name:
            if row.token in settled:
                replaced.add(row.token)
            yield message
    while replacements := [
        message for message in individual if message.row.details["settles"] in replaced
    ]:
        yield from replacements
        replaced = {
            message.row.token for message in replacements
        }  # an individual message may bounce and be replaced again


def _may_be_received(message: SentMessage) -> bool:
    is_lost = message.delivery is not None and message.delivery.state in _LOST
    return message.row.state in _MAY_BE_RECEIVED and not is_lost


def _drafts(
    installation: Installation, incident_id: str, step_name: str, name: str, prepared: Prepared
) -> Iterator[Draft]:
    individual = {
        row.target for row in individual_messages(installation.ledger.effects, incident_id)
    }
    seen: set[str] = set()
    for message in _messages(installation, incident_id, step_name):
        target = message.row.target
        # A person may have received the notice twice, for example as a guardian and as a customer.
        # Both messages are corrected. Exception: a target with an individual message receives one
        # correction for all its messages.
        if _may_be_received(message) and target not in seen:
            seen |= {target} & individual
            yield _draft(installation, incident_id, name, prepared, message.row)


def _prepared(
    installation: Installation, incident_id: str, given: Mapping[str, str], mode: Mode
) -> Prepared:
    adapters = installation.reading_adapters()
    template, organisation = adapters.templates[CORRECTION], installation.config.organisation
    refuse_placeholders(template, organisation, mode)
    known: dict[str, Json] = {
        "organisation": organisation.name,
        "contact_line": organisation.contact_by_language,
        "incident_id": incident_id,
    }
    if unknown := sorted(set(given) - set(template.variables)):
        raise UsageError(
            f"correction: unknown value {', '.join(unknown)}. Use "
            f"{', '.join(sorted(set(template.variables) - set(known)))}."
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
