"""Opening an incident, carrying it on, stopping and closing it.

Rules
- Opening is one commit to the ledger and needs nothing else to be up.
- `advance` may be run by any number of runners at once and is resumed by calling it again; it keeps
  nothing of its own between two looks at the ledger.
- It ends when nothing is left to do without a person or for longer than it is worth waiting, and
  says which.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from standfast.errors import ExitStatus, StandfastError
from standfast.ledger.effects import effect_token, scope_of
from standfast.ledger.runs import LEASE
from standfast.operations import playbooks
from standfast.operations.actions import expand, locked_today
from standfast.operations.lanes import Lanes
from standfast.operations.pages import pages
from standfast.operations.place import Place
from standfast.outside import Outside
from standfast.playbook.engine import (
    Ask,
    Expand,
    Finish,
    Move,
    Prompt,
    State,
    Wake,
    next_moves,
)
from standfast.playbook.inputs import load_inputs
from standfast.playbook.standing import Standing, standing
from standfast.records import Mode, StepState

_TICK_SECONDS = 0.1
_WAIT_PER_LOOK = 4  # with 100,000 recipients a look takes half a second: leave the lanes their time
# Beyond this a runner does not sit and wait: `keep_watch` or the next call goes on.
_LONGEST_WAIT = timedelta(minutes=3)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What opening came to."""

    incident: str
    has_joined: bool  # the trigger had opened it before


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Where an incident stands when a runner has ended."""

    incident: str
    state: State
    standing: Standing
    troubles: tuple[str, ...] = ()  # what stopped a lane: a rule, or a fault
    trouble_status: ExitStatus = ExitStatus.REFUSED  # the gravest of them, when there are any

    @property
    def unfinished(self) -> tuple[str, ...]:
        """The steps that began and did not end, or did not begin, in the playbook's order."""
        begun = {view.step: view for view in (*self.state.steps.values(), *self.state.extra)}
        names = dict.fromkeys([*(step.name for step in self.state.playbook.steps), *begun])
        return tuple(name for name in names if name not in begun or not begun[name].state.is_final)

    @property
    def exit_status(self) -> ExitStatus:
        if self.troubles:
            return self.trouble_status
        if not self.standing.is_over:
            return ExitStatus.WAITS_FOR_PEOPLE
        if self.standing.is_failed:
            return ExitStatus.FAILED
        return ExitStatus.PARTIAL if self.standing.is_partial else ExitStatus.DONE


def open_incident(
    place: Place,
    scenario: str,
    inputs: Mapping[str, str | list[str]],
    *,
    mode: Mode,
    opened_by: str | None = None,
    trigger: str | None = None,
) -> Opened:
    """Commit an incident to the ledger; nothing outside is touched.

    `opened_by` is the name of a person who signed in; without one the operating system's user is
    noted, and every step that asks for approval asks for one more.
    """
    playbook = playbooks.find(place.config, scenario)
    typed = load_inputs(playbook, inputs)
    incident_id, has_joined = place.ledger.incidents.open(
        scenario=scenario,
        mode=mode,
        playbook=playbook.source,
        connectors=playbooks.adapters(place.config),
        inputs=typed,
        opened_by=opened_by or place.actor,
        is_signed=opened_by is not None,
        trigger=trigger,
        now=place.clock(),
    )
    return Opened(incident=incident_id, has_joined=has_joined)


def stop(place: Place, incident_id: str) -> None:
    """Stop everything that is not under way; what is, ends and is written down."""
    place.ledger.incidents.set_halted(incident_id, True, place.actor, place.clock())


def resume(place: Place, incident_id: str) -> None:
    """Let a stopped incident go on."""
    place.ledger.incidents.set_halted(incident_id, False, place.actor, place.clock())


def close(place: Place, incident_id: str) -> None:
    """Close an incident; refused while something is under way."""
    place.ledger.incidents.close(incident_id, place.actor, place.clock())
    place.ledger.audit.sign_head(place.clock())


def look(place: Place, incident_id: str) -> Outcome:
    """Say where an incident stands, changing nothing."""
    state = place.ledger.incidents.state(incident_id)
    return Outcome(incident=incident_id, state=state, standing=standing(state))


def has_work(place: Place, incident_id: str) -> bool:
    """Would a runner find something to do now, or soon?"""
    state = place.ledger.incidents.state(incident_id)
    if state.is_halted:
        return False
    now = place.clock()
    if next_moves(state, now):
        return True
    work = place.ledger.effects.open_work(incident_id, now)
    return bool(work.lanes or work.in_flight) or _is_soon(work.next_due, now)


