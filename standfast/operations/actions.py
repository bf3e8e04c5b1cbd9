"""From a step to its effects: who and what an action touches, read now and changing nothing.

Rules
- Every target is named: a protected account, an unknown one, a recipient without a usable address
  and a directory that cannot do the verb become refused effects with their reason, never silence.
- A bare account name means every directory that knows it; `directory:name` means that one.
- A directory that cannot be read now still gets the effect: it is looked at again before the act.
- An approval by one more person is needed when the requester did not sign in, and by one when more
  accounts would be locked than one person may. What incidents of the last day lock without having
  asked counts too, or many small ones would lock everybody out.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import cast

from standfast.errors import (
    ConfigurationError,
    StandfastError,
    Unavailable,
    Unsupported,
    UsageError,
)
from standfast.ledger import Ledger
from standfast.ledger.effects import Draft
from standfast.ledger.incidents import Expansion, FrozenNotice
from standfast.notices.audience import Audience
from standfast.notices.prepared import Prepared, merkle_root, pick_language
from standfast.notices.render import prepare
from standfast.outside import Outside
from standfast.playbook.arguments import arguments_of
from standfast.playbook.catalogue import CATALOGUE
from standfast.playbook.engine import State
from standfast.playbook.model import Step
from standfast.records import EffectState, Json, JsonObject, Mode

# Gives the token that the effect for a target will have; a plan has none to give.
TokenOf = Callable[[str], str]
MAIL = "mail:"
_FEWEST_NAMES = 16  # that one look at a directory carries, when there are so many


def expand(
    step: Step,
    state: State,
    outside: Outside,
    *,
    is_signed: bool,
    token_of: TokenOf,
    locked_today: int = 0,
) -> Expansion:
    """Give what the step would touch. Raises what makes the whole step impossible now."""
    arguments = arguments_of(step, state)
    match step.action:
        case "evidence.snapshot":
            expansion = Expansion(drafts=_sources(arguments, outside))
        case "notices.send":
            expansion = _notice(step, arguments, state, outside, token_of)
        case str() as verb if verb.startswith("accounts."):
            expansion = Expansion(drafts=_accounts(verb, arguments, outside))
        case _:
            raise UsageError(f"step {step.name!r}: no operation carries {step.action!r}")
    return _with_approvals(step, expansion, outside, is_signed=is_signed, locked_today=locked_today)


def locked_today(ledger: Ledger, mode: Mode, now: datetime) -> int:
    """How many accounts the last day's incidents of this mode lock without having asked."""
    return ledger.effects.locks_since(now - timedelta(days=1), mode)


def acts(drafts: Sequence[Draft]) -> int:
    """How many of these effects would be acted on."""
    return sum(draft.state is EffectState.PLANNED for draft in drafts)


def _with_approvals(
    step: Step, expansion: Expansion, outside: Outside, *, is_signed: bool, locked_today: int
) -> Expansion:
    needed = step.approval.count if step.approval else 0
    roles = step.approval.roles if step.approval else ()
    most = outside.config.limits.accounts_without_second_person
    if step.action == "accounts.lock" and locked_today + acts(expansion.drafts) > most:
        needed = max(needed, 1)
    if needed and not is_signed:
        needed += 1
    return Expansion(
        drafts=expansion.drafts,
        notice=expansion.notice,
        reason=expansion.reason,
        needs_approvals=needed,
        roles=roles,
        hold_seconds=outside.config.notices.abort_window_seconds
        if needed and step.action == "notices.send" and outside.mode is not Mode.EXERCISE
        else 0,
    )


def _accounts(verb: str, arguments: JsonObject, outside: Outside) -> tuple[Draft, ...]:
    # Most directories do not tell names apart by case; where one does, the wrong one is refused
    # with its reason, which is the lesser evil.
    protected = {name.casefold(): why for name, why in outside.config.protected.accounts.items()}
    details: JsonObject = {"reason": arguments.get("reason") or ""}
    drafts = []
    for connector, name in _resolved(cast("Sequence[str]", arguments["accounts"]), outside):
        target = f"{connector}:{name}"
        refusal = ""
        if not connector:
            refusal = (
                "no directory knows this account"
                if outside.config.accounts
                else "there is no directory here to lock it in: add [accounts.NAME]"
            )
        elif verb != "accounts.unlock" and target.casefold() in protected:
            refusal = f"protected: {protected[target.casefold()]}"
        else:
            try:
                outside.refuse_unsupported(verb, connector)
            except Unsupported as error:
                refusal = str(error)
            except ConfigurationError:
                pass  # said by the look before the act, and no other directory is kept waiting
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
    return tuple(drafts)


