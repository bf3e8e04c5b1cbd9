"""Drill of a random sample of a set's files.

A drill is a test restore of a backup set.

Rules
- The seed and the recovery point determine which files are restored. With the same seed, another
  drill of the point restores the same files.
- The drill proves only the sampled files. It loads no database, runs no check of a service, and
  measures no RTO.
- The ledger (the installation's database) stores such a drill under the name `sample.SET` instead
  of `SET`. Therefore it never counts as a drill of the set.
"""

import secrets
from collections.abc import Iterable

from backup.reader.path_selection import PathSample
from backup.records import RecoveryPoint, RestoreResult
from standfast.records import Json
from standfast.usecases.drills.check_result import CheckLevel, CheckResult, CheckState

SAMPLE_SUBJECT = "sample."  # prefix of the set's name; no name of a set has a dot
_LARGEST_SEED = 2**32


def new_sample(percent: float, seed: int | None) -> PathSample:
    """Return a sample of `percent` of the files; choose a seed for None."""
    chosen = secrets.randbelow(_LARGEST_SEED) if seed is None else seed
    return PathSample(percent=percent, seed=chosen)


def skipped_checks(services: Iterable[str]) -> list[CheckResult]:
    """Return a skipped check for each service: a sample proves no service."""
    return [
        CheckResult(
            name="checks",
            service=service,
            level=CheckLevel.SERVICE,
            state=CheckState.SKIPPED,
            reason="a sample proves single files, not the service",
        )
        for service in services
    ]


def share(
    sample: PathSample | None, point: RecoveryPoint, restored: RestoreResult | None
) -> dict[str, Json] | None:
    """Return the restored share of a recovery point, in files and bytes."""
    if sample is None:
        return None
    return {
        "percent": f"{sample.percent:g}",  # as text, because canonical JSON has no fractions
        "seed": sample.seed,
        "files": restored.files if restored else 0,
        "bytes": restored.bytes if restored else 0,
        "files_in_point": point.details.files if point.details else None,
        "bytes_in_point": point.details.bytes if point.details else None,
    }
