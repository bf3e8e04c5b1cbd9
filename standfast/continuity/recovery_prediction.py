"""Prediction of recovery times from past drills.

A drill is a test restore of a backup set. In the model, a recovery takes a fixed time, and a time
that is proportional to the restored bytes.

Rules
- The fixed time of a drill ends at the first restored byte. The rest of its time is proportional to
  the bytes of the recovery point: restore, load of databases, and checks.
- From each drill, one recovery time is estimated for the size of the newest backup. The prediction
  is the median of the estimates. Its range is from the shortest to the longest estimate.
- If the times vary only by chance, the range of n complete drills contains the time of a later
  recovery with the probability (n - 1) / (n + 1).
- A drill of a sample of the files measures only the restore, without load and checks. Its time for
  load and checks is assumed to be the median of the complete drills. If there is no complete drill,
  the prediction excludes load and checks, and states this.
- If a drill restored only a small part, errors of its measured times are multiplied in the
  estimate. Therefore a drill is used only if it restored at least half as many bytes as the largest
  of the given drills.
- A service is usable when its backup sets and its dependencies are usable. All sets of one wave
  (group of independent services) are restored at the same time. The prediction does not consider
  how much these restores slow each other down.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from standfast.continuity.service_order import ServiceObjective, recovery_order

_SMALLEST_SHARE = 0.5  # minimum share of the bytes of the largest drill


@dataclass(frozen=True, kw_only=True)
class DrillTimes:
    """The measured times of one past drill of a set."""

    size_bytes: int
    fixed_ms: int  # from the moment when the private key was read to the first restored byte
    restore_ms: int  # from the first restored byte until the data is complete
    rest_ms: int | None  # load and checks; None for a sample


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The expected recovery time of a set or a service, with its range."""

    expected_ms: int
    shortest_ms: int
    longest_ms: int
    drill_count: int  # number of complete drills and samples that it is computed from
    has_rest: bool  # True if the time includes the load of databases and the checks

    @property
    def has_range(self) -> bool:
        """Return whether several drills show how much the times vary."""
        return self.drill_count > 1


class Restorable(ServiceObjective, Protocol):
    """A service and its backup sets, as in `[services.NAME]`."""

    @property
    def sets(self) -> tuple[str, ...]: ...


def predict_set(drills: Sequence[DrillTimes], size_bytes: int) -> Prediction | None:
    """Predict the recovery of a set with `size_bytes`; None without a drill."""
    smallest = max((drill.size_bytes for drill in drills), default=0) * _SMALLEST_SHARE
    used = [drill for drill in drills if drill.size_bytes >= smallest]
    rests = [
        drill.rest_ms * _growth(drill, size_bytes) for drill in drills if drill.rest_ms is not None
    ]
    usual_rest = median(rests) if rests else 0.0
    estimates = [_estimate(drill, size_bytes, usual_rest) for drill in used]
    if not estimates:
        return None
    return Prediction(
        expected_ms=round(median(estimates)),
        shortest_ms=round(min(estimates)),
        longest_ms=round(max(estimates)),
        drill_count=len(estimates),
        has_rest=bool(rests),
    )


def predict_services(
    services: Mapping[str, Restorable], sets: Mapping[str, Prediction]
) -> dict[str, Prediction]:
    """Predict the services that have a backup set, in the order of recovery.

    `sets` has the predictions of the sets. A service is omitted if one of its sets or dependencies
    has no prediction.
    """
    usable: dict[str, Prediction] = {}
    set_ends: dict[str, Prediction] = {}  # times of the sets, from the start of the whole recovery
    for wave in recovery_order(services):
        begin = _latest_end(tuple(set_ends.values()))
        for name in dict.fromkeys(name for service in wave for name in services[service].sets):
            if name in sets and name not in set_ends:
                set_ends[name] = _after(begin, sets[name])
        for name in wave:
            service = services[name]
            if all(part in set_ends for part in service.sets) and all(
                other in usable for other in service.depends_on
            ):
                parts = [set_ends[part] for part in service.sets]
                usable[name] = _latest_end(
                    [*parts, *(usable[other] for other in service.depends_on)]
                )
    return {name: found for name, found in usable.items() if services[name].sets}


def _estimate(drill: DrillTimes, size_bytes: int, usual_rest: float) -> float:
    growth = _growth(drill, size_bytes)
    rest = usual_rest if drill.rest_ms is None else drill.rest_ms * growth
    return drill.fixed_ms + drill.restore_ms * growth + rest


def _growth(drill: DrillTimes, size_bytes: int) -> float:
    return size_bytes / max(1, drill.size_bytes)


def _latest_end(parts: Sequence[Prediction]) -> Prediction:
    """Return the latest expected, shortest and longest time of any part."""
    return Prediction(
        expected_ms=max((part.expected_ms for part in parts), default=0),
        shortest_ms=max((part.shortest_ms for part in parts), default=0),
        longest_ms=max((part.longest_ms for part in parts), default=0),
        drill_count=min((part.drill_count for part in parts if part.drill_count), default=0),
        has_rest=all(part.has_rest for part in parts),
    )


def _after(begin: Prediction, part: Prediction) -> Prediction:
    return Prediction(
        expected_ms=begin.expected_ms + part.expected_ms,
        shortest_ms=begin.shortest_ms + part.shortest_ms,
        longest_ms=begin.longest_ms + part.longest_ms,
        drill_count=part.drill_count,
        has_rest=part.has_rest,
    )
