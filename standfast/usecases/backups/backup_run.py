"""Backup of one set: waits, retries, anomalies, clones; good runs.

A recovery point is the state of a backup set that one backup stores. A run (one execution of the
backup of one set) is good if it made a recovery point, complete or partial. A clone is another
machine that backs up under the name of this host.

Rules
- Each file that could not be read is counted and named. The outcome is then partial, never done.
- The ledger (the database of runs and incidents) stores counts, times and the name of the recovery
  point, but no file name.
- A backup continues if the ledger is lost, damaged or unavailable. The outcome then names the
  cause, and is partial at best, because alarms need the record of the backup in the ledger.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from backup.archiver.backup_run import back_up
from backup.errors import Busy, StoreUnavailable
from backup.format.keep_record import PackId
from backup.records import INSTALLATION_SET, BackupResult, Progress
from backup.sources import Source
from backup.stores import Store
from standfast.continuity.backup_anomalies import COMPARED_RUNS, BackupAnomaly, RunCounts, jumps
from standfast.continuity.clock_skew import is_in_far_future, newest, newest_first
from standfast.continuity.run_schedule import is_missed, last_due
from standfast.errors import ExitStatus, StandfastError, Unavailable
from standfast.ledger.runs.run_record import Origin, RunRecord
from standfast.usecases.backups.cloned_hosts import ClonedHost, find_cloned_host
from standfast.usecases.backups.configured_sources import own_files, source_of
from standfast.usecases.backups.damaged_packs import DamagedPacks, damaged_packs
from standfast.usecases.backups.hooks import SetHooks
from standfast.usecases.backups.installation_keys import without_closed_incidents, without_incidents
from standfast.usecases.backups.outcomes import BackupAge, BackupOutcome
from standfast.usecases.core.backup_repository import (
    keys_of,
    local_host_keys,
    set_of,
    translated_errors,
    writing_vault_of,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_origins import runs_of_host
from standfast.usecases.core.run_record import Run, recorded_if_possible

Report = Callable[[Progress], None]

# Sets of one host share the upload cache and run one after the other. The first backup of a set
# may take hours.
WAIT_FOR_ANOTHER_SET = timedelta(hours=12)
# The pauses last 50 minutes in total: a store that is unavailable for longer needs a person.
NIGHTLY_PAUSES = tuple(timedelta(minutes=minutes) for minutes in (1, 4, 15, 30))
_POLL_SECONDS = 0.5
_LAST_BACKUPS = 100  # newest runs that are searched for a clone; `standfast check` searches all


def run_backup(
    installation: Installation,
    set_name: str,
    way: str,
    progress: Report | None = None,
    *,
    wait_for_another_set: timedelta = WAIT_FOR_ANOTHER_SET,
    distrust: Collection[PackId] = (),
    pauses: Sequence[timedelta] = (),
    sleep: Callable[[float], None] = time.sleep,
) -> BackupOutcome:
    """Back up one set; `way` names the caller: prefect, serve or direct.

    If the store does not answer, retry after each of `pauses`. A retry does not upload the same
    data again, except the content of damaged packs: packs that the ledger records as damaged, and
    packs that `distrust` names. The call may be repeated after any error. Raise `UsageError` for an
    unknown set, `UnderWay` while another backup of this set runs, and `Unavailable` if the store
    still does not answer.
    """
    settings = set_of(installation, set_name)
    with (
        recorded_if_possible(installation, "backup", set_name, way) as run,
        translated_errors(f"backing up {set_name}"),
    ):
        known = DamagedPacks()
        try:
            known = damaged_packs(installation)
        except StandfastError as error:
            run.record_unavailability(error)
        if set_name == INSTALLATION_SET:
            try:
                settings = without_closed_incidents(installation, settings)
            except StandfastError as error:
                settings = without_incidents(settings)
                run.record_unavailability(error)
        host = local_host_keys(installation.config.backup)
        exclusions = settings.exclude, own_files(installation.config.backup)
        sources = [
            source_of(source, installation.resolver, *exclusions) for source in settings.sources
        ]
        give_up_at = time.monotonic() + wait_for_another_set.total_seconds()
        remaining_pauses = list(pauses)
        vault: Store | None = None
        hooks = SetHooks(installation=installation, set_name=set_name, run=run)
        has_waited = False
        while True:
            try:
                vault = vault or writing_vault_of(installation)
                with hooks.attempt():
                    hooks.backup = result = back_up(
                        vault=vault,
                        host=host,
                        set_name=set_name,
                        sources=sources,
                        send_log=installation.config.backup.send_log,
                        distrust=known.packs.union(distrust),
                        now=installation.clock,
                        progress=progress,
                        keys=keys_of(installation),
                        on_start=hooks.before,
                    )
                break
            except Busy:
                if time.monotonic() > give_up_at:
                    raise
                if not has_waited:
                    _log_wait(f"{set_name} waits: another backup of this host is in progress")
                has_waited = True
                sleep(_POLL_SECONDS)
            except (StoreUnavailable, Unavailable) as error:
                if not remaining_pauses:
                    raise
                pause = remaining_pauses.pop(0)
                _log_wait(f"{set_name}: retried in {pause // timedelta(minutes=1)} min: {error}")
                sleep(pause.total_seconds())
        result = _confirm_commit(sources, result)
        outcome = BackupOutcome(
            run=run.token,
            set_name=set_name,
            result=result,
            died_before=run.died_before,
            hooks=tuple(hooks.results),
            undistrusted=0 if distrust else known.unnamed,
        )
        try:
            before = _good_runs(installation, set_name, COMPARED_RUNS)
            clone = _find_clone(installation, run)
        except StandfastError as error:
            run.record_unavailability(error)
        else:
            outcome = dataclasses.replace(
                outcome,
                # This set contains Standfast's own ledger, which grows during an incident. Its
                # operators need no alarm about that growth.
                jumps=()
                if set_name == INSTALLATION_SET
                else _jumps(
                    before,
                    outcome,
                    removes_stored_files=any(source.is_self_pruning for source in sources),
                ),
                is_incomparable=result.is_full_upload and bool(before),
                cloned_host=clone,
            )
        is_whole = outcome.exit_status is ExitStatus.DONE
        run.ends("done" if is_whole else "partial", outcome.summary())
    outcome = dataclasses.replace(
        outcome, ledger_problem=run.ledger_problem, is_ledger_damaged=run.is_ledger_damaged
    )
    is_damaged = result.is_store_damaged or bool(result.key_problem)
    if outcome.jumps or is_damaged:
        # Imported here, because it loads the ledger's models, and most backups raise no alarm.
        from standfast.usecases.alarms.notification import anomaly_alarm, damage_alarm, notify

        # An error here must not make the backup fail: the recovery point exists, and the watchdog
        # (a regular check) notifies people later.
        with suppress(StandfastError):
            if outcome.jumps:
                notify(installation, anomaly_alarm(set_name, outcome.run, outcome.jumps), way)
            if is_damaged:
                notify(installation, damage_alarm(is_damaged=True), way)
    return outcome


def _find_clone(installation: Installation, run: Run) -> ClonedHost | None:
    """Find another machine that backed up under the name of this host.

    Omit a machine that was last seen before the last backup of this machine.
    """
    rows = installation.runs.all("backup", most=_LAST_BACKUPS)
    now = installation.clock()
    before = [row for row in rows if row.id != run.token]
    found = find_cloned_host(rows, run.origin, now) or find_cloned_host(before, run.origin, now)
    own = [row.started_at for row in before if Origin.of(row.summary) == run.origin]
    return None if found is None or (own and found.seen_at < max(own)) else found


def _log_wait(message: str) -> None:
    """Log the reason for a delay; commands show the log on standard error."""
    logging.getLogger("standfast.backup").warning("%s", message)


def expected_files(installation: Installation, set_name: str) -> int:
    """Return the number of files in the set's newest good run; 0 if unknown."""
    try:
        runs = _good_runs(installation, set_name, 1)
    except StandfastError:
        return 0  # the backup continues without the ledger, and reports the error
    return next((int(run.summary.get("files", 0)) for run in runs), 0)


