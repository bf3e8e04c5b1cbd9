"""Individual notice to one held or unreached recipient: text, refusals.

A notice is a message to the people that an incident concerns; a step of the incident sends it. A
held recipient, such as a minor, waits for the decision of a person. An unreached recipient is a
recipient whose message did not arrive.

Rules
- Held and unreached recipients are notified by letter, or at their own or another address.
- An individual notice is a separate step. Its approvals, its text and its abort window (the time
  between approval and message) are those of the original notice. Each recipient has one such step,
  so that nobody is notified twice.
- A notice can be corrected by a second notice. Then neither text is sent to the recipient: the
  original is wrong, and the correction refers to a message that this recipient did not receive. The
  notice is rendered again with the valid facts.
- If an answer in the incident was corrected, and the corrected answer makes the notice unnecessary,
  nothing is sent.
- While the original notice is not approved, an individual notice is refused. If an approver refuses
  the original notice and it is planned again, the new plan contains the same held recipient again.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import cast

from standfast.adapters.factory import Adapters
from standfast.adapters.senders.letters import letter_obstacle
from standfast.errors import Refused, UsageError
from standfast.ledger.effects.effect_rows import EffectRow, effect_token, scope_of
from standfast.ledger.messages.sent_messages import first_message, replaced_message
from standfast.notices.mail_addresses import parse_address
from standfast.notices.prepared_notice import Prepared, merkle_root, pick_language
from standfast.playbook.action_arguments import arguments_of
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.answer_dependencies import answers_behind
from standfast.playbook.engine import is_wanted
from standfast.playbook.planned_effects import Draft, Expansion, FrozenNotice
from standfast.playbook.run_state import HELD_STEP_PREFIX
from standfast.records import Json, StepState
from standfast.usecases.core.installation import Installation
from standfast.usecases.deadlines.legal_clocks import refuse_blocked
from standfast.usecases.incidents.blast_radius import NO_LOCKS
from standfast.usecases.incidents.lifecycle import refuse_closed
from standfast.usecases.incidents.notice_effects import render_step_notice
from standfast.usecases.incidents.step_expansion import add_required_approvals
from standfast.usecases.notice_follow_up.held_recipients import (
    decider,
    find_by_mark,
    held_effects,
    hold_kind,
    hold_reason,
    is_held,
    short_mark,
)
from standfast.usecases.notice_follow_up.undelivered_messages import list_undelivered
from standfast.usecases.notices.correction_history import valid_corrections
from standfast.usecases.notices.delivery_accounting import NOTIFIED_BY_STEP
from standfast.usecases.notices.delivery_plan import MAIL, POST


@dataclass(frozen=True, kw_only=True)
class IndividualNotice:
    """The step that notifies one held recipient, and its approvals."""

    step: str
    needs_approvals: int


def plan_individual_notice(
    installation: Installation,
    incident_id: str,
    mark: str,
    *,
    to: Sequence[str],
    because: str,
    name: str = "",
    values: Mapping[str, str] | None = None,
    by: str | None = None,
) -> IndividualNotice:
    """Plan an individual notice; it is sent after its approval.

    `mark` is the first characters of the message's token. `to` is one mail address, the lines of a
    postal address, or empty for the recipient's own address. `name`, for example that of a
    guardian, replaces the recipient's name in the greeting. `values` are the valid statements of a
    notice that was corrected. Raise UsageError for an invalid address. Raise Refused while the law
    forbids the notice, and if a corrected answer makes the notice unnecessary.
    """
    refuse_closed(installation, incident_id, then="decide about them")
    if not because.strip():
        raise UsageError("reason: missing. Add --because TEXT; it is kept with the recipient.")
    rows = [
        *held_effects(installation, incident_id),
        *(message.row for message in list_undelivered(installation, incident_id)),
    ]
    (row,) = find_by_mark(incident_id, rows, [mark])
    actor = decider(installation, row, by)
    _refuse_unapproved(installation, row)
    refuse_blocked(
        installation.config,
        incident_id,
        installation.ledger.facts.of_incident(incident_id),
        installation.clock(),
    )
    step_name = _step_name(installation, row)
    with closing(
        installation.adapters_for(installation.ledger.incidents.get(incident_id))
    ) as adapters:
        notice = _valid_notice(installation, row, adapters, values or {})
        expansion = _expansion(
            installation, row, step_name, adapters, notice, to=to, name=name, by=by
        )
    now = installation.clock()
    is_new = installation.ledger.steps.expand(incident_id, step_name, 1, expansion, actor, now)
    if not is_new:
        row = installation.ledger.effects.current(row)
    decision = f"{NOTIFIED_BY_STEP} {step_name}"
    # Record the decision also if the step existed: the process that planned it may have died.
    if is_held(row) and row.facts.get("decision") != decision:
        facts = {"decision": decision, "by": actor, "because": because}
        reason = f"{decision}, decided by {actor}: {because} ({hold_reason(row)})"
        installation.ledger.notices.decide_held(row, facts, reason, actor, now)
    if not is_new:
        raise UsageError(f"{short_mark(row)}: notified by step {step_name} already. See that step.")
    return IndividualNotice(step=step_name, needs_approvals=expansion.needs_approvals)


def _refuse_unapproved(installation: Installation, row: EffectRow) -> None:
    """Raise UsageError while the original notice is not approved."""
    for notice in installation.ledger.notices.of_incident(row.incident):
        is_theirs = (notice.step, notice.round) == (row.step, row.round)
        if is_theirs and notice.state in (StepState.ASKING, StepState.REFUSED):
            raise UsageError(
                f"notice {row.step!r}: not approved. Notify {short_mark(row)} individually after "
                "its approval."
            )


def _valid_notice(
    installation: Installation, row: EffectRow, adapters: Adapters, values: Mapping[str, str]
) -> FrozenNotice:
    """Return the notice with its valid text.

    Raise UsageError if `values` are missing or not allowed. Raise Refused if a corrected answer is
    not processed yet, or makes the notice unnecessary.
    """
    frozen = installation.ledger.incidents.notice(row.incident, row.step, row.round)
    written = replaced_message(installation.ledger.effects, row)
    first = first_message(installation.ledger.effects, row)
    corrected = valid_corrections(installation, row.incident, first.step)
    if written.step != first.step:  # `row` corrects a text that the recipient received
        if written.step != corrected[-1]:
            raise UsageError(
                f"{written.step}: {corrected[-1]} is newer and was sent to this recipient as well. "
                "If that newer notice does not arrive, notify the recipient of it."
            )
        if values:
            raise UsageError(f"{written.step}: it is sent with its own text. Remove --value.")
        return frozen
    state = installation.ledger.incidents.state(row.incident)
    step = state.playbook.step(first.step)
    behind = (state.steps.get(name) for name in answers_behind(state.playbook, step))
    asked = [view for view in behind if view is not None]
    if not all(view.state.is_final for view in asked):
        raise Refused(
            f"{first.step}: the corrected answer is not processed yet. Run `standfast incident "
            f"resume {row.incident}`."
        )
    is_answer_corrected = any(view.round > 1 for view in asked)
    if is_answer_corrected and not is_wanted(step, state):
        raise Refused(
            f"{first.step}: after the corrected answer it has no recipients. Run `standfast notice "
            f"leave-out {row.incident} {short_mark(row)} --because WHY`."
        )
    if corrected and not values:
        raise UsageError(
            f"{first.step}: {corrected[-1]} corrects it, and its text is not sent again. This "
            "recipient has received nothing. Add the valid facts with --value NAME=TEXT, as for "
            "`standfast notice preview`, or exclude the recipient: `standfast notice leave-out`."
        )
    if values and not corrected:
        raise UsageError(
            f"{first.step}: no correction replaces this notice, so its approved text is sent. "
            "Remove --value."
        )
    if not corrected and not is_answer_corrected:
        return frozen
    prepared = render_step_notice(
        step, arguments_of(step, state), state, adapters, overrides=values
    )
    return replace(frozen, body=prepared.as_json(), digest=prepared.digest)


def _expansion(
    installation: Installation,
    row: EffectRow,
    step_name: str,
    adapters: Adapters,
    notice: FrozenNotice,
    *,
    to: Sequence[str],
    name: str,
    by: str | None,
) -> Expansion:
    incident = installation.ledger.incidents.get(row.incident)
    # The playbook has no step for an individual notice; use the step of the first message.
    first = first_message(installation.ledger.effects, row)
    step = installation.ledger.incidents.state(row.incident).playbook.step(first.step)
    prepared = Prepared.from_json(notice.body)
    target = _target(row, to)
    connector = row.connector
    if target.startswith(POST) and not adapters.prints(connector):
        letters = adapters.letters()
        if letters is None:
            raise UsageError("letter: no sender of kind `letters` is configured. Add one.")
        connector = letters
    elif target.startswith(MAIL) and adapters.prints(connector):
        raise UsageError("this notice is sent by letter. Give the lines of a postal address.")
    known = cast("Mapping[str, str]", row.details["values"])
    values = {slot: known.get(slot, "") for slot in prepared.slots}
    if name and "name" in prepared.slots:
        values["name"] = name
    default = installation.config.organisation.languages[0]
    language = pick_language(str(row.details["language"]), prepared.languages, default).language
    handle = installation.ledger.cipher.handle(scope_of(SEND, row.incident), target)
    token = effect_token(row.incident, step_name, 1, SEND, handle)
    filled = prepared.fill(language, values, token, address=target.partition(":")[2])
    details: dict[str, Json] = {
        "language": language,
        "values": values,
        "why": str(row.details.get("why", "")),
        "digest": filled.digest,
        "settles": row.token,
    }
    draft = Draft(verb=SEND, connector=connector, target=target, details=details)
    return add_required_approvals(
        step,
        Expansion(
            drafts=(draft,),
            notice=replace(
                notice,
                root=merkle_root([filled.digest]),
                audience=f"{hold_kind(row)} in {row.step}",
                recipients=1,
            ),
            reason=f"{hold_kind(row)} in {row.step}: {hold_reason(row)}",
        ),
        adapters,
        is_signed=incident.is_signed and by == incident.opened_by,
        locked_today=NO_LOCKS,
    )


def _target(row: EffectRow, to: Sequence[str]) -> str:
    """Return the target for `to`, or for the recipient's own address."""
    if not to:
        own = str(row.details.get("address") or "")
        postal = cast("Sequence[str]", row.details.get("postal") or ())
        sent_to = () if is_held(row) else row.target.partition(":")[2].split("\n")
        to = (own,) if own else postal or sent_to
        if not to:
            raise UsageError(f"{short_mark(row)}: no address is known. Name an address.")
    # Without this check, a mail address among the lines would be printed on a letter.
    if len(to) > 1 and any("@" in line for line in to):
        raise UsageError(
            "address: mail and postal lines are mixed. Name one mail address, or the lines of a "
            "postal address."
        )
    if len(to) == 1 and "@" in to[0]:
        try:
            return MAIL + parse_address(to[0]).text
        except ValueError as error:
            raise UsageError(f"not a valid mail address: {error}") from None
    if why := letter_obstacle("\n".join(to)):
        raise UsageError(f"not a valid postal address: {why}")
    return POST + "\n".join(to)


def _step_name(installation: Installation, row: EffectRow) -> str:
    """Return the name of a recipient's step.

    If an approver refused earlier steps for this recipient, the name ends with a number.
    """
    name = f"{HELD_STEP_PREFIX}{row.token[:12]}"
    refused = {step for step, _ in installation.ledger.steps.refused(row.incident)}
    before = sum(step == name or step.startswith(f"{name}-") for step in refused)
    return f"{name}-{before + 1}" if before else name
