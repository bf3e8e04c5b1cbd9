"""From a step to its effects: who and what an action touches, read now and changing nothing.

Rules
- Every target is named: a protected account, an unknown one, a recipient without a usable address,
  a directory that cannot do the verb and evidence that nobody configured become refused effects
  with their reason, never silence.
- A directory that cannot be read now still gets the effect: it is looked at again before the act.
- What goes to others than the own staff needs an approval, whatever the playbook says.
- An approval by one more person is needed when the requester did not sign in, and by one when more
  accounts would be locked than one person may (`blast_radius`).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import cast

from standfast.adapters.accounts.base.results import ABSENT
from standfast.adapters.factory import Outside
from standfast.errors import (
    ConfigurationError,
    StandfastError,
    Unavailable,
    Unsupported,
    UsageError,
)
from standfast.notices.audience import Audience, Recipient
from standfast.notices.prepared_notice import Prepared, pick_language
from standfast.notices.template_renderer import prepare
from standfast.playbook.action_arguments import arguments_of
from standfast.playbook.action_catalogue import CATALOGUE
from standfast.playbook.model import Step
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.playbook.run_state import State
from standfast.playbook.status.containment_measures import measures_taken
from standfast.records import EffectState, Json, JsonObject, Mode
from standfast.suggestions import known_names_hint
from standfast.usecases.incidents.account_resolution import protected_accounts, resolved_accounts
from standfast.usecases.incidents.blast_radius import NOBODY, LockedAccounts, over_limit
from standfast.usecases.incidents.built_in_procedures import PREVIEW
from standfast.usecases.incidents.procedure_expansion import called, is_called
from standfast.usecases.notices.delivery_plan import NoticePlan, refuse_placeholders
from standfast.usecases.notices.recipient_targets import HELD, MAIL, POST
from standfast.usecases.notices.staged_sending import left_out, with_canary
from standfast.usecases.playbooks import library

# Gives the token that the effect for a target will have; a plan has none to give.
TokenOf = Callable[[str], str]
_UNKNOWN = "no directory knows this account"
DECIDES = "a person decides; nothing is sent by itself"


def expand(
    step: Step,
    state: State,
    outside: Outside,
    *,
    is_signed: bool,
    token_of: TokenOf,
    locked_today: LockedAccounts = NOBODY,
) -> Expansion:
    """Give what the step would touch. Raises what makes the whole step impossible now."""
    arguments = arguments_of(step, state)
    match step.action:
        case "evidence.snapshot":
            expansion = Expansion(drafts=_sources(arguments, outside))
        case "notices.send":
            expansion = _notice(step, arguments, state, outside, token_of)
        case "notices.prepare":
            expansion = _prepared(_notice(step, arguments, state, outside, token_of))
        case str() as verb if is_called(verb):
            expansion = Expansion(drafts=called(step, arguments, outside, state.incident))
        case str() as verb if verb.startswith("accounts."):
            expansion = _accounts(verb, arguments, outside)
        case _:
            raise UsageError(f"step {step.name!r}: no operation carries {step.action!r}")
    return add_required_approvals(
        step, expansion, outside, is_signed=is_signed, locked_today=locked_today
    )


def add_required_approvals(
    step: Step,
    expansion: Expansion,
    outside: Outside,
    *,
    is_signed: bool,
    locked_today: LockedAccounts,
) -> Expansion:
    needed = step.approval.count if step.approval else 0
    roles = step.approval.roles if step.approval else ()
    over = over_limit(expansion.drafts, locked_today, outside.config)
    is_to_others = step.action == "notices.send" and step.arguments.get(
        "audience"
    ) not in library.staff_audiences(outside.config)
    if over or is_to_others:
        needed = max(needed, 1)
    if needed and not is_signed:
        needed += 1
    return replace(
        expansion,
        reason="; ".join(filter(None, (expansion.reason, over))),
        needs_approvals=needed,
        roles=roles,
        settings=outside.settings,
        hold_seconds=outside.config.notices.abort_window_seconds
        if needed and step.action == "notices.send" and outside.mode is not Mode.EXERCISE
        else 0,
    )


def _accounts(verb: str, arguments: JsonObject, outside: Outside) -> Expansion:
    details: JsonObject = {"reason": arguments.get("reason") or ""}
    drafts = []
    resolved = resolved_accounts(cast("Sequence[str]", arguments["accounts"]), outside)
    protected = protected_accounts(outside, {directory for directory, _ in resolved})
    # A live run need not look twice: the lock itself is refused, for the same reason.
    is_asked = verb == "accounts.lock" and outside.mode is Mode.PLAN
    obstacles, unread = _obstacles(resolved, outside) if is_asked else ({}, ())
    for connector, name in resolved:
        target = f"{connector}:{name}"
        refusal = ""
        if not connector:
            refusal = _nowhere(name, outside)
        elif verb != "accounts.unlock" and (why := protected.get(target.casefold())):
            refusal = f"protected: {why}"
        else:
            try:
                outside.refuse_unsupported(verb, connector)
            except Unsupported as error:
                refusal = str(error)
            except ConfigurationError:
                pass  # said by the look before the act, and no other directory is kept waiting
            refusal = refusal or obstacles.get((connector, name), "")
        drafts.append(
            Draft(
                verb=verb,
                connector=connector,
                target=target,
                details=details,
                state=EffectState.REFUSED if refusal else EffectState.PLANNED,
                reason=refusal,
            )
        )
    return Expansion(drafts=tuple(drafts), reason="; ".join(unread))


def _nowhere(name: str, outside: Outside) -> str:
    """Say why an account is in no directory."""
    added = outside.added_since("accounts")
    if not outside.config.accounts:
        return added or "there is no directory here to lock it in: add [accounts.NAME]"
    return "; ".join(filter(None, [_known_nowhere(name, outside.config.accounts), added]))


def _known_nowhere(name: str, directories: Collection[str]) -> str:
    """Say that no directory knows the account, and what may have been mistyped; not by its name."""
    prefix, colon, _ = name.partition(":")
    if colon:
        return f"{_UNKNOWN}, nor is there such a directory; {known_names_hint(prefix, directories)}"
    if "," in name:
        return f"{_UNKNOWN}; if these are several, name each by itself, with a space between"
    return _UNKNOWN


def _obstacles(
    accounts: Sequence[tuple[str, str]], outside: Outside
) -> tuple[dict[tuple[str, str], str], Sequence[str]]:
    """Say which accounts their directory does not know, or would refuse to lock, and why.

    And which directories could not be read at all.
    """
    found: dict[tuple[str, str], str] = {}
    unread: list[str] = []
    for directory in dict.fromkeys(directory for directory, _ in accounts if directory):
        names = [name for where, name in accounts if where == directory]
        try:
            states = outside.connector(directory).observe(names)
        except (Unavailable, ConfigurationError) as error:
            unread.append(f"{directory}: each is looked at again before its lock, for now {error}")
            continue
        for state in states:
            # One that could not be read, which has a reason, is looked at again before the act.
            is_absent = not state.exists and not state.reason
            found[directory, state.name] = ABSENT if is_absent else state.obstacle
    return found, unread


def _sources(arguments: JsonObject, outside: Outside) -> tuple[Draft, ...]:
    wanted = arguments["sources"]
    names = list(outside.config.evidence) if wanted == "all" else cast("list[str]", wanted)
    if not names:
        return (
            Draft(
                verb="evidence.snapshot",
                connector="",
                target="evidence:all",
                state=EffectState.REFUSED,
                reason="no log is kept here: add [evidence.NAME], and copy tonight's by hand",
            ),
        )
    return tuple(
        Draft(
            verb="evidence.snapshot",
            connector=name,
            target=f"evidence:{name}",
            state=EffectState.PLANNED if name in outside.config.evidence else EffectState.REFUSED,
            reason="" if name in outside.config.evidence else "there is no such evidence source",
        )
        for name in names
    )


def _notice(
    step: Step, arguments: JsonObject, state: State, outside: Outside, token_of: TokenOf
) -> Expansion:
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
        reason="; ".join((*prepared.warnings, *left_out(audience))),
    )


def render_step_notice(
    step: Step,
    arguments: JsonObject,
    state: State,
    outside: Outside,
    *,
    otherwise: Mapping[str, str] | None = None,
) -> Prepared:
    """Render the notice of a step for its incident, with the values `otherwise` before its own."""
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


def _prepared(whole: Expansion) -> Expansion:
    """Keep the notice as it was frozen, and of its recipients their number: none is written to."""
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
        verb="notices.prepare",
        connector=PREVIEW,
        target=f"{PREVIEW}:{notice.template}",
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
        yield Draft(verb="notices.send", connector=channel, target=target, details=details)
    for person in audience.held:
        yield _held_recipient(prepared, person, sender, default)
    for row in chain(audience.rejected, audience.suppressed):
        yield _refused_recipient(sender, f"{MAIL}row {row.row_number}", row.reason)


def _way(person: Recipient, sender: str, outside: Outside) -> tuple[str, str, str]:
    """Give the channel to a person, the target that this makes them, and why there is none."""
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
    """Name somebody whom only a person may decide to write to; nothing is sent by itself."""
    return Draft(
        verb="notices.send",
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
        verb="notices.send",
        connector=sender,
        target=target,
        state=EffectState.REFUSED,
        reason=reason,
    )


def is_irreversible(step: Step) -> bool:
    """Can what this step does never be taken back?"""
    action = CATALOGUE.get(step.action or "")
    return action is not None and action.is_irreversible
