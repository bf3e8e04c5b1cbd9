"""Life cycle of an incident: open, advance, stop, close, reopen.

Rules
- Opening is one commit to the ledger (the database of incidents); no other system needs to be up.
- Any number of runners (processes that execute incidents) may call `advance` at the same time and
  repeatedly: the function keeps no state between two reads of the ledger.
- `advance` returns when the incident waits for a person, or for a time that is further away than
  the longest wait of a runner (see `runner_waiting`).
- `by` is the name of a person who signed in to Standfast.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime

from standfast.adapters.factory import Adapters
from standfast.errors import Refused, StandfastError, UsageError
from standfast.ledger.effects.effect_store import Work
from standfast.ledger.incidents.trigger_messages import TriggerMessage
from standfast.ledger.runs.run_store import LEASE
from standfast.playbook.actions import ACTIONS
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
from standfast.playbook.model import InputType, Playbook
from standfast.playbook.parser.input_values import load_inputs
from standfast.playbook.parser.playbook_file import load
from standfast.playbook.run_state import State
from standfast.playbook.status.next_step import summarise_status
from standfast.records import Mode, StepState
from standfast.usecases.core.installation import Installation
from standfast.usecases.incidents.approval_escalation import ask, escalate
from standfast.usecases.incidents.effect_queues import EffectQueues
from standfast.usecases.incidents.lifecycle_permission import authorise_lifecycle_change
from standfast.usecases.incidents.outcome import Outcome, most_serious_status
from standfast.usecases.incidents.runner_waiting import is_soon, is_worth_waiting, longest_wait
from standfast.usecases.incidents.step_expansion import expand_step
from standfast.usecases.notices.staged_sending import due_notices, release_due
from standfast.usecases.playbooks import library

_TICK_SECONDS = 0.1
# Between two reads of the ledger, wait for this multiple of the duration of the last read. A read
# takes half a second with 100,000 recipients.
_WAIT_FACTOR = 9


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The result of opening an incident."""

    incident: str
    has_joined: bool  # the request repeats a message or names the accounts of this open incident
    lacking: int = 0  # items in the message of a trigger (such as a webhook) without a value
    is_stopped: bool = False  # the joined incident had been stopped by a person, so nothing runs


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
    playbook: Playbook | None = None,
) -> Opened:
    """Commit an incident to the ledger without calling another system.

    `opened_by` is the name of a person who signed in. Without it, the operating system's user is
    recorded, and each step that needs approvals needs one more approval. `message` (of a trigger)
    is committed with the incident; a repeated message returns the same incident.
    `as_read` is the text of the playbook (the file with the steps) that the caller read: raise
    Refused if it has changed. `playbook` is the parsed playbook, if the caller has it already.
    """
    if playbook is None:
        playbook = library.find(installation.config, scenario, is_rehearsed=mode is Mode.EXERCISE)
    if as_read not in (None, playbook.source):
        raise Refused(
            f"playbook {scenario}: edited after it was read. Nothing was done; run the same "
            "command again."
        )
    typed = load_inputs(playbook, inputs)
    incident_id, has_joined = installation.ledger.incidents.open(
        scenario=scenario,
        mode=mode,
        playbook=playbook.source,
        adapters=library.adapters(installation.config),
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


def add_to_incident(
    installation: Installation,
    incident_id: str,
    inputs: Mapping[str, str | list[str]],
    *,
    by: str | None = None,
) -> int:
    """Add accounts to an open incident; return how many are new.

    The steps are planned again for the new accounts. Each step that needs approvals then needs one
    more approval, because the person who opened the incident did not sign for the new accounts.
    Raise UsageError if the input is not a list of accounts.
    """
    refuse_closed(installation, incident_id, then="add the accounts")
    row = installation.ledger.incidents.get(incident_id)
    playbook = load(row.playbook, row.scenario)
    lists = _account_lists(playbook)
    if not inputs or not inputs.keys() <= {*lists}:
        raise UsageError(
            f"incident {incident_id}: only lists of accounts can grow "
            f"({', '.join(lists) or 'its playbook has none'}). Add --input NAME=ACCOUNTS."
        )
    typed = load_inputs(
        replace(playbook, inputs=tuple(given for given in playbook.inputs if given.name in inputs)),
        inputs,
    )
    return installation.ledger.incidents.add(
        incident_id, typed, by or installation.actor, installation.clock(), is_signed=bool(by)
    )


def account_lists(installation: Installation, incident_id: str) -> list[str]:
    """Return the inputs of an incident that are lists of accounts."""
    row = installation.ledger.incidents.get(incident_id)
    return _account_lists(load(row.playbook, row.scenario))


def _account_lists(playbook: Playbook) -> list[str]:
    return sorted(given.name for given in playbook.inputs if given.type is InputType.ACCOUNTS)


def stop(installation: Installation, incident_id: str, *, by: str | None = None) -> None:
    """Stop an incident; calls in progress end, and their results are recorded.

    A runner then looks up results that are unknown; `wait_until_still` does so in this process.
    """
    refuse_closed(installation, incident_id)
    who = authorise_lifecycle_change(installation, incident_id, by, needs_role=False)
    installation.ledger.incidents.set_stopped(incident_id, True, who, installation.clock())


def wait_until_still(installation: Installation, incident_id: str) -> Outcome:
    """Wait for the calls of a stopped incident; look up unknown outcomes."""
    return advance(installation, incident_id, "direct")


def resume(installation: Installation, incident_id: str, *, by: str | None = None) -> None:
    """Resume an incident; do nothing if it is not stopped."""
    refuse_closed(installation, incident_id)
    if installation.ledger.incidents.is_stopped(incident_id):
        who = authorise_lifecycle_change(installation, incident_id, by)
        installation.ledger.incidents.set_stopped(incident_id, False, who, installation.clock())


def refuse_closed(installation: Installation, incident_id: str, *, then: str = "") -> None:
    """Raise Refused for a closed incident.

    `then` names the refused action in words. The message advises this action after the reopening.
    """
    row = installation.ledger.incidents.get(incident_id)
    if row.is_open:
        return
    if row.mode is Mode.PLAN:  # a closed plan cannot be reopened
        raise Refused(
            f"incident {incident_id}: a closed plan. To execute it, run `standfast incident "
            f"carry-out {incident_id}`."
        )
    raise Refused(
        f"incident {incident_id}: closed. Run `standfast incident reopen {incident_id}`"
        f"{then and f', then {then}'}."
    )


def close(
    installation: Installation,
    incident_id: str,
    *,
    by: str | None = None,
    joined: int | None = None,
) -> None:
    """Close an incident.

    Raise Refused while a call is in progress, and while a break-glass approval (by one person
    alone) is not reviewed. Raise Refused also if targets were added more than `joined` times,
    because the caller has not seen the last addition.
    """
    who_closes = authorise_lifecycle_change(installation, incident_id, by)
    for step, who in installation.ledger.decisions.unreviewed(incident_id).items():
        raise Refused(
            f"step {step!r} of {incident_id}: it ran with the break-glass approval of {who}, which "
            "nobody has reviewed. Another person runs `standfast incident approve "
            f"{incident_id} {step} --as PERSON`, with --refuse if it was wrong."
        )
    installation.ledger.incidents.close(
        incident_id, who_closes, installation.clock(), joined=joined
    )
    installation.ledger.audit.sign_head(installation.clock())


def reopen(installation: Installation, incident_id: str, *, by: str | None = None) -> None:
    """Reopen a closed incident, for example to undo locks or correct a notice."""
    who = authorise_lifecycle_change(installation, incident_id, by)
    installation.ledger.incidents.reopen(incident_id, who, installation.clock())
    installation.ledger.audit.sign_head(installation.clock())


def look(installation: Installation, incident_id: str, *, must_verify: bool = True) -> Outcome:
    """Return the state of an incident, and the summary of its status."""
    runners, now = installation.ledger.runners, installation.clock()
    state = replace(
        installation.ledger.incidents.state(incident_id, must_verify=must_verify),
        time_zone=installation.config.organisation.time_zone,
        has_runner=bool(runners.live(incident_id, now) or runners.live(None, now)),
    )
    return Outcome(incident=incident_id, state=state, summary=summarise_status(state))


def has_work(installation: Installation, incident_id: str) -> bool:
    """Return whether a runner would find work now or soon."""
    state = installation.ledger.incidents.state(incident_id)
    now = installation.clock()
    if next_moves(state, now) or due_notices(installation, state, now):
        return True
    work = open_work(installation, state, now)
    return bool(work.queues or work.in_flight) or is_soon(work.next_due, now)


def open_work(installation: Installation, state: State, now: datetime) -> Work:
    """Return the effects that a runner may process now.

    An effect is one act on one target, such as the lock of one account. In a stopped incident, a
    runner may process only undos and look-ups. In a closed incident, it may process only look-ups.
    """
    return installation.ledger.effects.open_work(
        state.incident, now, only_undos=state.is_stopped_or_closed, only_looks=state.is_closed
    )


def advance(
    installation: Installation,
    incident_id: str,
    way: str,
    progress: Callable[[State], None] | None = None,
) -> Outcome:
    """Run an incident until it ends or needs a person or a later time.

    `way` is the kind of runner: prefect, serve or direct. `progress` is called with each state.
    """
    ledger, clock = installation.ledger, installation.clock
    adapters = installation.adapters_for(ledger.incidents.get(incident_id))
    with _runner(installation, incident_id, way) as runner:
        queues = EffectQueues(
            ledger=ledger, adapters=adapters, incident=incident_id, runner=runner, clock=clock
        )
        try:
            while True:
                now, began = clock(), time.monotonic()
                ledger.unknown_outcomes.expire_calls(
                    incident_id, lambda token: ledger.runners.is_dead(token, clock()), now
                )
                state = ledger.incidents.state(incident_id)
                if progress:
                    progress(state)
                if _apply_moves(installation, state, adapters, now) or release_due(
                    installation, state, now
                ):
                    continue
                work = open_work(installation, state, now)
                queues.start(work)
                # Plan notices last: a lock must not wait until all recipients are read.
                if _apply_moves(installation, state, adapters, now, is_long=True):
                    continue
                longest = longest_wait(state, way)
                if not (
                    queues.is_busy
                    or work.in_flight
                    or is_worth_waiting(state, work.next_due, now, longest)
                ):
                    break
                queues.wait(max(_TICK_SECONDS, _WAIT_FACTOR * (time.monotonic() - began)))
        finally:
            queues.close()
            adapters.close()
    troubles = list(queues.troubles.values())
    try:
        ledger.audit.sign_head(clock())
    except StandfastError as error:
        # The witness (the copy of the signatures on another machine) may be unreachable.
        troubles.append(error)
    outcome = look(installation, incident_id)
    return Outcome(
        incident=incident_id,
        state=outcome.state,
        summary=outcome.summary,
        troubles=tuple(dict.fromkeys(str(error) for error in troubles)),
        trouble_status=most_serious_status(error.exit_status for error in troubles),
    )


def _apply_moves(
    installation: Installation,
    state: State,
    adapters: Adapters,
    now: datetime,
    *,
    is_long: bool = False,
) -> bool:
    """Carry out all quick moves, or one long move; return whether any existed.

    A move is a transition of a step, as `next_moves` returns it.
    """
    moves = [move for move in next_moves(state, now) if _is_long(state, move) is is_long]
    for move in moves[:1] if is_long else moves:
        _apply_move(installation, state, adapters, move)
    return bool(moves)


def _is_long(state: State, move: Move) -> bool:
    """Return whether a move may read and write a million rows."""
    if not isinstance(move, Expand):
        return False
    action = ACTIONS.get(state.playbook.step(move.step).action or "")
    return action is not None and action.is_notice


def _apply_move(installation: Installation, state: State, adapters: Adapters, move: Move) -> None:
    steps, incident_id, now = installation.ledger.steps, state.incident, installation.clock()
    match move:
        case Expand():
            expand_step(installation, state, adapters, move.step, move.round)
        case Ask():
            ask(installation, state, adapters, move)
        case Escalate():
            escalate(installation, state, adapters, move)
        case Open():
            installation.ledger.decisions.start_after_delay(incident_id, move.step, move.round, now)
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
            # One failed renewal does no harm: the lease lasts three intervals.
            with suppress(StandfastError):
                runners.extend_lease(token, incident_id, installation.clock())

    heart = threading.Thread(target=beat, name=f"heart-{incident_id}", daemon=True)
    heart.start()
    try:
        yield token
    finally:
        is_over.set()
        heart.join()
        runners.retire(token, incident_id, installation.clock())
