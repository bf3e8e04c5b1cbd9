"""Rates of calls: a burst is never larger than the token bucket."""

import time
from pathlib import Path

import pytest

from standfast.records import Limits
from standfast.usecases.incidents.effect_queues import Pace, TokenBucket
from tests.usecases.twins import ACCOUNTS, Twins, simulated_installation, twin_directory


@pytest.mark.parametrize(
    ("batch", "burst", "most"),
    [(128, 20, 18), (10, 20, 10), (1, 1, 1), (128, 1, 1)],
)
def test_no_call_carries_more_than_the_bucket_holds(batch: int, burst: int, most: int) -> None:
    pace = Pace(Limits(batch=batch, per_second=20.0, burst=burst))
    assert pace.most_a_call == most


def test_without_rate_calls_are_full() -> None:
    assert Pace(Limits(batch=128, burst=20)).most_a_call == 128


def test_burst_excess_waits() -> None:
    now, slept = 0.0, []

    def sleep(seconds: float) -> None:
        slept.append(seconds)

    bucket = TokenBucket(20.0, 18, monotonic=lambda: now, sleep=sleep)
    for _ in range(3):
        bucket.take(9)
    bucket.return_tokens(4)
    bucket.take(9)
    assert slept == pytest.approx([0.45, 0.7])


def test_runners_share_rate_and_burst() -> None:
    now, slept = 0.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        slept.append(seconds)

    bucket = TokenBucket(20.0, 18, monotonic=lambda: now, sleep=sleep)
    bucket.share_among(2)
    bucket.take(9)
    bucket.take(9)
    assert slept == pytest.approx([0.9])
    bucket.share_among(1)
    bucket.take(10)
    assert slept == pytest.approx([0.9, 0.5])


def test_idle_bucket_fills_to_its_burst() -> None:
    moments = iter([0.0, 3600.0, 3600.0])
    slept: list[float] = []
    bucket = TokenBucket(20.0, 18, monotonic=lambda: next(moments), sleep=slept.append)
    bucket.return_tokens(100)
    bucket.take(18)
    assert slept == []
    bucket.take(2)
    assert slept == pytest.approx([0.1])


def test_second_live_runner_halves_the_rate(tmp_path: Path) -> None:
    directory = twin_directory(limits=Limits(batch=1, workers=16, per_second=10.0, burst=1))
    with simulated_installation(tmp_path, twins=Twins(directory=directory)) as installation:
        other = installation.open("lock", ["agents:agent06"])
        installation.ledger.runners.register(other, "serve", installation.clock())
        case = installation.open("lock", [f"agents:{name}" for name in ACCOUNTS])
        began = time.monotonic()
        installation.advance(case)
        assert time.monotonic() - began >= (len(ACCOUNTS) - 1) / 5.0
        assert not any(directory.is_enabled(name) for name in ACCOUNTS)