def good_run_since(installation: Installation, set_name: str, since: datetime) -> RunRecord | None:
    """Return the set's newest good run if it began at `since` or later."""
    for run in _good_runs(installation, set_name, 1):
        if since <= run.started_at <= installation.clock():
            return run
    return None


def newest_jumps(
    installation: Installation, set_name: str
) -> tuple[str, tuple[BackupAnomaly, ...]] | None:
    """Return the id and the anomalies of the set's newest good run.

    Return None if there is no good run, or if the newest good run has no anomaly.
    """
    for run in _good_runs(installation, set_name, 1):
        if found := run.summary.get("jumps"):
            return run.id, tuple(
                BackupAnomaly(
                    measure=jump["what"],
                    permille=jump["permille"],
                    usual_permille=jump["usual_permille"],
                )
                for jump in found
            )
    return None


def _jumps(
    runs: Sequence[RunRecord], outcome: BackupOutcome, *, removes_stored_files: bool
) -> tuple[BackupAnomaly, ...]:
    counts = [RunCounts.of(run.summary) for run in runs]
    newest = RunCounts.of(outcome.summary())
    before = [run for run in reversed(counts) if run is not None]
    return (
        () if newest is None else jumps(before, newest, removes_stored_files=removes_stored_files)
    )


def _good_runs(installation: Installation, set_name: str, most: int) -> list[RunRecord]:
    states = ["done", "partial"]
    found = installation.runs.all("backup", set_name, states=states, most=most)
    runs, now = runs_of_host(installation.config, found), installation.clock()
    # The list of `most` runs may lack the newest runs of this host: runs of other hosts may fill
    # the list, and a clock that was ahead may put wrong runs first. Then read all runs.
    if found and (len(runs) < len(found) or is_in_far_future(runs[0].started_at, now)):
        every = runs_of_host(
            installation.config, installation.runs.all("backup", set_name, states=states)
        )
        runs = newest_first(every, now)[:most]
    return runs


