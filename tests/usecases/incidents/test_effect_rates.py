"""Rates of calls: a burst is never larger than the token bucket."""

import pytest

from standfast.records import Limits
from standfast.usecases.incidents.effect_queues import Bucket, Pace


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

    bucket = Bucket(20.0, 18, monotonic=lambda: now, sleep=sleep)
    for _ in range(3):
        bucket.take(9)
    bucket.return_tokens(4)
    bucket.take(9)
    assert slept == pytest.approx([0.45, 0.7])


def test_idle_bucket_fills_to_its_burst() -> None:
    moments = iter([0.0, 3600.0, 3600.0])
    slept: list[float] = []
    bucket = Bucket(20.0, 18, monotonic=lambda: next(moments), sleep=slept.append)
    bucket.return_tokens(100)
    bucket.take(18)
    assert slept == []
    bucket.take(2)
    assert slept == pytest.approx([0.1])
