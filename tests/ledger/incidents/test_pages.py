"""A notice to many people is planned by pages and begun as a whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from standfast.ledger import Ledger
from standfast.ledger.incidents.step_plans import Plan, draft_effects
from standfast.ledger.schema.tables import effect
from standfast.playbook.planned_effects import NO_SETTINGS, Draft, Expansion, FrozenNotice
from tests.ledger import story
from tests.ledger.intruder import Intruder
from tests.ledger.ledger_files import NOW
from tests.ledger.stage import claim, open_incident, runner, states

KEY = ("tell", 1)


class Killed(BaseException):
    """Error that ends a planner."""


@dataclass
class Pages:
    """A notice of these people; its planner dies before page `dies_at`."""

    people: Sequence[Sequence[str]]
    dies_at: int | None = None

    def pages(self) -> Iterator[Sequence[Draft]]:
        for number, page in enumerate(self.people):
            if number == self.dies_at:
                raise Killed
            yield [
                Draft(verb="notices.send", connector="smtp", target=f"mail:{name}") for name in page
            ]

    def notice(self) -> FrozenNotice:
        return story.NOTICE


def planned(ledger: Ledger, incident: str, streamed_notice: Pages) -> bool:
    return ledger.steps.expand(
        incident, *KEY, Expansion(streamed_notice=streamed_notice), "olga", NOW
    )


def test_pages_are_written_singly_and_begin_together(ledger: Ledger) -> None:
    incident = open_incident(ledger)
    assert planned(ledger, incident, Pages([["a", "b"], ["c", "d"], ["e"]]))
    assert list(states(ledger, incident)) == [f"mail:{name}" for name in "abcde"]
    told = [event for event in ledger.timeline(incident) if event.action.startswith("step.")]
    assert [(event.action, event.detail["effects"]) for event in told] == [
        ("step.planned", 2),
        ("step.planned", 2),
        ("step.begun", 5),
    ]
    assert ledger.audit.verify().is_whole
    assert not planned(ledger, incident, Pages([["f"]]))


def test_paging_does_not_change_the_approved_digest(sqlite_ledger: Ledger) -> None:
    incident = open_incident(sqlite_ledger)
    digests = set()
    for people in ([["a", "b"], ["c"]], [["a"], ["b", "c"]], [["a", "b", "c"]]):
        plan = Plan(incident, *KEY)
        for page in Pages(people).pages():
            plan.add(draft_effects(sqlite_ledger.cipher, incident, *KEY, page))
        digests.add(plan.digest(story.NOTICE, NO_SETTINGS))
    assert len(digests) == 1


def test_pages_of_a_dead_planner_are_dropped(ledger: Ledger, intruder: Intruder) -> None:
    incident = open_incident(ledger)
    with pytest.raises(Killed):
        planned(ledger, incident, Pages([["a"], ["b"], ["c"]], dies_at=2))
    assert len(intruder.rows(effect)) == 1
    assert ledger.effects.of_incident(incident) == []
    assert claim(ledger, incident, runner(ledger, incident), queue=story.TELL) is None
    assert planned(ledger, incident, Pages([["b"], ["c"]]))
    assert list(states(ledger, incident)) == ["mail:b", "mail:c"]
    assert [
        event.detail["effects"]
        for event in ledger.timeline(incident)
        if event.action == "step.dropped"
    ] == [1]
    assert ledger.audit.verify().is_whole
