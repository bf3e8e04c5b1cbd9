"""Predicted recovery times of the services, from the recorded drills.

`standfast/continuity/recovery_prediction.py` computes the prediction. This module reads its input
from the ledger (the installation's database): the times of the phases of each drill (test restore),
and the size of each backup. No private key is needed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from standfast.continuity.clock_skew import is_in_far_future
from standfast.continuity.recovery_objectives import minutes_to_ms
from standfast.continuity.recovery_prediction import (
    DrillTimes,
    Prediction,
    predict_services,
    predict_set,
)
from standfast.ledger.runs.run_record import RunRecord
from standfast.records import Json
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import runs_of_vault
from standfast.usecases.drills.drill_clocks import DrillClock
from standfast.usecases.drills.file_sample import SAMPLE_SUBJECT

_GOOD = ("done", "partial")
_MOST_DRILLS = 20  # newest drills of each set; older drills may have run on another machine
_SHORTEST_DIVIDED_MS = 1000  # a shorter restore has no separate time until its first byte


@dataclass(frozen=True, kw_only=True)
class ServicePrediction:
    """The predicted recovery of one service, and its objective."""

    service: str
    rto_promised_ms: int
    prediction: Prediction | None  # None if a set of the service was never drilled

    @property
    def verdict(self) -> str:
        """The expectation for the RTO: likely, at risk, unlikely or unknown."""
        found = self.prediction
        if found is None or not found.has_rest:
            is_late = found is not None and found.shortest_ms > self.rto_promised_ms
            return "unlikely" if is_late else "unknown"
        if found.expected_ms > self.rto_promised_ms:
            return "unlikely"
        return "at risk" if found.longest_ms > self.rto_promised_ms else "likely"

    def as_json(self) -> dict[str, Json]:
        found = self.prediction
        return {
            "service": self.service,
            "rto_promised_ms": self.rto_promised_ms,
            "expected_ms": found.expected_ms if found else None,
            "shortest_ms": found.shortest_ms if found else None,
            "longest_ms": found.longest_ms if found else None,
            "drills": found.drill_count if found else 0,
            "has_load_and_checks": found.has_rest if found else False,
            "verdict": self.verdict,
        }


def predict_recovery(installation: Installation) -> tuple[ServicePrediction, ...]:
    """Predict the recovery of each service that has backup sets."""
    services = installation.config.services
    names = dict.fromkeys(name for service in services.values() for name in service.sets)
    drills = _newest_good_runs(installation, "drill", _MOST_DRILLS, names)
    backups = _newest_good_runs(installation, "backup", 1, names)
    sets = {
        name: predicted
        for name in names
        if (predicted := _predict_set(drills.get(name, []), backups.get(name, []))) is not None
    }
    predictions = predict_services(services, sets)
    return tuple(
        ServicePrediction(
            service=name,
            rto_promised_ms=minutes_to_ms(service.rto_minutes),
            prediction=predictions.get(name),
        )
        for name, service in services.items()
        if service.sets
    )


def _newest_good_runs(
    installation: Installation, kind: str, most: int, names: Iterable[str]
) -> dict[str, list[RunRecord]]:
    """Return the newest good runs of each set, including drills of samples."""
    wanted, now = frozenset(names), installation.clock()
    runs = runs_of_vault(installation.config, installation.ledger.runs.all(kind, states=_GOOD))
    found: dict[str, list[RunRecord]] = {}
    for run in runs:
        of_set = found.setdefault(run.subject.removeprefix(SAMPLE_SUBJECT), [])
        if len(of_set) < most and not is_in_far_future(run.started_at, now):
            of_set.append(run)
    return {name: of_set for name, of_set in found.items() if name in wanted}


def _predict_set(drills: list[RunRecord], backups: list[RunRecord]) -> Prediction | None:
    if not drills:
        return None
    if backups:
        size_bytes = int(backups[0].summary["bytes_total"])
    else:  # this machine drills the backups of other machines, whose runs are in another ledger
        sample = drills[0].summary.get("sample", {})
        size_bytes = int(sample.get("bytes_in_point") or drills[0].summary["bytes"])
    times = [found for run in drills if (found := drill_times(run.summary)) is not None]
    return predict_set(times, size_bytes)


def drill_times(summary: Mapping[str, Json]) -> DrillTimes | None:
    """Return the times of a recorded drill; None without milestones.

    The times are measured from the moment when the private key was read, because before that moment
    a set may wait for other sets of the service. If the restore takes at least a second after its
    first byte, the time until the first byte is a fixed time, and only the rest is proportional to
    the size of the data. A shorter restore is proportional as a whole.
    """
    recorded = summary.get("clocks_ms")
    if not isinstance(recorded, Mapping) or not summary.get("bytes"):
        return None
    at = {clock: int(str(recorded[clock])) for clock in DrillClock if clock in recorded}
    if DrillClock.DATA_COMPLETE not in at:
        return None
    complete_at = at[DrillClock.DATA_COMPLETE]
    begin = at[DrillClock.PROVISIONED]
    if complete_at - (first_byte := at.get(DrillClock.FIRST_BYTE, begin)) >= _SHORTEST_DIVIDED_MS:
        begin = first_byte
    end = max(at.values())
    return DrillTimes(
        size_bytes=int(str(summary["bytes"])),
        fixed_ms=begin - at[DrillClock.KEY_OBTAINED],
        restore_ms=complete_at - begin,
        rest_ms=None if "sample" in summary else end - complete_at,
    )
