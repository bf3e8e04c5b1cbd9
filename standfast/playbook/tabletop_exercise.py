"""Format of a tabletop exercise: injects, questions, points of answers.

    exercise = load_exercise(text, "vishing.yaml")
    scored(exercise.inject("call"), "B").points

An inject is a text that the facilitator reads out at a certain minute, with a question. The ledger
(the database of incidents) stores an exercise as an incident in exercise mode, with a step for each
inject.

Rules
- All problems of a file are reported at once, each with its line.
- A question is a choice or open. The options of a choice have points. For an open question, the
  facilitator compares the answer with a list, and each item that was named counts one point.
- The incident's copy of the playbook contains the exercise in a comment, so that a score always
  refers to the text that was read out.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from standfast.errors import PlaybookInvalid, UsageError
from standfast.playbook.model import TABLETOP_PREFIX
from standfast.playbook.parser.field_reader import LONGEST_TEXT, Fields, Notes
from standfast.playbook.parser.playbook_file import DASHED_HINT, DASHED_NAME, IDENTIFIER
from standfast.playbook.parser.yaml_tree import Node, read_tree
from standfast.records import Json

MOST_INJECTS = 40
MOST_POINTS = 10
_LETTERS = "ABCDEFGHIJ"
_SOURCE_COMMENT = "# exercise| "
_STORED_ANSWER = re.compile(r"\[([0-9, ]*)\]\s*(.*)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Option:
    """One answer that may be chosen."""

    answer: str
    points: int
    because: str  # shown after the answer


@dataclass(frozen=True, kw_only=True)
class Inject:
    """Text that is read out at one moment, and its question."""

    name: str
    minute: int  # minutes from the start
    title: str
    text: str
    ask: str
    options: tuple[Option, ...] = ()  # a choice
    look_for: tuple[str, ...] = ()  # for an open question: items of a good answer
    hint: str = ""  # for the facilitator only

    @property
    def letters(self) -> tuple[str, ...]:
        """The letters of the options."""
        return tuple(_LETTERS[: len(self.options)])

    @property
    def most(self) -> int:
        """The maximum of points."""
        return max([option.points for option in self.options], default=len(self.look_for))


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """One tabletop exercise, as in its file."""

    name: str
    version: int
    playbook: str  # the playbook that it rehearses
    title: str
    minutes: int
    briefing: str
    seats: Mapping[str, str]  # role at the table: description
    injects: tuple[Inject, ...]
    source: str

    def inject(self, name: str) -> Inject:
        """Return the inject of that name."""
        return next(inject for inject in self.injects if inject.name == name)

    @property
    def most(self) -> int:
        """The maximum of points of all injects."""
        return sum(inject.most for inject in self.injects)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Score of an answer, with the reason for it."""

    points: int
    most: int
    answer: str
    met: tuple[str, ...] = ()  # items of `look_for` that were named
    missed: tuple[str, ...] = ()
    because: str = ""


def load_exercise(text: str, file: str) -> Exercise:
    """Read an exercise; PlaybookInvalid has every problem, in line order."""
    root, problems = read_tree(text, file)
    notes = Notes(file, problems)
    fields = Fields(root, "the exercise", notes)
    name = fields.text("exercise", required=True)
    if name and not DASHED_NAME.fullmatch(name):
        notes.add(
            fields.line_of("exercise"), f"`{name}` is not a name for an exercise", DASHED_HINT
        )
    exercise = Exercise(
        name=name,
        version=fields.number("version", 1, 1, 1_000_000),
        playbook=fields.text("playbook", required=True),
        title=fields.text("title", required=True),
        minutes=fields.number("minutes", 90, 5, 600),
        briefing=fields.text("briefing", required=True, longest=LONGEST_TEXT),
        seats=_seats(fields, notes),
        injects=tuple(_inject(key, node, notes) for key, node in fields.mapping("injects").items()),
        source=text,
    )
    _judge_order(exercise, fields, notes)
    fields.end()
    if found := notes.in_line_order():
        raise PlaybookInvalid(found)
    return exercise


def as_playbook(exercise: Exercise) -> str:
    """Return the playbook of an exercise: one step for each inject."""
    lines = [
        f"playbook: {TABLETOP_PREFIX}{exercise.name}"[: len("playbook: ") + 40],
        f"version: {exercise.version}",
        f"title: {_quoted(exercise.title)}",
        f"use_when: {_quoted(f'To rehearse {exercise.playbook} at a table.')}",
        "steps:",
    ]
    before: list[str] = []
    for inject in exercise.injects:
        step: dict[str, Json] = {"title": inject.title, "needs": before}
        if inject.options:
            step |= {"decide": inject.ask, "options": list(inject.letters)}
        else:
            step |= {"manual": inject.ask}
        lines.append(f"  {inject.name}: {_quoted(step)}")
        before = [inject.name]
    # As ASCII in one line, so that no line end of YAML can end the comment.
    return "\n".join([*lines, _SOURCE_COMMENT + json.dumps(exercise.source)]) + "\n"


