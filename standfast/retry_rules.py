"""Retry rules for calls and observations of effects: number and pauses.

    verdict = after_call(result, tries=2, now=now, has_failover=False)
    verdict.state, verdict.not_before

Rules
- A failed call is repeated only if its adapter names a pause, and at most `MOST_TRIES` times. A
  call that ended before its turn is not counted.
- An effect that failed permanently, or that only this sender refused, goes to the failover sender
  as its first attempt. An effect with an unknown outcome never does.
- An unknown outcome is never repeated blindly. It is looked up once its call can no longer arrive.
  An effect that did not happen is planned again, at most `MOST_TRIES` times; one whose outcome
  cannot be determined waits for a person.
- A failed lookup is repeated, each time after twice the time.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from standfast.records import EffectState, Limits, Observed, Result

MOST_TRIES = 5
# Pauses that adapters ask for when the provider names none.
RETRY_SECONDS = 1.0
REPLICA_SECONDS = 5.0  # until every replica of a directory has applied a change
AUDIENCE_SECONDS = 5.0  # a list of recipients that another program locks
OTHER_COLLECTOR_SECONDS = 30.0  # evidence that another runner collects
COPY_STORE_SECONDS = 60.0  # the second copy of evidence
# A directory under the control of an attacker must not postpone a lock until next week.
LONGEST_RETRY_AFTER_SECONDS = 300.0
LONGEST_PAUSE_SECONDS = 86_400.0  # whatever an adapter requests
OBSERVE_AGAIN = timedelta(seconds=2)
SETTLE_FACTOR = 1.5  # times its time-out, a call can no longer arrive

# While a runner works on an incident.
LONGEST_WAIT = timedelta(minutes=3)  # beyond it, `serve` or the next command continues
LONGEST_WHILE_ASKED = timedelta(seconds=5)  # for a mail relay, while a person has a question
RECEIPT_PAUSES_SECONDS = (0.1, 0.4, 1.6, 6.4)  # between writes of a receipt to a lost ledger
MOST_LEDGER_FAILURES = 5  # after which a queue is abandoned


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The next state of an effect, and when it is due."""

    state: EffectState
    tries: int
    not_before: datetime | None = None
    is_parked: bool = False  # UNKNOWN only: a person must report the outcome
    is_handed_on: bool = False  # it goes to the failover sender
    reason: str | None = None  # replaces the reason of the result


def settles_at(limits: Limits, submitted_at: datetime) -> datetime:
    """Return when a call that was submitted then can no longer arrive."""
    return submitted_at + timedelta(seconds=limits.timeout_seconds * SETTLE_FACTOR)


def after_call(result: Result, *, tries: int, now: datetime, has_failover: bool) -> Verdict:
    """Return what follows a call; `tries` includes it."""
    # A slow directory handles some accounts of a batch last; those must not use up their tries.
    tries -= result.is_untried
    pause = result.retry_after_seconds
    is_failed = result.state is EffectState.FAILED
    if is_failed and pause is not None and tries < MOST_TRIES:
        seconds = min(max(pause, 0.0), LONGEST_PAUSE_SECONDS)
        due = now + timedelta(seconds=seconds)
        return Verdict(state=EffectState.PLANNED, tries=tries, not_before=due)
    is_refused_here = result.state is EffectState.REFUSED and result.may_go_elsewhere
    if has_failover and (is_failed or is_refused_here):
        return Verdict(state=EffectState.PLANNED, tries=0, is_handed_on=True)
    is_parked = result.state is EffectState.UNKNOWN and result.only_a_person_can_tell
    return Verdict(state=result.state, tries=tries, is_parked=is_parked)


def after_observation(
    seen: Observed, *, tries: int, submitted_at: datetime, now: datetime, is_parked: bool
) -> Verdict:
    """Return what follows an observation of an unknown outcome.

    `is_parked`: a person reported the outcome, so the number of tries does not count.
    """
    if not seen.is_readable:
        due = now + max(OBSERVE_AGAIN, now - submitted_at)
        return Verdict(
            state=EffectState.UNKNOWN, tries=tries, not_before=due, reason=_REASONS[seen.happened]
        )
    state = _STATES[seen.happened]
    if state is EffectState.PLANNED and tries >= MOST_TRIES and not is_parked:
        reason = f"tried {tries} times, and each lookup showed that it did not happen"
        return Verdict(state=EffectState.FAILED, tries=tries, reason=reason)
    return Verdict(
        state=state,
        tries=tries,
        is_parked=state is EffectState.UNKNOWN,
        reason=_REASONS[seen.happened],
    )


def after_failed_prior_observation(*, tries: int, now: datetime) -> Verdict:
    """Return what follows a failure to read the prior state."""
    tries += 1
    if tries < MOST_TRIES:
        return Verdict(state=EffectState.PLANNED, tries=tries, not_before=now + OBSERVE_AGAIN)
    return Verdict(state=EffectState.FAILED, tries=tries)


_STATES = {True: EffectState.DONE, False: EffectState.PLANNED, None: EffectState.UNKNOWN}
_REASONS = {
    True: "looked up after an interruption: it had happened",
    False: "looked up after an interruption: it had not happened",
    None: "the outcome cannot be looked up. A person must report it.",
}
