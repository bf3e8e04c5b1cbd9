"""Effects of commands, HTTP requests and built-in procedures.

A procedure is a command, an HTTP request or a function of Standfast that playbooks (files that
describe the response to an incident) may call. An effect is one act on one target, here one call of
a procedure.

Rules
- The effect of an impossible call is planned as refused, so that the plan names every target.
- A call without an undo needs an approval, or a stated reason why it needs no approval. This module
  checks this rule. The validation of playbooks cannot check it, because only the configuration
  states which calls can be undone.
- The name of a target contains the procedure and all parameters. Two calls that differ in one
  parameter are therefore two effects: for example, blocking port 22 and blocking port 80 of a host.
  Two incidents have the same target only if all parameters are equal.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from standfast.adapters.factory import SECTIONS, Adapters
from standfast.adapters.procedures.parameters import parameters_of
from standfast.errors import Refused, UsageError
from standfast.playbook.model import Step
from standfast.playbook.planned_effects import Draft
from standfast.records import EffectState, Json, JsonObject, digest
from standfast.usecases.incidents.account_effects import key_of, protected_accounts
from standfast.usecases.incidents.blast_radius import accounts_of

_LONGEST_LABEL = 200


def call_effects(
    step: Step, verb: str, procedure: str, arguments: JsonObject, adapters: Adapters
) -> tuple[Draft, ...]:
    """Plan one call for each target in `arguments`, or one without a target."""
    given = cast("Mapping[str, Json]", arguments.get("parameters") or {})
    targets = cast("Sequence[str] | None", arguments.get("targets"))
    return tuple(
        call_effect(
            step,
            verb,
            procedure,
            f"{procedure}:{_label(target, given)}",
            {"parameters": dict(given) if target is None else {**given, "target": target}},
            adapters,
        )
        for target in ([None] if targets is None else dict.fromkeys(targets))
    )


def call_effect(
    step: Step,
    verb: str,
    procedure: str,
    target: str,
    details: JsonObject,
    adapters: Adapters,
    *,
    refusal: str = "",
) -> Draft:
    """Plan one call.

    Raise Refused if the call has no undo, and the step neither needs an approval nor states why it
    needs none.
    """
    _refuse_unapproved(step, procedure, adapters)
    refusal = refusal or _parameter_problem(procedure, details, adapters)
    refusal = refusal or _protected(procedure, details, adapters)
    return Draft(
        verb=verb,
        connector=procedure,
        target=target,
        details=details,
        state=EffectState.REFUSED if refusal else EffectState.PLANNED,
        reason=refusal,
    )


def _protected(procedure: str, details: JsonObject, adapters: Adapters) -> str:
    """Return why an account in the call's parameters is protected, or "".

    A protected account is an account that no playbook may lock.
    """
    if procedure.partition(".")[0] not in SECTIONS:
        return ""
    named = accounts_of(adapters.config, procedure, parameters_of(details))
    protected = protected_accounts(adapters, {account.partition(":")[0] for account in named})
    reasons = (protected.get(key_of(account, adapters)) for account in named)
    return next((f"protected: {why}" for why in reasons if why), "")


def _parameter_problem(procedure: str, details: JsonObject, adapters: Adapters) -> str:
    try:
        adapters.procedure(procedure).fit(details)
    except UsageError as error:
        return str(error)
    return ""


def _refuse_unapproved(step: Step, procedure: str, adapters: Adapters) -> None:
    if not adapters.procedure(procedure).is_irreversible:
        return
    if step.approval is None and not step.no_approval_because:
        raise Refused(
            f"step {step.name!r}: {procedure} cannot be undone, and the step states no approval. "
            "Add `approval: {count: 1, roles: […]}`, or the reason why none is needed: `approval: "
            "{none_because: …}`."
        )


def _label(target: str | None, parameters: Mapping[str, Json]) -> str:
    others = " ".join(f"{key}={value}" for key, value in sorted(parameters.items()))
    if len(others) > _LONGEST_LABEL:
        others = f"{others[:_LONGEST_LABEL]}… {digest(dict(parameters))[:16]}"
    if target is None:
        return others or "here"
    return f"{target} ({others})" if others else target
