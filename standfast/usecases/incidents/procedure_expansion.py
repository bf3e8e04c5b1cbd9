"""From a step that calls something to its effects: commands, requests, services, and our own acts.

Rules
- What cannot be called as asked is refused here, when it is planned, and every target is named.
- What cannot be taken back needs an approval, or the reason why there is none: only here is it
  known, for the configuration says what has an undo.
- A target is named with what it is called through; its other parameters are part of its name, so
  that two calls which differ in them are two effects. For the same reason an incident holds a call
  against another's undo only when all parameters agree: port 22 shut on a host and port 80 shut
  there are two things, and nobody but the configuration could say which parameter does not matter.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from standfast.adapters.factory import SECTIONS, Outside
from standfast.errors import Refused, UsageError
from standfast.playbook.model import Step
from standfast.playbook.planned_effects import Draft
from standfast.records import EffectState, Json, JsonObject, Mode, digest
from standfast.usecases.backups.retention_holds import is_keeper_machine
from standfast.usecases.incidents.account_resolution import key_of, protected_accounts
from standfast.usecases.incidents.blast_radius import accounts_of
from standfast.usecases.incidents.built_in_procedures import DRILL, KEEPER, LEDGER, REVIEW

_LONGEST_LABEL = 200


def called(step: Step, arguments: JsonObject, outside: Outside, incident: str) -> tuple[Draft, ...]:
    """Give the effects of a step whose action is carried by a procedure."""
    match step.action:
        case "run.command":
            return _each("commands", str(arguments["command"]), step, arguments, outside)
        case "http.request":
            return _each("requests", str(arguments["request"]), step, arguments, outside)
        case "service.degrade":
            return _service(step, arguments, outside)
        case "backup.protect":
            return _protect(outside, incident)
        case "evidence.review":
            return _review(arguments, outside)
        case "drill.last_clean_point":
            return _sets(arguments, outside)
        case "deadlines.start":
            details: JsonObject = {key: value for key, value in arguments.items() if value}
            outside.procedure(LEDGER).fit(details)
            # What it writes down was known once these were done, not once a runner came by.
            details = {**details, "needs": [n for n in step.needs if n not in step.after]}
            target = f"{LEDGER}:{arguments['fact']}"
            return (_draft(step, LEDGER, target, details),)
    raise UsageError(f"step {step.name!r}: no operation carries {step.action!r}")


def is_called(verb: str) -> bool:
    """Is the action one of those that `called` plans?"""
    return verb in {
        "run.command",
        "http.request",
        "service.degrade",
        "backup.protect",
        "evidence.review",
        "drill.last_clean_point",
        "deadlines.start",
    }


def _each(
    section: str, name: str, step: Step, arguments: JsonObject, outside: Outside
) -> tuple[Draft, ...]:
    procedure = f"{section}.{name}"
    _refuse_unapproved(step, procedure, outside)
    given = cast("Mapping[str, Json]", arguments.get("parameters") or {})
    targets = cast("Sequence[str] | None", arguments.get("targets"))
    drafts = []
    for target in [None] if targets is None else dict.fromkeys(targets):
        parameters = dict(given) if target is None else {**given, "target": target}
        details: JsonObject = {"parameters": parameters}
        drafts.append(
            _draft(
                step,
                procedure,
                f"{procedure}:{_label(target, given)}",
                details,
                refusal=_misfit(procedure, details, outside)
                or _protected(procedure, parameters, outside),
            )
        )
    return tuple(drafts)


def _protected(procedure: str, parameters: Mapping[str, Json], outside: Outside) -> str:
    """Say why an account that the call names is never locked, or nothing."""
    named = accounts_of(outside.config, procedure, parameters)
    protected = protected_accounts(outside, {account.partition(":")[0] for account in named})
    reasons = (protected.get(key_of(account, outside)) for account in named)
    return next((f"protected: {why}" for why in reasons if why), "")


def _service(step: Step, arguments: JsonObject, outside: Outside) -> tuple[Draft, ...]:
    name, mode = str(arguments["service"]), str(arguments["mode"])
    services = outside.config.services
    if name not in services:
        raise UsageError(f"step {step.name!r}: there is no service {name!r}; add [services.{name}]")
    modes = services[name].modes
    if mode not in modes:
        raise UsageError(
            f"step {step.name!r}: the service {name!r} has no mode {mode!r}; there are: "
            f"{', '.join(modes) or 'none'}; add [services.{name}.modes.{mode}]"
        )
    procedure = modes[mode].procedure
    _refuse_unapproved(step, procedure, outside)
    parameters = dict(modes[mode].parameters)
    details: JsonObject = {"mode": mode, "parameters": parameters}
    refusal = _misfit(procedure, details, outside) or _protected(procedure, parameters, outside)
    return (_draft(step, procedure, f"service.{name}:{name}", details, refusal=refusal),)


def _protect(outside: Outside, incident: str) -> tuple[Draft, ...]:
    refusal = ""
    if outside.mode is not Mode.EXERCISE and not is_keeper_machine(outside.config):
        refusal = (
            "the keeper is another machine's, as it should be; by hand, there: `standfast backup "
            f"keep hold {'INCIDENT' if outside.mode is Mode.PLAN else incident}`"
        )
    return (
        Draft(
            verb="backup.protect",
            connector=KEEPER,
            target=f"{KEEPER}:repository",
            state=EffectState.REFUSED if refusal else EffectState.PLANNED,
            reason=refusal,
        ),
    )


def _review(arguments: JsonObject, outside: Outside) -> tuple[Draft, ...]:
    wanted: JsonObject = {
        key: list(cast("Sequence[str]", arguments.get(key) or ()))
        for key in (
            "indicators",
            "accounts",
        )
    }
    outside.procedure(REVIEW).fit(wanted)
    return (
        Draft(
            verb="evidence.review",
            connector=REVIEW,
            target=f"{REVIEW}:frozen",
            details=wanted,
            state=EffectState.PLANNED if outside.config.evidence else EffectState.REFUSED,
            reason="" if outside.config.evidence else "nothing is frozen here: add [evidence.NAME]",
        ),
    )


def _sets(arguments: JsonObject, outside: Outside) -> tuple[Draft, ...]:
    wanted = arguments["sets"]
    there = outside.config.backup.sets
    names = list(there) if wanted == "all" else cast("list[str]", wanted)
    details: JsonObject = {"indicators": list(cast("Sequence[str]", arguments["indicators"]))}
    outside.procedure(DRILL).fit(details)
    has_identity = outside.config.drills.identity is not None or outside.mode is Mode.EXERCISE
    drafts = []
    for name in dict.fromkeys(names):
        refusal = ""
        if name not in there:
            refusal = "there is no such backup set"
        elif not has_identity:
            refusal = "no identity opens the backups here: set drills.identity, on a drill host"
        drafts.append(
            Draft(
                verb="drill.last_clean_point",
                connector=DRILL,
                target=f"{DRILL}:{name}",
                details=details,
                state=EffectState.REFUSED if refusal else EffectState.PLANNED,
                reason=refusal,
            )
        )
    return tuple(drafts)


def _draft(
    step: Step, connector: str, target: str, details: JsonObject, *, refusal: str = ""
) -> Draft:
    return Draft(
        verb=step.action or "",
        connector=connector,
        target=target,
        details=details,
        state=EffectState.REFUSED if refusal else EffectState.PLANNED,
        reason=refusal,
    )


def _misfit(procedure: str, details: JsonObject, outside: Outside) -> str:
    try:
        outside.procedure(procedure).fit(details)
    except UsageError as error:
        return str(error)
    return ""


def _refuse_unapproved(step: Step, procedure: str, outside: Outside) -> None:
    if not outside.procedure(procedure).is_irreversible:
        return
    if step.approval is None and not step.no_approval_because:
        raise Refused(
            f"step {step.name!r}: {procedure} cannot be taken back, and nobody is asked to approve "
            "it; add `approval: {count: 1, roles: […]}`, or `approval: {none_because: …}`"
        )


def _label(target: str | None, parameters: Mapping[str, Json]) -> str:
    others = " ".join(f"{key}={value}" for key, value in sorted(parameters.items()))
    if len(others) > _LONGEST_LABEL:
        others = f"{others[:_LONGEST_LABEL]}… {digest(dict(parameters))[:16]}"
    if target is None:
        return others or "here"
    return f"{target} ({others})" if others else target


def adapter_notes(verb: str, connector: str, outside: Outside) -> list[str]:
    """Say what the plan must show of what carries these effects."""
    notes: list[str] = []
    if connector.partition(".")[0] in SECTIONS:
        notes += outside.procedure(connector).notes()
    if verb == "backup.protect":
        notes.append(
            "by hand, where the owner's key is: after a compromise of the backup host, `standfast "
            "backup owner new-epoch WRITER` ends the trust in it"
        )
    return notes
