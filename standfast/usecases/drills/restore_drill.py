"""Restore drill of one set: restore, check, measure, delete, report.

A drill is a test restore of a recovery point of one backup set.

Rules
- The recovery time begins with the declaration of the drill (its request) and ends when every check
  has passed. If no check of a service was executed, the recovery time is not measured, because
  nobody knows whether the service is usable.
- The output of a failed command may be personal data, so neither the report nor the ledger (the
  installation's database) contains it. The output is shown to the person who runs the drill, and
  kept in a private file until the next drill of the backup set.
- At the end of the drill, all restored files are deleted unless the caller passes `keep`. The
  report states whether they were deleted.
- A failed drill has a report too. Only an invalid request has no report: the set or point is
  unknown, or the identity (private key) cannot open the backup.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from pathlib import Path

from backup.errors import Damaged as DamagedBackup
from backup.reader.path_selection import PathSample
from backup.records import Progress, RecoveryPoint, RestoreResult
from backup.repository import Repository
from standfast.config.sections.backup import BackupSetConfig
from standfast.config.sections.services import ServiceConfig
from standfast.continuity.recovery_objectives import (
    ObjectiveResult,
    RpoBasis,
    elapsed_ms,
    lost_work_ms,
    milliseconds,
)
from standfast.errors import Damaged, StandfastError
from standfast.evidence.review.yara_rules import load_rules
from standfast.plurals import counted
from standfast.usecases.backups.configured_sources import own_files
from standfast.usecases.backups.restore_warnings import is_damage_behind
from standfast.usecases.core.backup_repository import (
    identity_of,
    set_of,
    translated_errors,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import recorded
from standfast.usecases.drills.check_result import (
    CheckLevel,
    CheckResult,
    CheckState,
    write_output,
)
from standfast.usecases.drills.chosen_point import find_named_point, open_newest
from standfast.usecases.drills.database_load import (
    LoadedDatabases,
    load_databases,
    started_servers,
)
from standfast.usecases.drills.drill_clocks import DrillClock
from standfast.usecases.drills.drill_folders import (
    OUTPUT,
    Target,
    destroy,
    destroy_leftovers,
    keep_target,
    new_target,
)
from standfast.usecases.drills.file_sample import SAMPLE_SUBJECT, skipped_checks
from standfast.usecases.drills.outcome import DrillOutcome, not_recovered
from standfast.usecases.drills.report_gaps import (
    NOT_REQUESTED,
    dated_gaps,
    drill_gaps,
    objective_gaps,
)
from standfast.usecases.drills.service_checks import run_checks, services_of_set
from standfast.usecases.drills.signed_reports import file_report
from standfast.usecases.drills.source_comparison import Comparison, compare
from standfast.usecases.drills.yara_scan import scan

HASHES = "hash of every file"
COMPARISON = "comparison with the live source"


@dataclass(kw_only=True)
class _Seen:
    """The results of a drill so far; they remain if a later phase fails."""

    lost_until: datetime  # end of the period in which work was lost, for the RPO
    result: RestoreResult | None = None
    restored_at: datetime | None = None
    usable_at: datetime | None = None
    problem: str = ""
    has_failed: bool = False
    is_damaged: bool = False
    damaged_packs: tuple[str, ...] = ()
    checks: list[CheckResult] = field(default_factory=list)
    services: list[ObjectiveResult] = field(default_factory=list)
    clocks: dict[DrillClock, datetime] = field(default_factory=dict)
    comparison: Comparison | None = None


def run_drill(
    installation: Installation,
    set_name: str,
    identity_file: Path | None,
    point: str = "latest",
    way: str = "direct",
    progress: Callable[[Progress], None] | None = None,
    *,
    keep: bool = False,
    compares: bool = False,
    until: datetime | None = None,
    sample: PathSample | None = None,
    declared_at: datetime | None = None,
    superseded_at: datetime | None = None,
    report_missing: Callable[[str, str], None] | None = None,
) -> DrillOutcome:
    """Restore a backup set, check and measure it, delete the restored data.

    - Without an identity file, use `drills.identity` of the configuration.
    - `way`: how the drill was started, for the ledger.
    - `compares`: compare the restored files with the live source, which must not change meanwhile.
    - `until`: replay the log of a base backup up to this time. The point `latest` then means the
      newest point before this time.
    - `sample`: restore only the files of the sample, and check no service.
    - `declared_at`: the time from which all durations are measured; by default now.
    - `superseded_at`: the end of the period of lost work, for the RPO; by default `declared_at`.
      For a point that is not the newest, pass the time of the next newer point.
    - `report_missing`: called before the restore for each database source that cannot be loaded.

    Raise `UsageError` for an unknown set, point or identity, and `Refused` while another drill of
    this set runs.
    """
    declared_at = declared_at or installation.clock()
    settings = set_of(installation, set_name)
    subject = set_name if sample is None else SAMPLE_SUBJECT + set_name
    services = services_of_set(installation.config.services, set_name)
    seen = _Seen(lost_until=superseded_at or declared_at)
    if sample is not None:
        seen.checks, services = skipped_checks(services), {}
    seen.clocks[DrillClock.DECLARED] = declared_at
    rule_files = installation.config.drills.yara_rules
    rules = load_rules(rule_files, "drills.yara_rules") if rule_files else None
    identity = identity_of(installation, identity_file)
    seen.clocks[DrillClock.KEY_OBTAINED] = installation.clock()
    named = None if point == "latest" else find_named_point(installation, identity, point, set_name)
    with recorded(installation, "drill", subject, way) as run:
        destroy_leftovers(installation, subject)
        repository, chosen = named or open_newest(installation, identity, set_name, until)
        with new_target(installation, subject, run.token) as folder:
            try:
                with (
                    translated_errors(f"drilling {set_name}"),
                    started_servers(
                        *(installation, repository, chosen, folder, identity_file), report_missing
                    )
                    if sample is None
                    else nullcontext(LoadedDatabases()) as databases,
                ):
                    seen.clocks[DrillClock.PROVISIONED] = installation.clock()
                    _restore(installation, repository, chosen, folder, sample, progress, seen)
                    if rules is not None:
                        seen.checks.append(scan(rules, folder / "tree", installation.clock))
                    seen.checks += load_databases(
                        installation, repository, databases, settings, folder, until
                    )
                    seen.clocks[DrillClock.REPLAY_DONE] = installation.clock()
                    _check(
                        installation,
                        chosen,
                        settings,
                        services,
                        folder / "tree",
                        databases,
                        declared_at,
                        seen,
                    )
                    if compares:
                        _compare(installation, settings, folder, seen)
            except Damaged as error:
                seen.problem, seen.is_damaged, seen.has_failed = str(error), True, True
                if isinstance(error.__cause__, DamagedBackup):
                    seen.damaged_packs = error.__cause__.packs
            except StandfastError as error:
                seen.problem, seen.has_failed = str(error), True
            _judge_unreached(services, seen)
            target = keep_target(folder) if keep else destroy(folder)
        outcome = _outcome(
            installation, run.token, set_name, way, chosen, declared_at, seen, target
        )
        outcome = replace(outcome, sample=sample, superseded_at=superseded_at)
        if not compares:
            skipped = CheckResult(
                name=COMPARISON,
                service="",
                level=CheckLevel.FILES,
                state=CheckState.SKIPPED,
                reason=NOT_REQUESTED,
            )
            outcome = replace(outcome, checks=(*outcome.checks, skipped))
        found = chain(drill_gaps(outcome), *map(objective_gaps, outcome.services))
        gaps = dated_gaps(installation.config, set_name, found, declared_at)
        filed = file_report(
            installation.config.drills.folder / "reports",
            run.token,
            {**outcome.measures(), "gaps": gaps},
            installation.ledger.cipher.signing_key(),
        )
        outcome = replace(
            outcome, report=filed.path, report_digest=filed.digest, died_before=run.died_before
        )
        run.ends(outcome.state, outcome.summary())
    output = installation.config.drills.folder / f"{set_name}.{run.token}{OUTPUT}"
    is_written = write_output(output, outcome.checks)
    return replace(outcome, output=output if is_written else None)


def _restore(
    installation: Installation,
    repository: Repository,
    point: RecoveryPoint,
    folder: Path,
    sample: PathSample | None,
    progress: Callable[[Progress], None] | None,
    seen: _Seen,
) -> None:
    started = installation.clock()

    def observed(restored: Progress) -> None:
        if restored.bytes_done:
            seen.clocks.setdefault(DrillClock.FIRST_BYTE, installation.clock())
        if progress is not None:
            progress(restored)

    seen.result = repository.restore(
        point, folder / "tree", sample or (), observed, now=installation.clock
    )
    seen.restored_at = seen.clocks[DrillClock.DATA_COMPLETE] = installation.clock()
    seen.is_damaged = is_damage_behind(seen.result.problems)
    seen.damaged_packs = seen.result.damaged_packs
    missing = len(seen.result.problems)
    seen.checks.append(
        CheckResult(
            name=HASHES,
            service="",
            level=CheckLevel.FILES,
            state=CheckState.FAILED if seen.is_damaged else CheckState.PASSED,
            reason=f"{counted(seen.result.files, 'file agrees', 'files agree')}"
            + (f", {missing} could not be restored" if missing else ""),
            took_ms=milliseconds(seen.restored_at - started),
        )
    )


def _check(
    installation: Installation,
    point: RecoveryPoint,
    settings: BackupSetConfig,
    services: dict[str, ServiceConfig],
    tree: Path,
    databases: LoadedDatabases,
    declared_at: datetime,
    seen: _Seen,
) -> None:
    """Run the checks of each service, and measure its RTO and RPO."""
    sources = frozenset(source.name for source in settings.sources)
    seen.has_failed = seen.is_damaged or any(
        result.state is CheckState.FAILED for result in seen.checks
    )
    is_broken = seen.has_failed
    is_checked = bool(services)
    for name, service in services.items():
        results = run_checks(name, service, tree, sources, databases, installation.clock)
        seen.checks += results
        states = {result.state for result in results}
        has_passed = CheckState.PASSED in states
        has_failed = is_broken or CheckState.FAILED in states
        seen.has_failed |= has_failed
        is_checked &= has_passed
        back_at = installation.clock() if has_passed and not has_failed else None
        changes = [result.last_change for result in results if result.last_change is not None]
        # The RPO of a service is the largest RPO of its databases.
        lost_since = min(changes, default=_consistent_at(point))
        seen.services.append(
            replace(
                not_recovered(name, service),
                rto_actual_ms=elapsed_ms(declared_at, back_at),
                rpo_actual_ms=lost_work_ms(lost_since, seen.lost_until),
                rpo_basis=RpoBasis.LAST_CHANGE if changes else RpoBasis.CONSISTENT_AT,
                is_checked=has_passed or has_failed,
                is_checked_elsewhere=bool(results)
                and all(result.is_for_another_set for result in results),
            )
        )
    if not seen.has_failed:
        seen.clocks[DrillClock.CHECKS_PASSED] = installation.clock()
    seen.usable_at = installation.clock() if is_checked else None


def _judge_unreached(services: dict[str, ServiceConfig], seen: _Seen) -> None:
    """Record each service that the drill did not reach as not recovered."""
    judged = {service.service for service in seen.services}
    seen.services += [
        not_recovered(name, service) for name, service in services.items() if name not in judged
    ]


def _compare(
    installation: Installation, settings: BackupSetConfig, folder: Path, seen: _Seen
) -> None:
    scratch = folder / "scratch"
    scratch.mkdir(mode=0o700)
    started = installation.clock()
    own = own_files(installation.config.backup)
    seen.comparison = compare(settings, folder / "tree", scratch, installation.clock, own)
    state, reason = CheckState.PASSED, ""
    if not seen.comparison.is_equal:
        state = CheckState.FAILED
        reason = counted(seen.comparison.differences_total, "difference")
        seen.has_failed = True
    elif seen.comparison.is_empty:
        state, reason = CheckState.SKIPPED, "not compared: no file and no table was found"
    seen.checks.append(
        CheckResult(
            name=COMPARISON,
            service="",
            level=CheckLevel.FILES,
            state=state,
            reason=reason,
            took_ms=milliseconds(installation.clock() - started),
        )
    )
    seen.checks += [
        CheckResult(
            name=f"{COMPARISON}: {name}",
            service="",
            level=CheckLevel.FILES,
            state=CheckState.SKIPPED,
            reason="it is not a file; compare it after a restore to its service",
        )
        for name in seen.comparison.left_out
    ]


def _outcome(
    installation: Installation,
    run: str,
    set_name: str,
    way: str,
    point: RecoveryPoint,
    declared_at: datetime,
    seen: _Seen,
    target: Target,
) -> DrillOutcome:
    """Return the outcome of a drill; its RPO is the largest of its services."""
    worst = max(
        seen.services,
        key=lambda service: (service.rpo_actual_ms is None, service.rpo_actual_ms or 0),
        default=None,
    )
    rpo_ms, basis = lost_work_ms(_consistent_at(point), seen.lost_until), RpoBasis.CONSISTENT_AT
    if worst is not None:
        rpo_ms, basis = worst.rpo_actual_ms, worst.rpo_basis
    usable_at = None if seen.has_failed else seen.usable_at
    if usable_at is not None:
        seen.clocks[DrillClock.USABLE] = usable_at
    return DrillOutcome(
        run=run,
        set_name=set_name,
        way=way,
        point=point,
        declared_at=declared_at,
        restored_at=seen.restored_at,
        usable_at=usable_at,
        has_failed=seen.has_failed,
        ended_at=installation.clock(),
        restored=seen.result,
        problem=seen.problem,
        is_damaged=seen.is_damaged,
        damaged_packs=seen.damaged_packs,
        checks=tuple(seen.checks),
        comparison=seen.comparison,
        services=tuple(seen.services),
        rto_ms=elapsed_ms(declared_at, usable_at),
        rpo_ms=rpo_ms,
        rpo_basis=basis,
        target=target,
        clocks=seen.clocks,
    )


def _consistent_at(point: RecoveryPoint) -> datetime:
    return point.details.consistent_at if point.details else point.time
