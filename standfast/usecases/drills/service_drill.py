"""Drill of services with dependencies: waves of sets, RTO and RPO.

A drill is a test restore. A service uses one or more backup sets.

Rules
- The sets of a service are drilled after the sets of the services on which it depends. Services
  that do not depend on each other are drilled in parallel. If several services use a set, it is
  drilled once.
- All times are measured from the declaration (request) of the whole drill. A service is usable when
  all its sets, and all services on which it depends, are usable. A service without a backup set
  counts as usable immediately, because the drill does not restore it.
- If the drill of one set fails, the other sets are still drilled, to find as many problems as
  possible.
- Each set has its own signed report. The report of the whole drill contains the SHA-256 of these
  reports.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from standfast.config.sections.services import ServiceConfig
from standfast.continuity.recovery_objectives import ObjectiveResult, elapsed_ms
from standfast.continuity.service_order import recovery_order
from standfast.errors import ExitStatus, StandfastError, UsageError
from standfast.records import Json, timestamp
from standfast.suggestions import known_names_hint
from standfast.usecases.core.backup_repository import identity_of
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import SERVICE_SUBJECT, SURPRISE_SUBJECT, recorded
from standfast.usecases.drills.check_result import CheckState
from standfast.usecases.drills.drill_clocks import DrillClock
from standfast.usecases.drills.outcome import DrillOutcome, judged, not_recovered
from standfast.usecases.drills.report_gaps import Gap, dated_gaps, drill_gaps, objective_gaps
from standfast.usecases.drills.restore_drill import run_drill
from standfast.usecases.drills.signed_reports import file_report
from standfast.usecases.drills.surprise_draw import Draw, draw_point

ALL = "services"  # the name under which the ledger stores a drill of all services
_PARALLEL_DRILLS = 4


@dataclass(kw_only=True)
class ServiceDrillOutcome:
    """The outcome of a drill of services."""

    run: str
    subject: str
    waves: tuple[tuple[str, ...], ...]  # groups of services, in order of recovery
    declared_at: datetime
    ended_at: datetime
    drills: Mapping[str, DrillOutcome]  # by set
    problems: Mapping[str, str]  # the reason why a set was not drilled
    services: tuple[ObjectiveResult, ...]
    drawn: Draw | None = None  # the service that a surprise drill chose at random
    report: Path | None = None
    report_digest: str = ""

    @property
    def exit_status(self) -> ExitStatus:
        """The worst status of a set; at least PARTIAL if an objective was missed."""
        found = {drill.exit_status for drill in self.drills.values()}
        for status in (ExitStatus.DAMAGED, ExitStatus.FAILED):
            if status in found:
                return status
        if self.problems:
            return ExitStatus.FAILED
        is_short = any(service.is_short for service in self.services)
        return ExitStatus.PARTIAL if is_short or ExitStatus.PARTIAL in found else ExitStatus.DONE

    @property
    def state(self) -> str:
        names = {ExitStatus.DONE: "done", ExitStatus.PARTIAL: "partial"}
        return names.get(self.exit_status, "failed")

    @property
    def rto_ms(self) -> int | None:
        """The time until all services are usable; None if one time is unknown."""
        times = [service.rto_actual_ms for service in self.services]
        return (
            None if None in times else max((time for time in times if time is not None), default=0)
        )

    @property
    def rpo_ms(self) -> int | None:
        times = [service.rpo_actual_ms for service in self.services]
        return (
            None if None in times else max((time for time in times if time is not None), default=0)
        )

    def measures(self) -> dict[str, Json]:
        """Return the content of the report, without number and previous hash."""
        return {
            **self.summary(),
            "run": self.run,
            "set": self.subject,
            "order": [list(wave) for wave in self.waves],
            "declared_at": timestamp(self.declared_at),
            "ended_at": timestamp(self.ended_at),
            "services": [judged(service) for service in self.services],
            "sets": {
                name: {
                    "result": drill.state,
                    "report": drill.report_digest,
                    "clocks_ms": drill.clocks_ms,
                }
                for name, drill in self.drills.items()
            },
            "problems": dict(self.problems),
            "result": self.state,
        }

    def summary(self) -> dict[str, Json]:
        """Return the part of the outcome that the ledger (database) stores."""
        drills = self.drills.values()
        states = {
            state: [
                f"{name}: {check.name}"
                for name, drill in self.drills.items()
                for check in drill.checks
                if check.state is state
            ]
            for state in CheckState
        }
        return {
            "rto_ms": self.rto_ms,
            "rpo_ms": self.rpo_ms,
            "files": sum(drill.restored.files for drill in drills if drill.restored),
            "bytes": sum(drill.restored.bytes for drill in drills if drill.restored),
            "is_damaged": any(drill.is_damaged for drill in drills),
            "surprise": self.drawn.as_json() if self.drawn else None,
            **{state.value: names for state, names in states.items()},
            "target_is_gone": all(drill.target.is_gone for drill in drills),
            "report": self.report_digest,
        }

    def as_json(self) -> dict[str, Json]:
        return {
            **self.measures(),
            "drills": {name: drill.as_json() for name, drill in self.drills.items()},
            "report": str(self.report) if self.report else None,
            "report_sha256": self.report_digest,
            "exit_status": int(self.exit_status),
        }


def drill_services(
    installation: Installation,
    names: Iterable[str],
    identity_file: Path | None,
    way: str = "direct",
    *,
    drawn: Draw | None = None,
    report_missing: Callable[[str, str], None] | None = None,
) -> ServiceDrillOutcome:
    """Drill services and their dependencies; without names, all services.

    Without an identity file, use `drills.identity` of the configuration. With `drawn`, the recovery
    points are chosen at random from its seed; otherwise the newest points are used.
    `report_missing` is called before the restore of a set for each database source that cannot be
    loaded. Raise `UsageError` for an unknown service or identity.
    """
    declared_at = installation.clock()
    chosen = tuple(names)
    services = _with_dependencies(installation.config.services, chosen)
    identity_of(installation, identity_file)  # refuse a wrong identity before anything is recorded
    waves = recovery_order(services)
    subject = f"{SERVICE_SUBJECT}{chosen[0]}" if len(chosen) == 1 else ALL
    if drawn is not None:
        subject = SURPRISE_SUBJECT
    with recorded(installation, "drill", subject, way) as run:
        drills, problems = _drill_waves(
            installation, services, waves, identity_file, way, declared_at, drawn, report_missing
        )
        outcome = ServiceDrillOutcome(
            run=run.token,
            subject=subject,
            waves=waves,
            declared_at=declared_at,
            ended_at=installation.clock(),
            drills=drills,
            problems=problems,
            services=_judge(services, waves, drills),
            drawn=drawn,
        )
        gaps = dated_gaps(installation.config, subject, _gaps(outcome), declared_at)
        filed = file_report(
            installation.config.drills.folder / "reports",
            run.token,
            {**outcome.measures(), "gaps": gaps},
            installation.ledger.cipher.signing_key(),
        )
        outcome.report, outcome.report_digest = filed.path, filed.digest
        run.ends(outcome.state, outcome.summary())
    return outcome


def drilled_sets(services: Mapping[str, ServiceConfig], names: Iterable[str]) -> tuple[str, ...]:
    """Return the sets of services and their dependencies; without names, all.

    Raise `UsageError` for an unknown service.
    """
    found = _with_dependencies(services, tuple(names))
    return tuple(dict.fromkeys(name for service in found.values() for name in service.sets))


def _gaps(outcome: ServiceDrillOutcome) -> Iterator[Gap]:
    for name, problem in outcome.problems.items():
        text = f"set {name} was not drilled: {problem}"
        yield Gap(key=f"{name} undrilled", text=text, set_name=name)
    for drill in outcome.drills.values():
        yield from drill_gaps(drill)
    for service in outcome.services:
        yield from objective_gaps(service)


def _with_dependencies(
    services: Mapping[str, ServiceConfig], names: tuple[str, ...]
) -> dict[str, ServiceConfig]:
    found: dict[str, ServiceConfig] = {}
    pending = list(names or services)
    while pending:
        name = pending.pop()
        if name not in services:
            raise UsageError(
                f"service {name!r}: not configured; {known_names_hint(name, services)}"
            )
        if name not in found:
            found[name] = services[name]
            pending += services[name].depends_on
    if not any(service.sets for service in found.values()):
        raise UsageError("services: none of them has a backup set. Add `sets` to a service.")
    return found


def _drill_waves(
    installation: Installation,
    services: Mapping[str, ServiceConfig],
    waves: Iterable[Iterable[str]],
    identity_file: Path | None,
    way: str,
    declared_at: datetime,
    drawn: Draw | None,
    report_missing: Callable[[str, str], None] | None,
) -> tuple[dict[str, DrillOutcome], dict[str, str]]:
    """Drill the sets of each wave in parallel, one wave after another.

    A wave is a group of services that do not depend on each other. Return the outcomes, and the
    reasons why other sets were not drilled.
    """
    drills: dict[str, DrillOutcome] = {}
    problems: dict[str, str] = {}

    def drill(set_name: str) -> None:
        try:
            point, superseded_at = "latest", None
            if drawn is not None:
                chosen = draw_point(installation, identity_file, set_name, drawn.seed)
                point, superseded_at = chosen.name, chosen.superseded_at
            drills[set_name] = run_drill(
                installation,
                set_name,
                identity_file,
                point,
                way,
                declared_at=declared_at,
                superseded_at=superseded_at,
                report_missing=report_missing,
            )
        except StandfastError as error:
            problems[set_name] = str(error)

    for wave in waves:
        sets = dict.fromkeys(name for service in wave for name in services[service].sets)
        pending = [name for name in sets if name not in drills and name not in problems]
        with ThreadPoolExecutor(_PARALLEL_DRILLS) as pool:
            list(pool.map(drill, pending))
    return drills, problems


def _judge(
    services: Mapping[str, ServiceConfig],
    waves: Iterable[Iterable[str]],
    drills: Mapping[str, DrillOutcome],
) -> tuple[ObjectiveResult, ...]:
    """Return the result of each service with sets, in order of recovery."""
    usable_ms: dict[str, int | None] = {}
    results = []
    for name in (service for wave in waves for service in wave):
        service = services[name]
        if not service.sets:
            usable_ms[name] = 0
            continue
        parts = [_part(drills.get(set_name), name, service) for set_name in service.sets]
        is_checked = any(part.is_checked for part in parts)
        times = [part.rto_actual_ms for part in parts]
        times += [usable_ms[other] for other in service.depends_on]
        usable_ms[name] = _longest(times) if is_checked else None
        worst = max(parts, key=lambda part: (part.rpo_actual_ms is None, part.rpo_actual_ms or 0))
        results.append(replace(worst, rto_actual_ms=usable_ms[name], is_checked=is_checked))
    return tuple(results)


def _part(drill: DrillOutcome | None, name: str, service: ServiceConfig) -> ObjectiveResult:
    """Return the result of a service in the drill of one of its sets.

    The recovery time ends when the checks of the service have passed. If all of them belong to
    other sets, it ends when the files of this set are restored and its databases are loaded.
    """
    found = None
    if drill is not None:
        found = next((result for result in drill.services if result.service == name), None)
    if drill is None or found is None:
        return not_recovered(name, service)
    if found.is_checked or not found.is_checked_elsewhere:
        return found
    restored_at = None if drill.has_failed else drill.clocks.get(DrillClock.REPLAY_DONE)
    return replace(found, rto_actual_ms=elapsed_ms(drill.declared_at, restored_at))


def _longest(times: Iterable[int | None]) -> int | None:
    """Return the longest time; None if any time is unknown."""
    known = list(times)
    return None if None in known else max((time for time in known if time is not None), default=0)
