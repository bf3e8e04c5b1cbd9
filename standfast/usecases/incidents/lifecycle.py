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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime

from standfast.adapters.factory import Outside
from standfast.deadlines.incident_facts import Facts
from standfast.errors import Refused, StandfastError
from standfast.ledger.effects.effect_rows import effect_token, scope_of
from standfast.ledger.effects.effect_store import Work
from standfast.ledger.effects.recent_locks import RecentLocksChanged
from standfast.ledger.incidents.trigger_messages import TriggerMessage
from standfast.ledger.runs.run_store import LEASE
from standfast.playbook.action_arguments import arguments_of
from standfast.playbook.actions import ACTIONS
from standfast.playbook.actions.accounts_prove_locked import PROVE
from standfast.playbook.actions.notices_send import SEND
from standfast.playbook.engine import (
    Ask,
    Escalate,
    Expand,
    Finish,
    Move,
    Open,
    Prompt,
    Wake,
    next_moves,
)
from standfast.playbook.model import Step
from standfast.playbook.parser.input_values import load_inputs
from standfast.playbook.planned_effects import Draft, Expansion
from standfast.playbook.run_state import State
from standfast.playbook.status.next_step import standing
from standfast.records import Mode, StepState
from standfast.usecases.core.installation import Installation
from standfast.usecases.deadlines.legal_clocks import refuse_blocked
from standfast.usecases.incidents.approval_escalation import ask, escalate
from standfast.usecases.incidents.blast_radius import by_directory, keeps_out, locked_today
from standfast.usecases.incidents.effect_queues import EffectQueues
from standfast.usecases.incidents.lifecycle_permission import authorise_lifecycle_change
from standfast.usecases.incidents.outcome import Outcome, gravest
from standfast.usecases.incidents.runner_waiting import is_soon, is_worth_waiting, longest_wait
from standfast.usecases.incidents.step_expansion import expand
from standfast.usecases.notices.delivery_plan import NoticePlan
from standfast.usecases.notices.staged_sending import due_notices, release_due
from standfast.usecases.playbooks import library

