"""Recovery times are predicted from the times and bytes of past drills."""

import random
from dataclasses import dataclass

import pytest

from standfast.continuity.recovery_prediction import (
    DrillTimes,
    Prediction,
    predict_services,
    predict_set,
)

GB = 10**9


@dataclass(frozen=True)
class Service:
    sets: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    rto_minutes: int = 60


def times(
    size_bytes: int, restore_ms: int, rest_ms: int | None = 0, fixed_ms: int = 100
) -> DrillTimes:
    return DrillTimes(
        size_bytes=size_bytes, fixed_ms=fixed_ms, restore_ms=restore_ms, rest_ms=rest_ms
    )


def of(expected_ms: int, shortest_ms: int, longest_ms: int, *, has_rest: bool = True) -> Prediction:
    return Prediction(
        expected_ms=expected_ms,
        shortest_ms=shortest_ms,
        longest_ms=longest_ms,
        drill_count=3,
        has_rest=has_rest,
    )


def test_prediction_grows_with_bytes_except_the_fixed_time() -> None:
    found = predict_set([times(GB, 10_000, rest_ms=2_000)], 3 * GB)
    assert found is not None
    assert found.expected_ms == 100 + 30_000 + 6_000
    assert not found.has_range


def test_prediction_is_median_and_range() -> None:
    drills = [times(GB, restore_ms) for restore_ms in (10_000, 30_000, 11_000)]
    found = predict_set(drills, GB)
    assert found is not None
    assert (found.shortest_ms, found.expected_ms, found.longest_ms) == (10_100, 11_100, 30_100)
    assert found.drill_count == 3


def simulated(chance: random.Random, size_bytes: int, *, is_sample: bool = False) -> DrillTimes:
    """Simulate a recovery at 100 MB a second, with times that vary."""
    fixed_ms, restore_ms, rest_ms = (
        round(usual_ms * chance.lognormvariate(0, 0.2))
        for usual_ms in (1_000, size_bytes / 10**5, size_bytes / 10**5 / 3)
    )
    return times(size_bytes, restore_ms, None if is_sample else rest_ms, fixed_ms)


@pytest.mark.parametrize(
    ("drills", "samples", "level"),
    [(2, 0, 1 / 3), (4, 0, 3 / 5), (20, 0, 19 / 21), (10, 10, 19 / 21), (2, 18, 0.87)],
)
def test_range_contains_later_recoveries(drills: int, samples: int, level: float) -> None:
    chance, cases = random.Random(1), 1_000
    hits = 0
    for _ in range(cases):
        sizes = [chance.randint(50, 100) * GB // 100 for _ in range(drills + samples)]
        past = [simulated(chance, size, is_sample=n >= drills) for n, size in enumerate(sizes)]
        size_bytes = chance.randint(50, 200) * GB // 100
        found, later = predict_set(past, size_bytes), simulated(chance, size_bytes)
        assert found is not None
        assert later.rest_ms is not None
        took_ms = later.fixed_ms + later.restore_ms + later.rest_ms
        hits += found.shortest_ms <= took_ms <= found.longest_ms
    assert hits / cases == pytest.approx(level, abs=0.04)


def test_sample_alone_predicts_no_load_and_checks() -> None:
    found = predict_set([times(GB, 1_000, rest_ms=None)], 100 * GB)
    assert found is not None
    assert found.expected_ms == 100_100
    assert not found.has_rest


def test_load_of_complete_drill_is_added_to_samples() -> None:
    drills = [times(GB, 10_000, rest_ms=5_000), times(GB, 20_000, rest_ms=None)]
    found = predict_set(drills, GB)
    assert found is not None
    assert (found.shortest_ms, found.longest_ms) == (15_100, 25_100)
    assert found.has_rest


def test_small_samples_yield_to_larger_drills() -> None:
    drills = [times(GB // 100, 9_000, rest_ms=None), times(GB, 10_000)]
    found = predict_set(drills, GB)
    assert found is not None
    assert (found.longest_ms, found.drill_count) == (10_100, 1)


def test_set_without_drill_has_no_prediction() -> None:
    assert predict_set([], GB) is None


def test_service_waits_for_dependencies_and_longest_set() -> None:
    services = {
        "crm": Service(sets=("crm", "files"), depends_on=("telephony", "power")),
        "telephony": Service(sets=("calls",)),
        "power": Service(),
    }
    sets = {"crm": of(10, 8, 20), "files": of(5, 5, 40), "calls": of(100, 90, 110)}
    found = predict_services(services, sets)
    assert list(found) == ["telephony", "crm"]
    assert found["telephony"] == of(100, 90, 110)
    assert found["crm"] == of(110, 98, 150)


@pytest.mark.parametrize("missing", ["crm", "calls"])
def test_service_needs_predictions_of_all_sets(missing: str) -> None:
    services = {
        "crm": Service(sets=("crm",), depends_on=("telephony",)),
        "telephony": Service(sets=("calls",)),
    }
    sets = {"crm": of(10, 8, 20), "calls": of(100, 90, 110)}
    del sets[missing]
    assert "crm" not in predict_services(services, sets)