def _confirm_commit(sources: Sequence[Source], result: BackupResult) -> BackupResult:
    """Notify the sources that the recovery point exists.

    A source may then delete data that the backup contains. A failure becomes a warning.
    """
    warnings = []
    for source in sources:
        try:
            source.on_committed()
        except OSError as error:
            warnings.append(
                f"source {source.name}: data that the recovery point now contains could not be "
                f"deleted at the source: {error.strerror or type(error).__name__}"
            )
    return dataclasses.replace(result, warnings=(*result.warnings, *warnings))


def set_age(
    installation: Installation, set_name: str, *, grace: timedelta = timedelta(0)
) -> BackupAge:
    """Return a set's due time, its newest good run, and if a run was missed.

    A run is missed if no good run and no run in progress began since the due time, and `grace` has
    passed after it. Runs with a time in the future are ignored.
    """
    now = installation.clock()
    settings = set_of(installation, set_name)
    zone = settings.time_zone or installation.config.organisation.time_zone
    due_at = last_due(settings.schedule, zone, now - grace)
    runs = runs_of_host(installation.config, installation.runs.all("backup", set_name))
    good = [run.started_at for run in runs if run.state in ("done", "partial")]
    begun = [run.started_at for run in runs if run.state in ("done", "partial", "running")]
    good_at = newest(good, now)
    return BackupAge(
        set_name=set_name,
        due_at=due_at,
        good_at=good_at,
        age_seconds=int((now - good_at).total_seconds()) if good_at else None,
        is_missed=is_missed(due_at, newest(begun, now)),
    )
