"""Outcome of a drill: measures, shortfalls, exit status, report content.

A drill is a test restore of one backup set.

Rules
- A drill has one result. Damage is reported rather than a failed check, and a failed check rather
  than a missed objective. A skipped check is named, but does not change the result.
- The ledger (the installation's database) and the report contain counts, times and names of checks,
  but no file names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from backup.reader.path_selection import PathSample
from backup.records import Problem, RecoveryPoint, RestoreResult
from standfast.config.sections.services import ServiceConfig
from standfast.continuity.recovery_objectives import (
    ObjectiveResult,
    RpoBasis,
    milliseconds,
    minutes_to_ms,
)
from standfast.errors import ExitStatus
from standfast.records import Json, timestamp
from standfast.usecases.backups.damaged_packs import damaged_packs_as_json
from standfast.usecases.drills.check_result import CheckResult, CheckState
from standfast.usecases.drills.drill_clocks import DrillClock
from standfast.usecases.drills.drill_folders import Target
from standfast.usecases.drills.file_sample import share
from standfast.usecases.drills.source_comparison import Comparison


@dataclass(frozen=True, kw_only=True)
class DrillOutcome:
    """The outcome of one drill."""

    run: str
    set_name: str
    way: str  # how the drill was started, such as "direct"
    point: RecoveryPoint
    declared_at: datetime
    restored_at: datetime | None
    usable_at: datetime | None  # None if a check failed, or if no service has a check
    has_failed: bool
    ended_at: datetime
    restored: RestoreResult | None
    problem: str  # the error that ended the restore, or ""
    is_damaged: bool
    damaged_packs: tuple[str, ...]  # also packs whose content another recovery point replaced
    checks: tuple[CheckResult, ...]
    comparison: Comparison | None
    services: tuple[ObjectiveResult, ...]
    rto_ms: int | None  # None if `usable_at` is None
    rpo_ms: int | None  # None if the time of the data is in the future
    rpo_basis: RpoBasis
    target: Target
    clocks: Mapping[DrillClock, datetime]  # the milestones that were reached
    superseded_at: datetime | None = None  # end of the period of lost work; None: declared_at
    sample: PathSample | None = None  # the part that was restored; None if everything was
    output: Path | None = None  # the file with the output of failed commands
    report: Path | None = None
    report_digest: str = ""
    died_before: tuple[str, ...] = ()  # earlier drills of the set whose process died

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.restored.problems if self.restored else ()

    @property
    def skipped(self) -> tuple[str, ...]:
        """The names of the checks that were skipped."""
        return tuple(
            f"{check.service}: {check.name}" if check.service else check.name
            for check in self.checks
            if check.state is CheckState.SKIPPED
        )

    @property
    def printing(self) -> tuple[CheckResult, ...]:
        """The checks with output, which only failed commands have."""
        return tuple(check for check in self.checks if check.output)

    @property
    def shortfalls(self) -> tuple[str, ...]:
        """The reasons why the drill proves less than a complete recovery.

        Paths that were not restored, and missed objectives, are not included.
        """
        found = []
        if not self.point.complete:
            found.append("the point itself is incomplete: its backup could not read everything")
        is_empty = self.restored is not None and not self.restored.files
        if is_empty and self.sample is not None:
            found.append("the sample selects no file: sample a larger share or use another seed")
        elif is_empty:
            found.append("no file was restored: check that the set's data exists and is mounted")
        if self.comparison is not None and self.comparison.is_equal and self.comparison.is_empty:
            found.append("nothing was compared with the live source")
        found += [
            f"{service.service}: no check ran, so its RTO is not measured: add one to "
            f"services.{service.service}.checks"
            for service in self.services
            if not (service.is_checked or service.is_checked_elsewhere)
        ]
        return tuple(found)

    @property
    def clocks_ms(self) -> dict[str, Json]:
        """The milliseconds from the declaration of the drill to each milestone."""
        return {
            clock.value: milliseconds(at - self.declared_at) for clock, at in self.clocks.items()
        }

    @property
    def sampled(self) -> dict[str, Json] | None:
        """The restored share of the recovery point; None without a sample."""
        return share(self.sample, self.point, self.restored)

    @property
    def exit_status(self) -> ExitStatus:
        if self.is_damaged:
            return ExitStatus.DAMAGED
        is_left = not self.target.is_kept and not self.target.is_gone
        if self.has_failed or is_left:
            return ExitStatus.FAILED
        is_short = bool(self.problems or self.shortfalls)
        is_missed = self.rpo_ms is None or any(service.is_short for service in self.services)
        return ExitStatus.PARTIAL if is_short or is_missed else ExitStatus.DONE

    @property
    def state(self) -> str:
        """The result, as the ledger stores it."""
        names = {ExitStatus.DONE: "done", ExitStatus.PARTIAL: "partial"}
        return names.get(self.exit_status, "failed")

    def measures(self) -> dict[str, Json]:
        """Return the content of the report, without number and previous hash."""
        details = self.point.details
        return {
            "run": self.run,
            "set": self.set_name,
            "way": self.way,
            "point": self.point.name,
            "point_sha256": self.point.sha256,
            "point_is_complete": self.point.complete,
            "point_consistent_at": _written(details.consistent_at if details else None),
            "point_superseded_at": _written(self.superseded_at),
            "declared_at": timestamp(self.declared_at),
            "restored_at": _written(self.restored_at),
            "usable_at": _written(self.usable_at),
            "ended_at": timestamp(self.ended_at),
            "clocks": {clock.value: timestamp(at) for clock, at in self.clocks.items()},
            "rto_ms": self.rto_ms,
            "rpo_ms": self.rpo_ms,
            "rpo_measured_from": self.rpo_basis.value,
            "sample": self.sampled,
            "files": self.restored.files if self.restored else 0,
            "directories": self.restored.directories if self.restored else 0,
            "bytes": self.restored.bytes if self.restored else 0,
            "not_restored": len(self.problems),
            "problem": self.problem,
            "is_damaged": self.is_damaged,
            "checks": [check.as_json() for check in self.checks],
            "skipped": list(self.skipped),
            "comparison": self.comparison.counts() if self.comparison else None,
            "services": [judged(service) for service in self.services],
            "target_is_kept": self.target.is_kept,
            "target_is_gone": self.target.is_gone,
            "result": self.state,
        }

    def summary(self) -> dict[str, Json]:
        """Return the part of the outcome that the ledger stores."""
        passed = [check.name for check in self.checks if check.state is CheckState.PASSED]
        failed = [check.name for check in self.checks if check.state is CheckState.FAILED]
        return {
            "point": self.point.name,
            "rto_ms": self.rto_ms,
            "rpo_ms": self.rpo_ms,
            "rpo_measured_from": self.rpo_basis.value,
            "files": self.restored.files if self.restored else 0,
            "bytes": self.restored.bytes if self.restored else 0,
            "clocks_ms": self.clocks_ms,
            "rows": {name: count for check in self.checks for name, count in check.rows.items()},
            **({"sample": self.sampled} if self.sampled else {}),
            "not_restored": len(self.problems),
            "is_damaged": self.is_damaged,
            **damaged_packs_as_json(self.damaged_packs),
            "passed": passed,
            "failed": failed,
            "skipped": list(self.skipped),
            "services_met": sum(service.is_met for service in self.services),
            "services_missed": sum(
                service.is_checked and not service.is_met for service in self.services
            ),
            "services_unmeasured": sum(not service.is_checked for service in self.services),
            "differences": self.comparison.differences_total if self.comparison else None,
            "target_is_gone": self.target.is_gone,
            "report": self.report_digest,
        }

    def as_json(self) -> dict[str, Json]:
        return {
            **self.measures(),
            "damaged_packs": list(self.damaged_packs),
            "problems": [{"path": item.path, "reason": item.reason} for item in self.problems],
            "shortfalls": list(self.shortfalls),
            "checks": [{**check.as_json(), "output": check.output} for check in self.checks],
            "output": str(self.output) if self.output else None,
            "differences": list(self.comparison.differences) if self.comparison else [],
            "target": str(self.target.folder) if self.target.is_kept else None,
            "report": str(self.report) if self.report else None,
            "report_sha256": self.report_digest,
            "died_before": list(self.died_before),
            "exit_status": int(self.exit_status),
        }


def not_recovered(name: str, service: ServiceConfig) -> ObjectiveResult:
    """Return the result of a service that was not measured."""
    return ObjectiveResult(
        service=name,
        rto_promised_ms=minutes_to_ms(service.rto_minutes),
        rto_actual_ms=None,
        rpo_promised_ms=minutes_to_ms(service.rpo_minutes),
        rpo_actual_ms=None,
        rpo_basis=RpoBasis.CONSISTENT_AT,
        mtpd_ms=None if service.mtpd_minutes is None else minutes_to_ms(service.mtpd_minutes),
    )


def judged(service: ObjectiveResult) -> dict[str, Json]:
    """Return the JSON form of a service's result."""
    return {
        "service": service.service,
        "rto_promised_ms": service.rto_promised_ms,
        "rto_actual_ms": service.rto_actual_ms,
        "rto": _rto(service),
        "rpo_promised_ms": service.rpo_promised_ms,
        "rpo_actual_ms": service.rpo_actual_ms,
        "rpo": "met" if service.is_rpo_met else "missed",
        "rpo_measured_from": service.rpo_basis.value,
        "mtpd_ms": service.mtpd_ms,
        "is_beyond_mtpd": service.is_beyond_mtpd,
    }


def _rto(service: ObjectiveResult) -> str:
    if not service.is_checked:
        return "not measured"
    return "met" if service.is_rto_met else "missed"


def _written(moment: datetime | None) -> str | None:
    return timestamp(moment) if moment else None
