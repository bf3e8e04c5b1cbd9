"""Exercises for a table: what a file may say, and what an answer is worth."""

from pathlib import Path

import pytest

from standfast.errors import PlaybookInvalid, UsageError
from standfast.playbook.model import StepKind
from standfast.playbook.parser.playbook_file import load
from standfast.playbook.tabletop_exercise import (
    as_playbook,
    frozen_exercise,
    load_exercise,
    scored,
    stored_answer,
)
from standfast.playbook.validation.playbook_rules import Known, check
from standfast.usecases.playbooks.library import SHIPPED

EXERCISES = sorted((SHIPPED / "exercises").glob("*.yaml"))
HEAD = """exercise: small
version: 2
playbook: ransomware
title: "Small: one"
minutes: 30
briefing: Sit down.
seats: {operator: at the keyboard}
injects:
"""
CHOICE = """  first:
    minute: 0
    title: First
    inject: "It \\"begins\\": # here"
    ask: What now?
    options:
      - {answer: wait, points: 0, because: No.}
      - {answer: act, points: 3, because: Yes.}
"""
OPEN = """  second:
    minute: 10
    title: Second
    inject: It goes on.
    ask: And then?
    look_for: [this, that, both]
    hint: Press them.
"""


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_a_shipped_exercise_rehearses_a_shipped_playbook(path: Path) -> None:
    exercise = load_exercise(read(path), path.name)
    assert exercise.name == path.stem
    assert (SHIPPED / f"{exercise.playbook}.yaml").exists()
    assert len(exercise.injects) >= 6
    assert exercise.seats
    for inject in exercise.injects:
        assert 3 <= inject.most <= 5
        assert len({option.points for option in inject.options}) == len(inject.options) or (
            sorted(option.points for option in inject.options)[-2:] != [inject.most] * 2
        ), "one option is the best"


def test_the_shipped_exercises_are_these() -> None:
    assert {path.stem for path in EXERCISES} >= {"ransomware", "agent-vishing"}


@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.stem)
def test_frozen_exercise_is_a_sound_playbook(path: Path) -> None:
    exercise = load_exercise(read(path), path.name)
    source = as_playbook(exercise)
    playbook = load(source, "frozen")
    assert check(playbook, Known()) == []
    assert [step.name for step in playbook.steps] == [one.name for one in exercise.injects]
    assert frozen_exercise(source) == exercise


def test_each_inject_follows_the_one_before() -> None:
    playbook = load(as_playbook(load_exercise(HEAD + CHOICE + OPEN, "x")), "frozen")
    first, second = playbook.steps
    assert (first.kind, first.options, first.needs) == (StepKind.DECIDE, ("A", "B"), ())
    assert (second.kind, second.needs) == (StepKind.MANUAL, ("first",))


def test_choice_scores_the_points_of_its_option() -> None:
    first, _ = load_exercise(HEAD + CHOICE + OPEN, "x").injects
    result = scored(first, stored_answer(first, "B", ()))
    assert (result.points, result.most, result.answer) == (3, 3, "B: act")
    assert result.because == "Yes."
    assert scored(first, "A").points == 0
    assert scored(first, None).points == 0
    with pytest.raises(UsageError, match="is a choice"):
        stored_answer(first, "B", (1,))


def test_an_open_answer_is_worth_what_was_heard() -> None:
    _, second = load_exercise(HEAD + CHOICE + OPEN, "x").injects
    result = scored(second, stored_answer(second, "we [1, 2] do\nit", (3, 1, 3)))
    assert (result.points, result.most, result.answer) == (2, 3, "we [1, 2] do\nit")
    assert (result.met, result.missed) == (("this", "both"), ("that",))
    assert scored(second, stored_answer(second, "nothing", ())).points == 0
    with pytest.raises(UsageError, match="has no item 4"):
        stored_answer(second, "x", (4,))


def test_all_exercise_mistakes_are_reported_by_line() -> None:
    text = (
        HEAD.replace("minutes: 30", "minuts: 30")
        + CHOICE.replace("points: 3", "points: 0").replace("minute: 0", "minute: 99")
        + OPEN.replace("look_for:", "lookfor:")
    )
    with pytest.raises(PlaybookInvalid) as caught:
        load_exercise(text, "x.yaml")
    told = [(problem.line, problem.message) for problem in caught.value.problems]
    assert told == [
        (5, "the exercise has no key `minuts`"),
        (8, "the injects are not in the order of their minutes"),
        (14, "no option of inject `first` is worth a point"),
        (17, "inject `second` needs exactly one of options and look_for"),
        (22, "inject `second` has no key `lookfor`"),
    ]


def test_a_playbook_of_its_own_carries_no_exercise() -> None:
    with pytest.raises(UsageError, match="not a tabletop exercise"):
        frozen_exercise(read(SHIPPED / "lock.yaml"))
