"""Retry rules for calls and observations of effects: number and pauses.

    verdict = after_call(result, tries=2, now=now, has_failover=False)
    verdict.state, verdict.not_before

An effect is one change of one target, such as one locked account or one message. An adapter is the
code that calls one provider; a call may contain several effects. An observation looks up whether an
effect happened.

Rules
- A failed call is repeated only if its adapter names a pause, and at most `MOST_TRIES` times. If a
  call ended before it reached an effect, it does not count as a try of this effect.
- A sender of messages may have a failover sender, which replaces it. A message that failed
  permanently, or that only this sender refused, is sent by the failover sender, with a new count of
  tries. A message with an unknown outcome is not: the recipient might receive it twice.
- An unknown outcome is never repeated blindly. The outcome is looked up when the call can no longer
  arrive. If the effect did not happen, it is tried again, at most `MOST_TRIES` times. If the
  outcome cannot be determined, the effect waits for a person.
- A failed lookup is repeated, and each pause is twice as long as the pause before.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from standfast.records import EffectState, Limits, Observed, Result

MOST_TRIES = 5
# Pauses that adapters ask for when the provider names none.
RETRY_SECONDS = 1.0
REPLICA_SECONDS = 5.0  # pause until every replica of a directory has applied a change
AUDIENCE_SECONDS = 5.0  # pause while another program locks a list of recipients
OTHER_COLLECTOR_SECONDS = 30.0  # pause while another process collects the evidence
COPY_STORE_SECONDS = 60.0  # pause between attempts to write the second copy of evidence
# A directory that an attacker controls must not delay a lock for a week by its Retry-After.
LONGEST_RETRY_AFTER_SECONDS = 300.0
LONGEST_PAUSE_SECONDS = 86_400.0  # longest pause, even if an adapter requests more
OBSERVATION_PAUSE = timedelta(seconds=2)
SETTLE_FACTOR = 1.5  # after this multiple of its time limit, a call can no longer arrive

# Longest pauses of a process that executes an incident. Before a longer pause, the process ends;
# `serve` or the next command continues later.
LONGEST_WAIT = timedelta(minutes=3)
LONGEST_WAIT_FOR_PERSON = timedelta(seconds=5)  # while a step waits for a person
# Pauses between attempts to store a result while the ledger (the database) is unreachable.
RECEIPT_PAUSES_SECONDS = (0.1, 0.4, 1.6, 6.4)
MOST_LEDGER_FAILURES = 5  # attempts; after them, the remaining effects wait for the next process


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The next state of an effect, and when it is due."""

    state: EffectState
    tries: int
    not_before: datetime | None = None
    is_parked: bool = False  # UNKNOWN only: it is not looked up; a person must report the outcome
    is_handed_on: bool = False  # the failover sender tries next
    reason: str | None = None  # if set, replaces the reason of the result


def settles_at(limits: Limits, submitted_at: datetime) -> datetime:
    """Return the time after which a submitted call can no longer arrive."""
    return submitted_at + timedelta(seconds=limits.timeout_seconds * SETTLE_FACTOR)


def after_call(result: Result, *, tries: int, now: datetime, has_failover: bool) -> Verdict:
    """Return the verdict after a call; `tries` includes this call."""
    # A slow provider may not reach the last targets in time; this must not use up their tries.
    if result.is_untried:
        tries -= 1
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
    """Return the verdict after an observation of an unknown outcome.

    `is_parked` is the value of the previous verdict. If it is true, `seen` is a person's report,
    and the effect may be tried again even after `MOST_TRIES`.
    """
    if not seen.is_readable:
        due = now + max(OBSERVATION_PAUSE, now - submitted_at)
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
    """Return the verdict after a failure to read the target before the change."""
    tries += 1
    if tries < MOST_TRIES:
        return Verdict(state=EffectState.PLANNED, tries=tries, not_before=now + OBSERVATION_PAUSE)
    return Verdict(state=EffectState.FAILED, tries=tries)


_STATES = {True: EffectState.DONE, False: EffectState.PLANNED, None: EffectState.UNKNOWN}
_REASONS = {
    True: "looked up after an interruption: it had happened",
    False: "looked up after an interruption: it had not happened",
    None: "the outcome cannot be looked up. A person must report it.",
}
