"""Copy evidence sources as they are now, hashed and sealed."""

from collections.abc import Sequence
from typing import cast

from standfast.playbook.actions.action import Action, ArgumentSpec, ArgumentType, Carrier, Planner
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.records import EffectState, JsonObject

SNAPSHOT = "evidence.snapshot"


def _plan(arguments: JsonObject, planner: Planner) -> Expansion:
    configured = planner.config.evidence
    wanted = arguments["sources"]
    names = list(configured) if wanted == "all" else list(cast("Sequence[str]", wanted))
    if not names:
        reason = (
            "no evidence source is configured. Add [evidence.NAME], and copy present logs by hand."
        )
        return Expansion(drafts=(_draft("", "all", reason),))
    return Expansion(
        drafts=tuple(
            _draft(
                name,
                name,
                "" if name in configured else "the configuration has no such evidence source",
            )
            for name in names
        )
    )


def _draft(source: str, name: str, refusal: str) -> Draft:
    return Draft(
        verb=SNAPSHOT,
        connector=source,
        target=f"evidence:{name}",
        state=EffectState.REFUSED if refusal else EffectState.PLANNED,
        reason=refusal,
    )


ACTION = Action(
    verb=SNAPSHOT,
    title="copy the evidence sources as they are now, hashed and sealed",
    targets="sources",
    carrier=Carrier.EVIDENCE,
    method="collect",
    arguments={
        "sources": ArgumentSpec(
            type=ArgumentType.SOURCES,
            default="all",
            description="all, or a list of evidence sources by name",
        )
    },
    plan=_plan,
    done="frozen",
    names_people=False,
    settings=("custody",),
)
