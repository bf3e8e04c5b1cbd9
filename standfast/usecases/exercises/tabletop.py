"""Tabletop exercise: start, injects in turn, answers, end, report.

In a tabletop exercise, people discuss a written scenario. It is stored as an incident in mode
`exercise`. An inject is one development of the scenario, with a question for the participants.

Rules
- No external system is reached. Other incidents in this mode use simulators of external systems; a
  tabletop exercise uses no simulators either.
- The ledger (the database of incidents) stores each answer with its person and time. The score is
  not stored, but computed from the answers.
- The facilitator (who leads the exercise) may end it at any moment. The report names the questions
  that were not asked.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from standfast.errors import UsageError
from standfast.playbook.model import TABLETOP_PREFIX
from standfast.playbook.tabletop_exercise import (
    Exercise,
    Inject,
    Scored,
    as_playbook,
    frozen_exercise,
    load_exercise,
    scored,
    stored_answer,
)
from standfast.records import JsonObject, Mode, StepState, timestamp
from standfast.reports.html_page import write_page
from standfast.reports.tabletop_page import InjectLine, TabletopReport, tabletop_page
from standfast.suggestions import known_names_hint
from standfast.usecases.approvals.step_decisions import answer as keep_answer
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents import lifecycle as incident
from standfast.usecases.playbooks import library
from standfast.usecases.reports.result_pages import chain_line, heading

SCENARIO = TABLETOP_PREFIX


@dataclass(frozen=True, kw_only=True)
class Turn:
    """The state of an exercise; its inject is None at the end."""

    incident: str
    exercise: Exercise
    inject: Inject | None
    number: int  # number of the inject, from 1
    elapsed_minutes: int
    is_open: bool  # False after the exercise was finished

    def as_json(self) -> JsonObject:
        """Return the JSON form, without the points of the answers."""
        inject = self.inject
        return {
            "incident": self.incident,
            "exercise": self.exercise.name,
            "is_over": inject is None,
            "elapsed_minutes": self.elapsed_minutes,
            "inject": None
            if inject is None
            else {
                "name": inject.name,
                "number": self.number,
                "of": len(self.exercise.injects),
                "minute": inject.minute,
                "title": inject.title,
                "text": inject.text,
                "ask": inject.ask,
                "options": {
                    letter: option.answer
                    for letter, option in zip(inject.letters, inject.options, strict=True)
                },
                "look_for": list(inject.look_for),
                "hint": inject.hint,
            },
        }


def exercises() -> list[Exercise]:
    """Return the shipped exercises."""
    folder = library.SHIPPED / "exercises"
    return [
        load_exercise(path.read_text(encoding="utf-8"), str(path))
        for path in sorted(folder.glob("*.yaml"))
    ]


def find_exercise(name: str) -> Exercise:
    """Return a shipped exercise by name, or an exercise in a file by path.

    Raise UsageError for an unknown name.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return load_exercise(library.text_of(Path(name)), name)
    shipped = {exercise.name: exercise for exercise in exercises()}
    if name not in shipped:
        raise UsageError(f"exercise {name!r}: unknown; {known_names_hint(name, shipped)}")
    return shipped[name]


def start(installation: Installation, exercise: Exercise) -> Turn:
    """Open the exercise, and ask the question of its first inject."""
    incident_id, _ = installation.ledger.incidents.open(
        scenario=f"{SCENARIO}{exercise.name}",
        mode=Mode.EXERCISE,
        playbook=as_playbook(exercise),
        adapters=[],
        inputs={},
        opened_by=installation.actor,
        is_signed=False,
        trigger=None,
        now=installation.clock(),
    )
    return current_inject(installation, incident_id)


