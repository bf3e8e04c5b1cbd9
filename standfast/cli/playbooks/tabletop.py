"""`standfast tabletop`: tabletop exercises with injects and a score.

An inject is one event of the exercise. The facilitator reads it aloud, and the participants decide.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from standfast.cli.incidents.incident_arguments import incident_argument
from standfast.cli.parsing.commands import Group, command
from standfast.cli.parsing.parameters import FilePath
from standfast.cli.terminal.invocation import Call
from standfast.cli.terminal.output import Line, Table
from standfast.errors import ExitStatus, UsageError
from standfast.plurals import counted

if TYPE_CHECKING:
    from standfast.usecases.core.installation import Installation
    from standfast.usecases.exercises.tabletop import Turn

_NOT_ONE = "there is no such exercise, or none or several are open"


@command(
    "list",
    exits={ExitStatus.DONE: "the exercises are listed"},
    example="standfast tabletop list",
    needs_ledger=False,
)
@click.pass_obj
def list_exercises(call: Call) -> ExitStatus:
    """List the tabletop exercises."""
    from standfast.usecases.exercises.tabletop import exercises

    found = exercises()
    return call.print_result(
        {
            "exercises": [
                {
                    "exercise": exercise.name,
                    "title": exercise.title,
                    "playbook": exercise.playbook,
                    "minutes": exercise.minutes,
                    "injects": len(exercise.injects),
                }
                for exercise in found
            ]
        },
        [
            Table(
                rows=[
                    [exercise.name, f"{exercise.minutes} min", exercise.title] for exercise in found
                ]
            )
        ],
    )


@command(
    "start",
    exits={
        ExitStatus.DONE: "the first inject is shown",
        ExitStatus.USAGE: "there is no such exercise, or its file is not valid",
    },
    example="standfast tabletop start ransomware",
)
@click.argument("name", metavar="NAME|FILE", help="A name from `tabletop list`, or a file.")
@click.pass_obj
def start(call: Call, name: str) -> ExitStatus:
    """Start an exercise: show its briefing and the first inject.

    Read the inject aloud, let the participants discuss, and enter their decision with `answer`.
    Nothing live is reached.
    """
    from standfast.usecases.exercises.tabletop import find_exercise
    from standfast.usecases.exercises.tabletop import start as begin

    exercise = find_exercise(name)
    with call.installation() as installation:
        now = begin(installation, exercise)
    briefing: list[Line] = [
        (
            f"{now.incident}: {exercise.title}. {exercise.minutes} minutes, "
            f"{counted(len(exercise.injects), 'inject')}."
        ),
        "",
        exercise.briefing,
        "",
        *(f"{seat}: {does}" for seat, does in exercise.seats.items()),
        "",
    ]
    return call.print_result(
        {**now.as_json(), "briefing": exercise.briefing}, [*briefing, *_lines(now)]
    )


@command(
    "next",
    exits={ExitStatus.DONE: "the current inject is shown", ExitStatus.USAGE: _NOT_ONE},
    example="standfast tabletop next",
)
@incident_argument
@click.pass_obj
def next_inject(call: Call, incident: str | None) -> ExitStatus:
    """Show the current inject, for the facilitator to read aloud."""
    from standfast.usecases.exercises.tabletop import current_inject

    with call.installation() as installation:
        now = current_inject(installation, _open_exercise(installation, incident))
    return call.print_result(now.as_json(), _lines(now))


@command(
    "answer",
    exits={
        ExitStatus.DONE: "the answer is recorded",
        ExitStatus.USAGE: "the answer is not an option, or every inject is answered",
    },
    example='standfast tabletop answer "we pull the cables" --met 1,3',
)
@click.argument("text", help="The letter of an option, or the answer of the participants.")
@click.option(
    "--met", metavar="1,3", help="The numbers of the expected points that the participants named."
)
@click.option("--incident", metavar="ID", help="The exercise; optional if only one is open.")
@click.pass_obj
def answer(call: Call, text: str, met: str | None, incident: str | None) -> ExitStatus:
    """Record an answer; show its points and the next inject."""
    from standfast.usecases.exercises.tabletop import answer as keep
    from standfast.usecases.exercises.tabletop import current_inject

    numbers = _numbers(met)
    with call.installation() as installation:
        incident_id = _open_exercise(installation, incident)
        inject, result = keep(installation, incident_id, text, numbers)
        now = current_inject(installation, incident_id)
    result_lines: list[Line] = [
        f"{inject.title}: {result.points} of {result.most} points. {result.because}".strip()
    ]
    result_lines += [f"  not named: {missed}" for missed in result.missed]
    return call.print_result(
        {
            **now.as_json(),
            "answered": inject.name,
            "points": result.points,
            "most": result.most,
            "because": result.because,
            "missed": list(result.missed),
        },
        [*result_lines, "", *_lines(now)],
    )


@command(
    "finish",
    exits={ExitStatus.DONE: "the exercise is ended", ExitStatus.USAGE: _NOT_ONE},
    example="standfast tabletop finish",
)
@incident_argument
@click.pass_obj
def finish(call: Call, incident: str | None) -> ExitStatus:
    """Finish the exercise and show the score."""
    from standfast.usecases.exercises.tabletop import as_json
    from standfast.usecases.exercises.tabletop import finish as end

    with call.installation() as installation:
        found = end(installation, _open_exercise(installation, incident))
    return call.print_result(
        as_json(found),
        [
            (
                f"{found.incident}: {found.points} of {found.most} points, "
                f"{found.asked} of {counted(len(found.injects), 'inject')} answered."
            ),
            f"Next: `standfast tabletop report {found.incident}`.",
        ],
    )


@command(
    "report",
    exits={
        ExitStatus.DONE: "the report is written",
        ExitStatus.FAILED: "it cannot be written there",
        ExitStatus.USAGE: "there is no such exercise, or the file exists and is of another kind",
    },
    example="standfast tabletop report inc-2026-0004 --to tabletop.html",
)
@click.argument("incident", metavar="ID", help="The exercise.")
@click.option(
    "--to",
    type=FilePath(),
    metavar="FILE",
    help="The file to write; by default ID.html in this folder.",
)
@click.pass_obj
def report(call: Call, incident: str, to: Path | None) -> ExitStatus:
    """Write the report as an HTML page: score, answers and gaps."""
    from standfast.usecases.exercises.tabletop import as_json, write
    from standfast.usecases.exercises.tabletop import report as gather

    with call.installation() as installation:
        found = gather(installation, incident)
        out = write(installation, incident, (to or Path(f"{incident}.html")).absolute())
    return call.print_result({**as_json(found), "page": str(out)}, [f"Written: {out}"])


def _open_exercise(installation: "Installation", named: str | None) -> str:
    """Return the named exercise, or the one open exercise.

    Raises UsageError if no exercise is named, and none or several are open.
    """
    from standfast.usecases.exercises.tabletop import SCENARIO

    if named:
        return installation.ledger.incidents.get(named).id
    candidates = [
        incident.id
        for incident in installation.ledger.incidents.all(only_open=True)
        if incident.scenario.startswith(SCENARIO)
    ]
    if len(candidates) != 1:
        if not candidates:
            raise UsageError("exercise: none is open. Start one: `standfast tabletop start NAME`")
        raise UsageError(
            f"exercise: {len(candidates)} are open: {', '.join(candidates)}. Add the id, to "
            "`answer` as --incident ID"
        )
    return candidates[0]


def _numbers(met: str | None) -> tuple[int, ...]:
    parts = re.split(r"[ ,]+", met.strip()) if met and met.strip() else []
    if not all(re.fullmatch("[0-9]{1,2}", part) for part in parts):
        raise UsageError(f"--met {met!r}: not a list of numbers. Write them as 1,3")
    return tuple(int(part) for part in parts)


def _lines(now: "Turn") -> list[Line]:
    """Return the lines of the current inject for the facilitator."""
    inject = now.inject
    if not now.is_open:
        return [f"The exercise is over. Next: `standfast tabletop report {now.incident}`."]
    if inject is None:
        return [f"Every inject is answered. Next: `standfast tabletop finish {now.incident}`."]
    lines: list[Line] = [
        (
            f"{now.number} of {len(now.exercise.injects)}: {inject.title} "
            f"(planned for minute {inject.minute}; it is minute {now.elapsed_minutes})"
        ),
        "",
        inject.text,
        "",
        f"Ask: {inject.ask}",
    ]
    if inject.options:
        options = zip(inject.letters, inject.options, strict=True)
        lines.append(Table(indent=2, rows=[[letter, option.answer] for letter, option in options]))
        how = "LETTER"
    else:
        looked_for = enumerate(inject.look_for, 1)
        lines.append("Expected points, for the facilitator only:")
        lines.append(Table(indent=2, rows=[[str(number), item] for number, item in looked_for]))
        how = '"ANSWER" --met 1,3'
    if inject.hint:
        lines += [f"Hint, for the facilitator only: {inject.hint}"]
    return [*lines, "", f"Next: `standfast tabletop answer {how}`."]


tabletop = Group(
    "tabletop",
    help="Rehearse a breach in a discussion: injects, questions, a score.",
    commands=[list_exercises, start, next_inject, answer, finish, report],
)
