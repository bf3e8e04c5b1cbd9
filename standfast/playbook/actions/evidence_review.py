"""Search the sealed evidence, and list the findings in order of time.

Evidence is the signed (sealed) copies of logs and files of an incident.
"""

from collections.abc import Sequence
from typing import cast

from standfast.playbook.actions.action import Action, ArgumentSpec, ArgumentType, Carrier, Planner
from standfast.playbook.actions.shared_arguments import INDICATORS
from standfast.playbook.planned_effects import Expansion
from standfast.records import JsonObject

REVIEW = "evidence.review"
REVIEWER = "review"  # the function of Standfast that the action calls
NEEDS_CUSTODIAN = (
    "the evidence is encrypted to its custodians, and a playbook has no custodian's identity. A "
    "person runs `standfast evidence review INCIDENT --identity FILE`."
)


def _plan(arguments: JsonObject, planner: Planner) -> Expansion:
    wanted: JsonObject = {
        key: list(cast("Sequence[str]", arguments.get(key) or ()))
        for key in ("indicators", "accounts")
    }
    planner.validate(REVIEWER, wanted)
    refusal = ""
    if not planner.config.evidence:
        refusal = "no evidence source is configured. Add [evidence.NAME]."
    elif planner.config.custody.custodians:
        refusal = f"frozen evidence: {NEEDS_CUSTODIAN}"
    draft = planner.call(REVIEW, REVIEWER, f"{REVIEWER}:frozen", wanted, refusal=refusal)
    return Expansion(drafts=(draft,))


ACTION = Action(
    verb=REVIEW,
    title="search the frozen evidence, and list the findings in order of time",
    targets="sources",
    carrier=Carrier.PROCEDURES,
    method="run",
    arguments={
        "accounts": ArgumentSpec(
            type=ArgumentType.ACCOUNTS, description="the accounts to search for"
        ),
        "indicators": INDICATORS,
    },
    plan=_plan,
    done="reviewed",
    names_people=False,
)
