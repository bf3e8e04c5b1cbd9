"""Effects of a notice: one message per recipient.

Each is in the recipient's language and by the recipient's channel.

Rules
- Every row of the audience is named: one without a usable address becomes a refused effect.
- A held recipient is refused too, and waits for the decision of a person.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import cast

from standfast.adapters.factory import Outside
from standfast.errors import ConfigurationError, StandfastError, UsageError
from standfast.notices.audience import Audience
from standfast.notices.audience_rows import Recipient
from standfast.notices.prepared_notice import Prepared, pick_language
from standfast.notices.template_renderer import prepare
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.model import Step
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.playbook.run_state import State
from standfast.playbook.status.containment_measures import measures_taken
from standfast.records import EffectState, Json, JsonObject, Mode
from standfast.suggestions import known_names_hint
from standfast.usecases.notices.delivery_plan import NoticePlan, refuse_placeholders
from standfast.usecases.notices.recipient_targets import HELD, MAIL, POST
from standfast.usecases.notices.staged_sending import exclusion_summary, with_canary

# Returns the token that the effect for a target will have; a plan has none.
TokenOf = Callable[[str], str]
DECIDES = "a person decides; nothing is sent by itself"


def notice_effects(
    step: Step, arguments: JsonObject, state: State, outside: Outside, token_of: TokenOf
) -> Expansion:
    """Plan one message for each recipient of an audience."""
    sender = cast("str | None", arguments.get("sender")) or outside.default_sender()
    audience_name = cast("str", arguments["audience"])
    prepared = render_step_notice(step, arguments, state, outside)
    audience = outside.audience(audience_name)
    if not audience.rows:
        # Of a wrong query, or a copy without its rows, it would be said that everybody was told.
        raise ConfigurationError(
            f"nobody is in the audience {audience_name!r}; see that its list or its query is right"
        )

    def drafts() -> Iterable[Draft]:
        found = _recipients(prepared, audience, sender, outside, token_of)
        if outside.mode is Mode.EXERCISE or outside.prints(sender):
            return found  # letters tell nothing before somebody posts them
        return with_canary(found, outside.config.notices, len(audience.recipients))

    return Expansion(
        telling=NoticePlan(
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
    outside: Outside,
    *,
    otherwise: Mapping[str, str] | None = None,
) -> Prepared:
    """Render the notice of a step for its incident.

    The values of `otherwise` take precedence.
    """
    template_name = cast("str", arguments["template"])
    template = outside.templates.get(template_name)
    if template is None:
        raise UsageError(
            f"step {step.name!r} names no notice that exists: {template_name!r}; "
            f"{known_names_hint(template_name, outside.templates)}"
        )
    organisation = outside.config.organisation
    refuse_placeholders(template, organisation, outside.mode)
    known: dict[str, Json] = {
        "organisation": organisation.name,
        "contact_line": organisation.contact_by_language,
        "incident_id": state.incident,
        "measures": [*measures_taken(state)],
    }
    context: dict[str, Json] = {
        name: value
        for name, value in known.items()
        if name in template.variables and not template.variables[name].unfit(value)
    }
    context |= cast("JsonObject", arguments.get("context") or {})
    context |= otherwise or {}
    return prepare(template, context, banner=outside.mode is Mode.EXERCISE)


def notice_preview(whole: Expansion, verb: str, procedure: str) -> Expansion:
    """Store the rendered notice and the number of recipients, not messages."""
    if not isinstance(whole.telling, NoticePlan):
        return whole
    refused = whole.telling.counted().refused.total()
    notice = whole.telling.notice()
    details: JsonObject = {
        "template": notice.template,
        "audience": notice.audience,
        "digest": notice.digest,
        "recipients": notice.recipients,
        "refused": refused,
    }
    draft = Draft(
        verb=verb,
        connector=procedure,
        target=f"{procedure}:{notice.template}",
        details=details,
    )
    return Expansion(drafts=(draft,), notice=notice, reason=whole.reason)


def _recipients(
    prepared: Prepared, audience: Audience, sender: str, outside: Outside, token_of: TokenOf
) -> Iterator[Draft]:
    default = outside.config.organisation.languages[0]
    languages: dict[str, str] = {}  # by what people ask for
    for person in audience.recipients:
        channel, target, refusal = _way(person, sender, outside)
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


def _way(person: Recipient, sender: str, outside: Outside) -> tuple[str, str, str]:
    """Return a person's channel, their target, and the cause if none exists."""
    prints = outside.prints(sender)
    if person.address and not prints:
        return sender, MAIL + person.address, ""
    post = POST + "\n".join(person.postal)
    if prints:
        if person.postal:
            return sender, post, ""
        return sender, MAIL + person.address, "there is no postal address, and it goes by letter"
    letters = outside.letters()
    if letters is None:
        why = "no e-mail address, and nothing here writes letters; add a sender of kind `letters`"
        return sender, post, why
    return letters, post, ""


def _held_recipient(prepared: Prepared, person: Recipient, sender: str, default: str) -> Draft:
    """Plan an effect for a recipient that only a person may decide to notify.

    Nothing is sent automatically.
    """
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
        verb=SEND,
        connector=sender,
        target=target,
        state=EffectState.REFUSED,
        reason=reason,
    )