_TICK_SECONDS = 0.1
_WAIT_PER_LOOK = (
    4  # with 100,000 recipients a look takes half a second: leave the queues their time
)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The result of opening an incident."""

    incident: str
    has_joined: bool  # it was open: the trigger is repeated, or about the same accounts
    lacking: int = 0  # items of the trigger's message that named nobody
    is_stopped: bool = False  # it was open and somebody had stopped it: nothing is done for now


def open_incident(
    installation: Installation,
    scenario: str,
    inputs: Mapping[str, str | list[str]],
    *,
    mode: Mode,
    opened_by: str | None = None,
    trigger: str | None = None,
    message: TriggerMessage | None = None,
    as_read: str | None = None,
) -> Opened:
    """Commit an incident to the ledger; nothing outside is touched.

    `opened_by` is the name of a person who signed in; without one the operating system's user is
    noted, and every step that asks for approval asks for one more. A `message` is committed with
    it, and gives the same incident whenever it comes again. Refused where the playbook's text is
    not `as_read`, when that is given.
    """
    playbook = library.find(installation.config, scenario, is_rehearsed=mode is Mode.EXERCISE)
    if as_read not in (None, playbook.source):
        raise Refused(
            f"the playbook {scenario} was edited at this moment; nothing was done; run the same "
            "command again"
        )
    typed = load_inputs(playbook, inputs)
    incident_id, has_joined = installation.ledger.incidents.open(
        scenario=scenario,
        mode=mode,
        playbook=playbook.source,
        connectors=library.adapters(installation.config),
        inputs=typed,
        opened_by=opened_by or installation.actor,
        is_signed=opened_by is not None,
        trigger=trigger,
        now=installation.clock(),
        message=message,
        configuration=installation.config.settings_digest(installation.config.folder),
    )
    lacking = 0 if message is None else message.lacking
    return Opened(
        incident=incident_id,
        has_joined=has_joined,
        lacking=lacking,
        is_stopped=has_joined and installation.ledger.incidents.is_stopped(incident_id),
    )


def stop(installation: Installation, incident_id: str, *, by: str | None = None) -> None:
    """Stop everything that is not under way.

    Effects under way end, and their results are recorded.

    `by`, here and below, is the name of a person who signed in; see `entitlement`.

    A runner, this one or another, then looks up what nobody saw the end of: a stop leaves no act
    half known. `wait_until_still` does it here.
    """
    refuse_closed(installation, incident_id)
    who = authorise_lifecycle_change(installation, incident_id, by, needs_role=False)
    installation.ledger.incidents.set_halted(incident_id, True, who, installation.clock())


def wait_until_still(installation: Installation, incident_id: str) -> Outcome:
    """Let effects under way in a stopped incident end.

    Effects whose end nobody saw are looked up.
    """
    return advance(installation, incident_id, "direct")


def resume(installation: Installation, incident_id: str, *, by: str | None = None) -> None:
    """Resume a stopped incident.

    An incident that is not stopped needs no sign-in and does not change.
    """
    refuse_closed(installation, incident_id)
    if installation.ledger.incidents.is_stopped(incident_id):
        who = authorise_lifecycle_change(installation, incident_id, by)
        installation.ledger.incidents.set_halted(incident_id, False, who, installation.clock())


def refuse_closed(installation: Installation, incident_id: str, *, then: str = "") -> None:
    """Raise Refused if the incident is closed; a reopened one allows `then`."""
    row = installation.ledger.incidents.get(incident_id)
    if row.is_open:
        return
    if row.mode is Mode.PLAN:  # it is not reopened
        raise Refused(
            f"{incident_id} was a plan, and is closed: it did nothing, and nothing of it goes on; "
            f"`standfast incident carry-out {incident_id}` does what it planned"
        )
    raise Refused(
        f"{incident_id} is closed: nothing of it goes on, and nothing is to stop; "
        f"`standfast incident reopen {incident_id}` opens it again{then and f', then {then}'}"
    )


def close(
    installation: Installation,
    incident_id: str,
    *,
    by: str | None = None,
    joined: int | None = None,
) -> None:
    """Close an incident.

    Raise Refused while an effect is under way or a broken glass is not reviewed.

    With `joined`, only while no more triggers than those have joined it.
    """
    who_closes = authorise_lifecycle_change(installation, incident_id, by)
    for step, who in installation.ledger.decisions.unreviewed(incident_id).items():
        raise Refused(
            f"{who} broke the glass of step {step!r} of {incident_id}, which ran on that word "
            "alone; somebody else looks at it first: "
            f"`standfast incident approve {incident_id} {step} --as PERSON`, with --refuse where "
            "it should not have been done"
        )
    installation.ledger.incidents.close(
        incident_id, who_closes, installation.clock(), joined=joined
    )
    installation.ledger.audit.sign_head(installation.clock())


def reopen(installation: Installation, incident_id: str, *, by: str | None = None) -> None:
    """Reopen a closed incident to allow undo or correction of its effects."""
    who = authorise_lifecycle_change(installation, incident_id, by)
    installation.ledger.incidents.reopen(incident_id, who, installation.clock())
    installation.ledger.audit.sign_head(installation.clock())


def look(installation: Installation, incident_id: str, *, is_verified: bool = True) -> Outcome:
    """Return the state and the standing of an incident, changing nothing."""
    runners, now = installation.ledger.runners, installation.clock()
    state = replace(
        installation.ledger.incidents.state(incident_id, is_verified=is_verified),
        time_zone=installation.config.organisation.time_zone,
        is_carried=bool(runners.alive(incident_id, now) or runners.alive(None, now)),
    )
    return Outcome(incident=incident_id, state=state, standing=standing(state))


def has_work(installation: Installation, incident_id: str) -> bool:
    """Would a runner find something to do now, or soon?"""
    state = installation.ledger.incidents.state(incident_id)
    now = installation.clock()
    if next_moves(state, now) or due_notices(installation, state, now):
        return True
    work = open_work(installation, state, now)
    return bool(work.queues or work.in_flight) or is_soon(work.next_due, now)


def open_work(installation: Installation, state: State, now: datetime) -> Work:
    """Return the moves that a runner may make now.

    In a stopped incident these are undos and look-ups.
    """
    return installation.ledger.effects.open_work(
        state.incident, now, only_undos=state.is_halted, only_looks=state.is_closed
    )


def advance(
    installation: Installation,
    incident_id: str,
    way: str,
    progress: Callable[[State], None] | None = None,
) -> Outcome:
    """Run an incident until it needs a person, a later time, or nothing.

    `way` says what runs this: prefect, serve or direct. `progress` is shown each state.
    """
    ledger, clock = installation.ledger, installation.clock
    outside = installation.outside(ledger.incidents.get(incident_id))
    with _runner(installation, incident_id, way) as runner:
        queues = EffectQueues(
            ledger=ledger, outside=outside, incident=incident_id, runner=runner, clock=clock
        )
        try:
            while True:
                now, began = clock(), time.monotonic()
                ledger.unknown_outcomes.lapse(
                    incident_id, lambda token: ledger.runners.is_dead(token, clock()), now
                )
                state = ledger.incidents.state(incident_id)
                if progress:
                    progress(state)
                if _make(installation, state, outside, now) or release_due(
                    installation, state, now
                ):
                    continue
                work = open_work(installation, state, now)
                queues.start(work)
                # Only now: who is to be locked out does not wait until customers are read.
                if _make(installation, state, outside, now, is_long=True):
                    continue
                longest = longest_wait(state, way)
                if not (
                    queues.is_busy
                    or work.in_flight
                    or is_worth_waiting(state, work.next_due, now, longest)
                ):
                    break
                queues.wait(max(_TICK_SECONDS, _WAIT_PER_LOOK * (time.monotonic() - began)))
        finally:
            queues.close()
            outside.close()
    troubles = list(queues.troubles.values())
    try:
        ledger.audit.sign_head(clock())
    except StandfastError as error:
        # What was contained stays contained, and is told, where the witness is not to be reached.
        troubles.append(error)
    outcome = look(installation, incident_id)
    return Outcome(
        incident=incident_id,
        state=outcome.state,
        standing=outcome.standing,
        troubles=tuple(dict.fromkeys(str(error) for error in troubles)),
        trouble_status=gravest(error.exit_status for error in troubles),
    )


def expand_step(
    installation: Installation, state: State, outside: Outside, step_name: str, round_: int
) -> None:
    """Plan the effects of a step; an impossible step fails with the cause."""
    while True:
        try:
            _expand_once(installation, state, outside, step_name, round_)
        except RecentLocksChanged:
            continue  # another step that locks has begun, which is counted now
        return


def _expand_once(
    installation: Installation, state: State, outside: Outside, step_name: str, round_: int
) -> None:
    ledger, incident_id = installation.ledger, state.incident
    step = state.playbook.step(step_name)
    verb = step.action or ""
    scope = scope_of(verb, incident_id)

    def token_of(target: str) -> str:
        handle = ledger.cipher.handle(scope, target)
        return effect_token(incident_id, step_name, round_, verb, handle)

    # What a trigger added is asked for by nobody who signed in, whoever opened the incident.
    is_signed = ledger.incidents.get(incident_id).is_signed and not state.joined
    own = (incident_id, step_name)  # its earlier rounds are counted by itself
    # Not below: a ledger that is away for a moment makes no step impossible.
    facts = ledger.facts.of(incident_id)
    locked = locked_today(ledger, state.mode, installation.clock(), installation.config, beside=own)
    try:
        _refuse_to_tell_too_soon(installation, step, state, facts)
        expansion = expand(
            step,
            state,
            outside,
            is_signed=is_signed,
            token_of=token_of,
            locked_today=by_directory(locked, ledger, installation.config),
        )
    except Exception as error:
        _fail(installation, incident_id, step_name, round_, error)
        return
    if verb == PROVE:
        expansion = _without_given_back(installation, incident_id, expansion)
    if round_ > 1:
        expansion = _only_new(installation, incident_id, step_name, expansion)
        if _is_empty(expansion) and state.steps[step_name].joined < state.joined:
            ledger.steps.cover(
                incident_id, step_name, round_ - 1, state.joined, installation.clock()
            )
            return
    try:
        ledger.steps.expand(
            incident_id,
            step_name,
            round_,
            expansion,
            installation.actor,
            installation.clock(),
            joined=state.joined,
            beside=locked if keeps_out(expansion.drafts, installation.config) else None,
        )
    except (StandfastError, RecentLocksChanged):
        raise  # the ledger's own: whoever runs next plans it
    except Exception as error:
        _fail(installation, incident_id, step_name, round_, error)


def _fail(
    installation: Installation, incident_id: str, step_name: str, round_: int, error: Exception
) -> None:
    """Close a step that cannot be planned, with the cause.

    The other steps still have people to lock out.
    """
    # Of what nobody foresaw only the class, for its text may quote an account.
    reason = (
        str(error)
        if isinstance(error, StandfastError)
        else f"could not be planned: unexpected {type(error).__name__}"
    )
    steps, now = installation.ledger.steps, installation.clock()
    steps.finish(incident_id, step_name, round_, StepState.FAILED, reason, now)


def _refuse_to_tell_too_soon(
    installation: Installation, step: Step, state: State, facts: Facts
) -> None:
    """Raise Refused if a rule forbids notices to the people concerned yet.

    Notices to staff are allowed.
    """
    if step.action != SEND:
        return
    audience = arguments_of(step, state)["audience"]
    if audience not in library.staff_audiences(installation.config):
        refuse_blocked(installation.config, state.incident, facts, installation.clock())


def _only_new(
    installation: Installation, incident_id: str, step_name: str, expansion: Expansion
) -> Expansion:
    """Remove effects that an earlier round of the step has planned.

    Nobody is notified or locked twice.
    """

    def new(drafts: Sequence[Draft]) -> Sequence[Draft]:
        earlier = installation.ledger.effects.planned_before(incident_id, step_name, drafts)
        return [draft for draft in drafts if (draft.verb, draft.target) not in earlier]

    if isinstance(expansion.telling, NoticePlan):
        expansion.telling.leave_out = new
        return expansion
    return replace(expansion, drafts=tuple(new(expansion.drafts)))


def _is_empty(expansion: Expansion) -> bool:
    if expansion.telling is None:
        return not expansion.drafts
    return next(expansion.telling.pages(), None) is None


def _without_given_back(
    installation: Installation, incident_id: str, expansion: Expansion
) -> Expansion:
    """Remove from a proof the accounts that this incident has unlocked.

    They are open, as they should be.
    """
    effects = installation.ledger.effects
    back = set(effects.locked_targets(incident_id, is_undone=True))
    back -= set(effects.locked_targets(incident_id))  # what was locked again is to be shut
    kept = [draft for draft in expansion.drafts if draft.target not in back]
    return replace(expansion, drafts=tuple(kept))


def _make(
    installation: Installation,
    state: State,
    outside: Outside,
    now: datetime,
    *,
    is_long: bool = False,
) -> bool:
    """Make all quick moves or one long move; return whether there was one."""
    moves = [move for move in next_moves(state, now) if _is_long(state, move) is is_long]
    for move in moves[:1] if is_long else moves:
        _make_one(installation, state, outside, move)
    return bool(moves)


def _is_long(state: State, move: Move) -> bool:
    """May it read and write a million people?"""
    if not isinstance(move, Expand):
        return False
    action = ACTIONS.get(state.playbook.step(move.step).action or "")
    return action is not None and action.is_notice


def _make_one(installation: Installation, state: State, outside: Outside, move: Move) -> None:
    steps, incident_id, now = installation.ledger.steps, state.incident, installation.clock()
    match move:
        case Expand():
            expand_step(installation, state, outside, move.step, move.round)
        case Ask():
            ask(installation, state, outside, move)
        case Escalate():
            escalate(installation, state, outside, move)
        case Open():
            installation.ledger.decisions.open_glass(incident_id, move.step, move.round, now)
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


@contextmanager
def _runner(installation: Installation, incident_id: str, way: str) -> Iterator[str]:
    """Register as a runner during the block, and renew the lease in time."""
    runners = installation.ledger.runners
    token = runners.register(incident_id, way, installation.clock())
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(LEASE.total_seconds() / 3):
            # A beat that is missed is made up for by the next: two of them fit in the lease.
            with suppress(StandfastError):
                runners.beat(token, incident_id, installation.clock())

    heart = threading.Thread(target=beat, name=f"heart-{incident_id}", daemon=True)
    heart.start()
    try:
        yield token
    finally:
        is_over.set()
        heart.join()
        runners.retire(token, incident_id, installation.clock())