def current_inject(installation: Installation, incident_id: str) -> Turn:
    """Return the state of the exercise at its first inject without an answer."""
    row = installation.ledger.incidents.get(incident_id)
    exercise = frozen_exercise(row.playbook)
    if row.is_open:
        incident.advance(installation, incident_id, "direct")
    state = installation.ledger.incidents.state(incident_id)
    views = [state.steps.get(inject.name) for inject in exercise.injects]
    prompted = [
        number
        for number, view in enumerate(views, 1)
        if row.is_open and view is not None and view.state is StepState.PROMPTED
    ]
    until = row.closed_at or installation.clock()
    return Turn(
        incident=incident_id,
        exercise=exercise,
        inject=exercise.injects[prompted[0] - 1] if prompted else None,
        number=prompted[0] if prompted else len(views),
        elapsed_minutes=int((until - row.opened_at).total_seconds() // 60),
        is_open=row.is_open,
    )


def answer(
    installation: Installation, incident_id: str, text: str, met: tuple[int, ...] = ()
) -> tuple[Inject, Scored]:
    """Store the answer to the current inject; return the inject and the score."""
    now = current_inject(installation, incident_id)
    if now.inject is None:
        raise UsageError(
            f"{incident_id}: no inject is left. End the exercise with `standfast tabletop finish`."
        )
    kept = stored_answer(now.inject, text, met)
    keep_answer(installation, incident_id, now.inject.name, kept)
    state = installation.ledger.incidents.state(incident_id)
    return now.inject, scored(now.inject, state.steps[now.inject.name].answer)


def finish(installation: Installation, incident_id: str) -> TabletopReport:
    """End the exercise, complete or not; return its report."""
    frozen_exercise(installation.ledger.incidents.get(incident_id).playbook)
    incident.close(installation, incident_id)
    return report(installation, incident_id)


def report(installation: Installation, incident_id: str) -> TabletopReport:
    """Return the report: the questions, the answers and the missed points."""
    row = installation.ledger.incidents.get(incident_id)
    exercise = frozen_exercise(row.playbook)
    chain = chain_line(installation)
    state = installation.ledger.incidents.state(incident_id)
    asked: dict[str, datetime] = {}
    answered: dict[str, datetime] = {}
    for event in installation.ledger.timeline(incident_id):
        step = str(event.detail.get("step"))
        if event.action == "step.prompted":
            asked[step] = event.at
        elif event.action == "step.answered":
            answered[step] = event.at
    lines = []
    for inject in exercise.injects:
        view = state.steps.get(inject.name)
        result = scored(inject, view.answer if view else None)
        lines.append(
            InjectLine(
                title=inject.title,
                minute=inject.minute,
                text=inject.text,
                ask=inject.ask,
                asked_at=asked.get(inject.name),
                answered_at=answered.get(inject.name),
                answer=result.answer,
                points=result.points,
                most=result.most,
                met=result.met,
                missed=result.missed,
                because=result.because,
                best=_best(inject),
            )
        )
    return TabletopReport(
        heading=heading(installation),
        incident=incident_id,
        exercise=exercise.name,
        version=exercise.version,
        playbook=exercise.playbook,
        title=exercise.title,
        seats=exercise.seats,
        opened_at=row.opened_at,
        closed_at=row.closed_at,
        injects=tuple(lines),
        chain=chain,
    )


def write(installation: Installation, incident_id: str, out: Path) -> Path:
    """Write the report as one page."""
    return write_page(tabletop_page(report(installation, incident_id)), out)


def as_json(found: TabletopReport) -> JsonObject:
    """Return the JSON form of the report."""
    return {
        "incident": found.incident,
        "exercise": found.exercise,
        "version": found.version,
        "playbook": found.playbook,
        "points": found.points,
        "most": found.most,
        "is_whole": not found.chain.findings,
        "injects": [
            {
                "title": line.title,
                "minute": line.minute,
                "asked_at": timestamp(line.asked_at) if line.asked_at else None,
                "answered_at": timestamp(line.answered_at) if line.answered_at else None,
                "answer": line.answer,
                "points": line.points,
                "most": line.most,
                "met": list(line.met),
                "missed": list(line.missed),
                "because": line.because,
            }
            for line in found.injects
        ],
    }


def _best(inject: Inject) -> str:
    """Return the option with the most points, with its reason, or ""."""
    best = max(inject.options, key=lambda option: option.points, default=None)
    return f"{best.answer} {best.because}" if best else ""
