"""Copy evidence sources, most volatile first, hashed and sealed.

An evidence source is a configured log, folder or set of commands. A seal is the signed statement
over the hashes of the copies.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from standfast.playbook.actions.action import Action, ArgumentSpec, ArgumentType, Carrier, Planner
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.records import EffectState, JsonObject

if TYPE_CHECKING:
    from standfast.config.sections.evidence_sources import EvidenceConfig

SNAPSHOT = "evidence.snapshot"


def _plan(arguments: JsonObject, planner: Planner) -> Expansion:
    configured = planner.config.evidence
    wanted = arguments["sources"]
    names = configured if wanted == "all" else cast("Sequence[str]", wanted)
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
            for name in sorted(names, key=lambda name: not _is_volatile(name, configured))
        )
    )


def _is_volatile(name: str, configured: "Mapping[str, EvidenceConfig]") -> bool:
    """Return whether a source is volatile and copied first (RFC 3227, 2.1).

    The output of commands is volatile: it shows the present state of a system.
    """
    return name in configured and configured[name].kind == "commands"


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
