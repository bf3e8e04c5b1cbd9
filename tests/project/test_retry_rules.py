"""Retry rules: bounded repetitions, and never a blind one."""

from datetime import UTC, datetime, timedelta

import pytest

from standfast.records import EffectState, Observed, Result
from standfast.retry_rules import (
    MOST_TRIES,
    after_call,
    after_failed_prior_observation,
    after_observation,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def result(state: EffectState, **fields: object) -> Result:
    return Result(target="agents:a", state=state, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pause_seconds", "tries", "due"),
    [(5.0, 1, 5.0), (-1.0, 1, 0.0), (1e9, 1, 86_400.0), (None, 1, None), (5.0, MOST_TRIES, None)],
)
def test_failed_call_is_repeated_when_asked(
    pause_seconds: float | None, tries: int, due: float | None
) -> None:
    failed = result(EffectState.FAILED, retry_after_seconds=pause_seconds)
    verdict = after_call(failed, tries=tries, now=NOW, has_failover=False)
    if due is None:
        assert (verdict.state, verdict.not_before) == (EffectState.FAILED, None)
    else:
        not_before = NOW + timedelta(seconds=due)
        assert (verdict.state, verdict.not_before) == (EffectState.PLANNED, not_before)


def test_untried_call_does_not_count() -> None:
    untried = result(EffectState.FAILED, retry_after_seconds=1.0, is_untried=True)
    assert after_call(untried, tries=MOST_TRIES, now=NOW, has_failover=False).tries < MOST_TRIES


@pytest.mark.parametrize("state", list(EffectState))
@pytest.mark.parametrize("may_go_elsewhere", [False, True])
def test_failover_takes_only_certain_failures(state: EffectState, may_go_elsewhere: bool) -> None:
    ended = result(state, may_go_elsewhere=may_go_elsewhere)
    verdict = after_call(ended, tries=3, now=NOW, has_failover=True)
    is_refused_here = state is EffectState.REFUSED and may_go_elsewhere
    assert verdict.is_handed_on == (state is EffectState.FAILED or is_refused_here)


@pytest.mark.parametrize(
    ("happened", "tries", "is_parked", "state"),
    [
        (True, 1, False, EffectState.DONE),
        (False, 1, False, EffectState.PLANNED),
        (False, MOST_TRIES, False, EffectState.FAILED),
        (False, MOST_TRIES, True, EffectState.PLANNED),
        (None, 1, False, EffectState.UNKNOWN),
    ],
)
def test_observation_settles_an_unknown_outcome(
    happened: bool | None, tries: int, is_parked: bool, state: EffectState
) -> None:
    seen = Observed(target="agents:a", happened=happened)
    verdict = after_observation(seen, tries=tries, submitted_at=NOW, now=NOW, is_parked=is_parked)
    assert verdict.state is state
    assert verdict.is_parked == (happened is None)


def test_failed_observations_wait_twice_as_long() -> None:
    seen = Observed(target="agents:a", is_readable=False)
    now = NOW
    pauses = []
    for _ in range(4):
        verdict = after_observation(seen, tries=1, submitted_at=NOW, now=now, is_parked=False)
        assert verdict.state is EffectState.UNKNOWN
        assert verdict.not_before is not None
        pauses.append((verdict.not_before - now).total_seconds())
        now = verdict.not_before
    assert pauses == [2, 2, 4, 8]


def test_prior_state_reads_are_bounded() -> None:
    tries, reads = 0, 0
    while True:
        verdict = after_failed_prior_observation(tries=tries, now=NOW)
        tries, reads = verdict.tries, reads + 1
        if verdict.state is not EffectState.PLANNED:
            break
    assert (verdict.state, reads) == (EffectState.FAILED, MOST_TRIES)
