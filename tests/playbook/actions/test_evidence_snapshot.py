from types import SimpleNamespace
from typing import Any

from standfast.playbook.actions import ACTIONS
from standfast.records import Json

CONFIGURED = {
    name: SimpleNamespace(kind=kind)
    for name, kind in {"logs": "files", "live": "commands", "journal": "journald"}.items()
}


def planned(sources: Json) -> list[str]:
    planner: Any = SimpleNamespace(config=SimpleNamespace(evidence=CONFIGURED))
    plan = ACTIONS["evidence.snapshot"].plan
    assert plan is not None
    return [draft.connector for draft in plan({"sources": sources}, planner).drafts]


def test_volatile_sources_are_planned_first() -> None:
    assert planned("all") == ["live", "logs", "journal"]
    assert planned(["journal", "live"]) == ["live", "journal"]