def _resolved(accounts: Sequence[str], outside: Outside) -> list[tuple[str, str]]:
    """Give (directory, name) for each account, in order; an empty directory when none knows it."""
    bare = [name for name in accounts if _directory(name, outside) is None]
    known: dict[str, list[str]] = {name: [] for name in bare}
    for directory in outside.config.accounts if bare else ():
        for name in _perhaps_known(bare, directory, outside):
            known[name].append(directory)
    found: list[tuple[str, str]] = []
    for account in accounts:
        directory_given = _directory(account, outside)
        if directory_given is not None:
            found.append((directory_given, account.partition(":")[2]))
        else:
            found.extend((directory, account) for directory in known[account] or [""])
    return list(dict.fromkeys(found))


def _perhaps_known(names: Sequence[str], directory: str, outside: Outside) -> list[str]:
    """Give the names that a directory knows, or that it cannot say anything about now.

    Asked a few at a time: a directory that is silent costs one time-out, not one for each name,
    and the others are locked meanwhile.
    """
    found: list[str] = []
    try:
        connector = outside.connector(directory)
    except ConfigurationError:
        return list(names)  # its secret is missing: that keeps nobody in anywhere else
    most = max(_FEWEST_NAMES, connector.limits.workers)
    for start in range(0, len(names), most):
        try:
            states = connector.observe(names[start : start + most])
        except Unavailable:
            return [*found, *names[start:]]
        found += [state.name for state in states if state.exists or state.reason]
    return found


def _directory(account: str, outside: Outside) -> str | None:
    """Give the directory that an account's name begins with, if it is one of ours."""
    prefix, colon, _ = account.partition(":")
    return prefix if colon and prefix in outside.config.accounts else None


def _sources(arguments: JsonObject, outside: Outside) -> tuple[Draft, ...]:
    wanted = arguments["sources"]
    names = list(outside.config.evidence) if wanted == "all" else cast("list[str]", wanted)
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
    template_name = cast("str", arguments["template"])
    audience_name = cast("str", arguments["audience"])
    template = outside.templates.get(template_name)
    if template is None:
        raise UsageError(
            f"step {step.name!r} names no notice that exists: {template_name!r}; there are: "
            f"{', '.join(sorted(outside.templates))}"
        )
    known = {
        "organisation": outside.config.organisation.name,
        "contact_line": outside.config.organisation.contact_line,
        "incident_id": state.incident,
    }
    context: dict[str, Json] = {n: v for n, v in known.items() if n in template.variables}
    context |= cast("JsonObject", arguments.get("context") or {})
    prepared = prepare(template, context, banner=outside.mode is Mode.EXERCISE)
    audience = outside.audience(audience_name)
    drafts, leaves = _recipients(prepared, audience, sender, outside, token_of)
    return Expansion(
        drafts=drafts,
        notice=FrozenNotice(
            template=template_name,
            body=prepared.as_json(),
            digest=prepared.digest,
            root=merkle_root(leaves),
            audience=audience_name,
            recipients=len(leaves),
        ),
        reason="; ".join(prepared.warnings),
    )


def _recipients(
    prepared: Prepared, audience: Audience, sender: str, outside: Outside, token_of: TokenOf
) -> tuple[tuple[Draft, ...], list[str]]:
    default = outside.config.organisation.languages[0]
    drafts: list[Draft] = []
    leaves: list[str] = []
    for person in audience.recipients:
        target = MAIL + person.address
        language = pick_language(person.language, prepared.languages, default).language
        values = {name: value for name, value in person.values().items() if name in prepared.slots}
        details: dict[str, Json] = {"language": language, "values": values, "why": person.why}
        try:
            filled = prepared.fill(language, values, token_of(target), address=person.address)
        except StandfastError as error:
            drafts.append(_refused_recipient(sender, target, str(error)))
            continue
        leaves.append(filled.digest)
        details["digest"] = filled.digest
        drafts.append(Draft(verb="notices.send", connector=sender, target=target, details=details))
    drafts += [
        _refused_recipient(sender, f"{MAIL}row {row.row_number}", row.reason)
        for row in audience.rejected
    ]
    return tuple(drafts), leaves


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