def advance(
    place: Place,
    incident_id: str,
    way: str,
    progress: Callable[[State], None] | None = None,
) -> Outcome:
    """Carry an incident on until it needs a person, a later hour, or nothing more.

    `way` says what runs this: prefect, serve or direct. `progress` is shown each state.
    """
    ledger, clock = place.ledger, place.clock
    outside = place.outside(ledger.incidents.get(incident_id))
    with _runner(place, incident_id, way) as runner:
        lanes = Lanes(
            ledger=ledger, outside=outside, incident=incident_id, runner=runner, clock=clock
        )
        try:
            while True:
                now, began = clock(), time.monotonic()
                ledger.attempts.lapse(
                    incident_id, lambda token: ledger.runners.is_dead(token, clock()), now
                )
                state = ledger.incidents.state(incident_id)
                if progress:
                    progress(state)
                if not state.is_halted and _make(place, state, outside, now):
                    continue
                work = ledger.effects.open_work(incident_id, now)
                if not state.is_halted:
                    lanes.start(work)
                if not (
                    lanes.is_busy or work.in_flight or _is_worth_waiting(state, work.next_due, now)
                ):
                    break
                lanes.wait(max(_TICK_SECONDS, _WAIT_PER_LOOK * (time.monotonic() - began)))
        finally:
            lanes.close()
    troubles = list(lanes.troubles.values())
    try:
        ledger.audit.sign_head(clock())
    except StandfastError as error:
        # What was contained stays contained, and is told, where the witness is not to be reached.
        troubles.append(error)
    outcome = look(place, incident_id)
    return Outcome(
        incident=incident_id,
        state=outcome.state,
        standing=outcome.standing,
        troubles=tuple(dict.fromkeys(str(error) for error in troubles)),
        trouble_status=_gravest(error.exit_status for error in troubles),
    )


def _gravest(found: Iterable[ExitStatus]) -> ExitStatus:
    """Damage before a fault, a fault before a rule that said no."""
    there = set(found)
    for status in (ExitStatus.DAMAGED, ExitStatus.FAILED, ExitStatus.USAGE):
        if status in there:
            return status
    return ExitStatus.REFUSED


def expand_step(place: Place, state: State, outside: Outside, step_name: str, round_: int) -> None:
    """Plan a step's effects; what makes it impossible closes it as failed, with the reason."""
    ledger, incident_id = place.ledger, state.incident
    step = state.playbook.step(step_name)
    verb = step.action or ""
    scope = scope_of(verb, incident_id)

    def token_of(target: str) -> str:
        handle = ledger.vault.handle(scope, target)
        return effect_token(incident_id, step_name, round_, verb, handle)

    is_signed = ledger.incidents.get(incident_id).is_signed
    try:
        expansion = expand(
            step,
            state,
            outside,
            is_signed=is_signed,
            token_of=token_of,
            locked_today=locked_today(ledger, state.mode, place.clock()),
        )
    except Exception as error:
        # Also what nobody foresaw: the other steps have people to keep out. Of such an error only
        # the class, for its text may quote an account.
        reason = (
            str(error)
            if isinstance(error, StandfastError)
            else f"could not be planned: unexpected {type(error).__name__}"
        )
        ledger.steps.finish(incident_id, step_name, round_, StepState.FAILED, reason, place.clock())
        return
    ledger.steps.expand(incident_id, step_name, round_, expansion, place.actor, place.clock())


def _make(place: Place, state: State, outside: Outside, now: datetime) -> bool:
    """Make every move that can be made now; say whether there was any."""
    moves = next_moves(state, now)
    for move in moves:
        _make_one(place, state, outside, move)
    return bool(moves)


def _make_one(place: Place, state: State, outside: Outside, move: Move) -> None:
    steps, incident_id, now = place.ledger.steps, state.incident, place.clock()
    match move:
        case Expand():
            expand_step(place, state, outside, move.step, move.round)
        case Ask():
            asked = pages(place, state, outside, move.step)
            steps.ask(incident_id, move.step, move.round, asked, now)
        case Prompt():
            steps.prompt(incident_id, move.step, move.round, now)
        case Wake():
            steps.wait_until(incident_id, move.step, move.round, move.due_at, now)
        case Finish():
            steps.finish(
                incident_id,
                move.step,
                move.round,
                move.state,
                move.reason,
                now,
                only_settled=move.state is not StepState.REFUSED,
            )


def _is_worth_waiting(state: State, next_due: datetime | None, now: datetime) -> bool:
    if state.is_halted:
        return False
    due = [view.due_at for view in state.steps.values() if view.state is StepState.WAITING]
    return any(_is_soon(moment, now) for moment in (next_due, *due))


def _is_soon(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment - now <= _LONGEST_WAIT


@contextmanager
def _runner(place: Place, incident_id: str, way: str) -> Iterator[str]:
    """Be known as a runner while the block runs, and say so before the lease ends."""
    runners = place.ledger.runners
    token = runners.register(incident_id, way, place.clock())
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(LEASE.total_seconds() / 3):
            # A beat that is missed is made up for by the next: two of them fit in the lease.
            with suppress(StandfastError):
                runners.beat(token, incident_id, place.clock())

    heart = threading.Thread(target=beat, name=f"heart-{incident_id}", daemon=True)
    heart.start()
    try:
        yield token
    finally:
        is_over.set()
        heart.join()
        runners.retire(token, incident_id, place.clock())