def frozen_exercise(playbook_source: str) -> Exercise:
    """Return the exercise from the comment in an incident's playbook.

    Raise UsageError if the playbook contains no exercise.
    """
    *_, last = playbook_source.rstrip("\n").split("\n")
    if not last.startswith(_SOURCE_COMMENT):
        raise UsageError(
            "incident: not a tabletop exercise. `standfast incident list` shows those that are."
        )
    return load_exercise(json.loads(last.removeprefix(_SOURCE_COMMENT)), "the exercise")


def stored_answer(inject: Inject, text: str, met: tuple[int, ...]) -> str:
    """Return an answer in its stored form; UsageError if it is invalid.

    `met` has the numbers, from 1, of the items of `look_for` that were named.
    """
    if inject.options:
        if met:
            raise UsageError(
                "answer: this question is a choice and has no list to look for. Leave the "
                "numbers out."
            )
        return text
    unknown = [number for number in met if not 1 <= number <= len(inject.look_for)]
    if unknown:
        raise UsageError(f"answer: the list has no item {unknown[0]}. Choose one of its numbers.")
    numbers = ", ".join(map(str, sorted(set(met))))
    return f"[{numbers}] {text}"


def scored(inject: Inject, kept: str | None) -> Scored:
    """Return the score of a stored answer; a missing answer has no points."""
    if kept is None:
        return Scored(points=0, most=inject.most, answer="", missed=inject.look_for)
    if inject.options:
        option = inject.options[inject.letters.index(kept)]
        return Scored(
            points=option.points,
            most=inject.most,
            answer=f"{kept}: {option.answer}",
            because=option.because,
        )
    match = _STORED_ANSWER.fullmatch(kept)
    numbers = {int(digits) for digits in re.findall("[0-9]+", match[1])} if match else set()
    met = tuple(point for place, point in enumerate(inject.look_for, 1) if place in numbers)
    return Scored(
        points=len(met),
        most=inject.most,
        answer=match[2] if match else kept,
        met=met,
        missed=tuple(point for point in inject.look_for if point not in met),
    )


def _seats(fields: Fields, notes: Notes) -> dict[str, str]:
    seats: dict[str, str] = {}
    for role, node in fields.mapping("seats").items():
        if not isinstance(node.value, str) or not node.value.strip():
            notes.add(node.line, f"`{role}` under `seats` must be a text")
        else:
            seats[role] = node.value.strip()
    return seats


def _inject(name: str, node: Node, notes: Notes) -> Inject:
    subject = f"inject `{name}`"
    if not IDENTIFIER.fullmatch(name):
        notes.add(node.line, f"`{name}` is not a name for an inject", "small letters, digits and _")
    fields = Fields(node, subject, notes)
    inject = Inject(
        name=name,
        minute=fields.number("minute", 0, 0, 600),
        title=fields.text("title", required=True),
        text=fields.text("inject", required=True, longest=LONGEST_TEXT),
        ask=fields.text("ask", required=True, longest=1_000),
        look_for=fields.texts("look_for"),
        hint=fields.text("hint", longest=LONGEST_TEXT),
    )
    inject = replace(inject, options=_options(subject, fields, notes))
    if bool(inject.options) is bool(inject.look_for):
        notes.add(
            node.line, f"{subject} needs exactly one of options and look_for", "remove or add one"
        )
    fields.end()
    return inject


def _options(subject: str, fields: Fields, notes: Notes) -> tuple[Option, ...]:
    node = fields.node("options")
    if node is None:
        return ()
    if not isinstance(node.value, list) or not 2 <= len(node.value) <= len(_LETTERS):
        notes.add(node.line, f"`options` of {subject} must be a list of 2 to {len(_LETTERS)}")
        return ()
    found = []
    for item in node.value:
        option_fields = Fields(item, f"an option of {subject}", notes)
        found.append(
            Option(
                answer=option_fields.text("answer", required=True, longest=1_000),
                points=option_fields.number("points", 0, 0, MOST_POINTS),
                because=option_fields.text("because", required=True, longest=1_000),
            )
        )
        option_fields.end()
    if found and not max(option.points for option in found):
        notes.add(
            node.line, f"no option of {subject} is worth a point", "add `points:` to the best"
        )
    return tuple(found)


def _judge_order(exercise: Exercise, fields: Fields, notes: Notes) -> None:
    line = fields.line_of("injects")
    if not 1 <= len(exercise.injects) <= MOST_INJECTS:
        notes.add(line, f"an exercise has 1 to {MOST_INJECTS} injects")
    minutes = [inject.minute for inject in exercise.injects]
    if minutes != sorted(minutes):
        notes.add(line, "the injects are not in the order of their minutes")
    if minutes and minutes[-1] >= exercise.minutes:
        notes.add(line, f"the last inject is not before the end, minute {exercise.minutes}")


def _quoted(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)  # JSON is YAML too
