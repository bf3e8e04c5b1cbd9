"""Effects of a notice: one message for each recipient.

A notice is a message to the people that an incident concerns. An effect is one act on one target
outside Standfast, here one message to one recipient. An audience is the configured list of
recipients. A sender is the adapter of one channel, such as SMTP or letters.

Rules
- Each message has the recipient's language and channel.
- Every row of the audience becomes an effect. The effect of a row without a usable address is
  planned as refused.
- The effect of a held recipient, such as a minor, is planned as refused too: a person decides
  whether and how the recipient is notified.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import cast

from standfast.adapters.factory import Adapters
from standfast.errors import ConfigurationError, StandfastError, UsageError
from standfast.notices.audience import Audience, exclusion_summary
from standfast.notices.audience_rows import Recipient
from standfast.notices.prepared_notice import Prepared, pick_language
from standfast.notices.template_renderer import prepare
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.actions.shared_arguments import AFFECTED
from standfast.playbook.model import Step
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.playbook.run_state import State
from standfast.playbook.status.containment_measures import measures_taken
from standfast.records import EffectState, Json, JsonObject, Mode
from standfast.suggestions import known_names_hint
from standfast.usecases.notices.delivery_plan import (
    HELD,
    MAIL,
    POST,
    NoticePlan,
    refuse_placeholders,
)
from standfast.usecases.notices.staged_sending import with_canary

# A function from a target to the token (identifier) that its effect will have. A plan records no
# effects, and uses a function that returns the target itself.
TokenOf = Callable[[str], str]
DECIDES = "a person decides; nothing is sent automatically"


def notice_effects(
    step: Step, arguments: JsonObject, state: State, adapters: Adapters, token_of: TokenOf
) -> Expansion:
    """Plan one message for each recipient of an audience."""
    sender = cast("str | None", arguments.get("sender")) or adapters.default_sender()
    audience_name = cast("str", arguments["audience"])
    prepared = render_step_notice(step, arguments, state, adapters)
    if audience_name == AFFECTED and adapters.mode is Mode.PLAN:
        return Expansion(drafts=(), reason="its recipients are listed while the incident is open")
    audience = adapters.audience(audience_name)
    if not audience.rows:
        # Without this error, a notice with a wrong query would be reported as sent to everybody.
        raise ConfigurationError(
            f"audience {audience_name!r}: nobody is in it. Correct its list or its query."
        )

    def drafts() -> Iterable[Draft]:
        found = _recipients(prepared, audience, sender, adapters, token_of)
        if adapters.mode is Mode.EXERCISE or adapters.prints(sender):
            # Send all messages at once, without a canary (a few messages before the rest). An
            # exercise reaches nobody, and letters wait until people post them.
            return found
        return with_canary(found, adapters.config.notices, len(audience.recipients))

    return Expansion(
        streamed_notice=NoticePlan(
            template=cast("str", arguments["template"]),
            audience=audience_name,
            prepared=prepared,
            drafts=drafts,
        ),
        reason="; ".join((*prepared.warnings, *exclusion_summary(audience))),
    )


def render_step_notice(
    step: Step,
    arguments: JsonObject,
    state: State,
    adapters: Adapters,
    *,
    overrides: Mapping[str, str] | None = None,
) -> Prepared:
    """Render the notice of a step.

    `overrides` replace values that the step passes to the template.
    """
    template_name = cast("str", arguments["template"])
    template = adapters.templates.get(template_name)
    if template is None:
        raise UsageError(
            f"step {step.name!r}: notice {template_name!r} does not exist; "
            f"{known_names_hint(template_name, adapters.templates)}"
        )
    organisation = adapters.config.organisation
    refuse_placeholders(template, organisation, adapters.mode)
    known: dict[str, Json] = {
        "organisation": organisation.name,
        "contact_line": organisation.contact_by_language,
        "incident_id": state.incident,
        "measures": [*measures_taken(state)],
    }
    context: dict[str, Json] = {
        name: value
        for name, value in known.items()
        if name in template.variables and not template.variables[name].problem_of(value)
    }
    context |= cast("JsonObject", arguments.get("context") or {})
    context |= overrides or {}
    return prepare(template, context, banner=adapters.mode is Mode.EXERCISE)


def notice_preview(whole: Expansion, verb: str, procedure: str) -> Expansion:
    """Return one effect that stores the notice and its number of recipients."""
    if not isinstance(whole.streamed_notice, NoticePlan):
        return whole
    refused = whole.streamed_notice.counted().refused.total()
    notice = whole.streamed_notice.notice()
    details: JsonObject = {
        "template": notice.template,
        "audience": notice.audience,
        "digest": notice.digest,
        "recipients": notice.recipients,
        "refused": refused,
    }
    draft = Draft(
        verb=verb, connector=procedure, target=f"{procedure}:{notice.template}", details=details
    )
    return Expansion(drafts=(draft,), notice=notice, reason=whole.reason)


def _recipients(
    prepared: Prepared, audience: Audience, sender: str, adapters: Adapters, token_of: TokenOf
) -> Iterator[Draft]:
    default = adapters.config.organisation.languages[0]
    languages: dict[str, str] = {}  # by requested language
    for person in audience.recipients:
        channel, target, refusal = _channel_and_target(person, sender, adapters)
        if refusal:
            yield _refused_recipient(sender, target, refusal)
            continue
        language = languages.get(person.language)
        if language is None:
            language = pick_language(person.language, prepared.languages, default).language
            languages[person.language] = language
        values = {name: value for name, value in person.values().items() if name in prepared.slots}
        address = target.partition(":")[2]
        try:
            bound = prepared.bind(language, values, token_of(target), address=address)
        except StandfastError as error:
            yield _refused_recipient(channel, target, str(error))
            continue
        details: dict[str, Json] = {
            "language": language,
            "values": values,
            "why": person.why,
            "digest": bound.digest,
        }
        yield Draft(verb=SEND, connector=channel, target=target, details=details)
    for person in audience.held:
        yield _held_recipient(prepared, person, sender, default)
    for row in chain(audience.rejected, audience.suppressed):
        yield _refused_recipient(sender, f"{MAIL}row {row.row_number}", row.reason)


def _channel_and_target(person: Recipient, sender: str, adapters: Adapters) -> tuple[str, str, str]:
    """Return the channel and target for a recipient, and the obstacle or ""."""
    prints = adapters.prints(sender)
    if person.address and not prints:
        return sender, MAIL + person.address, ""
    post = POST + "\n".join(person.postal)
    if prints:
        if person.postal:
            return sender, post, ""
        return sender, MAIL + person.address, "no postal address, which a letter needs"
    letters = adapters.letters()
    if letters is None:
        why = "no e-mail address, and no sender of kind `letters` is configured; add one"
        return sender, post, why
    return letters, post, ""


def _held_recipient(prepared: Prepared, person: Recipient, sender: str, default: str) -> Draft:
    """Return a refused effect for a recipient that needs a decision."""
    return Draft(
        verb=SEND,
        connector=sender,
        target=HELD + person.key,
        details={
            "address": person.address,
            "language": pick_language(person.language, prepared.languages, default).language,
            "values": {n: v for n, v in person.values().items() if n in prepared.slots},
            "why": person.why,
            "held": person.held,
            "postal": [*person.postal],
        },
        state=EffectState.REFUSED,
        reason=f"{person.held}: {DECIDES}",
        waits_for_a_person=True,
    )


def _refused_recipient(sender: str, target: str, reason: str) -> Draft:
    return Draft(
        verb=SEND, connector=sender, target=target, state=EffectState.REFUSED, reason=reason
    )
