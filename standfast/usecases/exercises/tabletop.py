"""A tabletop exercise from its start to its report: an incident in exercise mode like any other.

Rules
- Nothing outside is reached: an exercise is given twins, and a tabletop not even these.
- The ledger keeps who answered what and when; the score is reckoned from that each time.
- The facilitator may end it at any moment: what was not asked counts as not asked, and is named.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from standfast.errors import UsageError
from standfast.playbook.model import AT_A_TABLE
from standfast.playbook.tabletop_exercise import (
    Exercise,
    Inject,
    Scored,
    as_playbook,
    carried,
    held,
    load_exercise,
    scored,
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

SCENARIO = AT_A_TABLE


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Where an exercise stands: the inject that is on the table, or none when all were answered."""

    incident: str
    exercise: Exercise
    inject: Inject | None
    number: int  # of the inject, from 1
    elapsed_minutes: int
    is_open: bool  # until it is finished

    def as_json(self) -> JsonObject:
        """Give it for `--json`; what each answer is worth is not told before it is given."""
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
    """Give the shipped exercises."""
    folder = library.SHIPPED / "exercises"
    return [
        load_exercise(path.read_text(encoding="utf-8"), str(path))
        for path in sorted(folder.glob("*.yaml"))
    ]


def named(name: str) -> Exercise:
    """Give a shipped exercise by name, or one by the path of its file; UsageError for neither."""
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return load_exercise(library.text_of(Path(name)), name)
    there = {one.name: one for one in exercises()}
    if name not in there:
        raise UsageError(f"there is no exercise {name!r}; {known_names_hint(name, there)}")
    return there[name]


def start(installation: Installation, exercise: Exercise) -> Turn:
    """Open the exercise, and put its first inject on the table."""
    incident_id, _ = installation.ledger.incidents.open(
        scenario=f"{SCENARIO}{exercise.name}",
        mode=Mode.EXERCISE,
        playbook=as_playbook(exercise),
        connectors=[],
        inputs={},
        opened_by=installation.actor,
        is_signed=False,
        trigger=None,
        now=installation.clock(),
    )
    return turn(installation, incident_id)


def turn(installation: Installation, incident_id: str) -> Turn:
    """Say what is on the table now; the next inject is put there once the last one is answered."""
    row = installation.ledger.incidents.get(incident_id)
    exercise = carried(row.playbook)
    if row.is_open:
        incident.advance(installation, incident_id, "direct")
    state = installation.ledger.incidents.state(incident_id)
    views = [state.steps.get(inject.name) for inject in exercise.injects]
    here = [
        number
        for number, view in enumerate(views, 1)
        if row.is_open and view is not None and view.state is StepState.PROMPTED
    ]
    until = row.closed_at or installation.clock()
    return Turn(
        incident=incident_id,
        exercise=exercise,
        inject=exercise.injects[here[0] - 1] if here else None,
        number=here[0] if here else len(views),
        elapsed_minutes=int((until - row.opened_at).total_seconds() // 60),
        is_open=row.is_open,
    )


def answer(
    installation: Installation, incident_id: str, text: str, met: tuple[int, ...] = ()
) -> tuple[Inject, Scored]:
    """Keep the answer to the inject that is on the table; give the inject, and what it is worth."""
    now = turn(installation, incident_id)
    if now.inject is None:
        raise UsageError(
            f"nothing is asked in {incident_id} any more; end it: `standfast tabletop finish`"
        )
    kept = held(now.inject, text, met)
    keep_answer(installation, incident_id, now.inject.name, kept)
    installation_state = installation.ledger.incidents.state(incident_id)
    return now.inject, scored(now.inject, installation_state.steps[now.inject.name].answer)


def finish(installation: Installation, incident_id: str) -> TabletopReport:
    """End the exercise, whether all was asked or not; give its report."""
    carried(installation.ledger.incidents.get(incident_id).playbook)
    incident.close(installation, incident_id)
    return report(installation, incident_id)


def report(installation: Installation, incident_id: str) -> TabletopReport:
    """Gather what was asked, answered and missed."""
    row = installation.ledger.incidents.get(incident_id)
    exercise = carried(row.playbook)
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
    """Give the report for `--json`."""
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
    """Name the best answer of a choice."""
    best = max(inject.options, key=lambda option: option.points, default=None)
    return f"{best.answer} {best.because}" if best else ""
