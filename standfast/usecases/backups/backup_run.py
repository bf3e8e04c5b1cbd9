"""Backups as use-cases: make a recovery point, and how old the newest is.

Owns what an operator or a schedule asks for and how it stands in the ledger. Leaves bytes, keys and
formats to `backup/`, looking into points to `backup_contents.py`, restoring to `restoring.py`,
drills to `drills.py` and verifying to `verification.py`.

Rules
- Whatever could not be read is counted and named, and makes the outcome partial, never a success.
- The ledger gets counts, times and the point's name; names of files stay in the outcome.
- A ledger that is lost, damaged or away keeps no backup from being made; the outcome says so, and
  is partial at best: nobody is told of what does not stand there.
"""

import dataclasses
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import timedelta

from backup.archiver.backup_run import back_up
from backup.errors import Busy, StoreUnavailable
from backup.format.keep_record import PackId
from backup.records import BackupResult, Progress
from backup.sources import Source
from backup.stores import Store
from standfast.continuity.backup_anomalies import NIGHTS, BackupAnomaly, Night, jumps
from standfast.continuity.clock_skew import is_to_come, newest, newest_first
from standfast.errors import ExitStatus, StandfastError, Unavailable
from standfast.ledger.runs.run_record import Origin, RunRecord
from standfast.usecases.backups.cloned_hosts import ClonedHost, find_cloned_host
from standfast.usecases.backups.configured_sources import own_files, source_of
from standfast.usecases.backups.damaged_packs import DamagedPacks, damaged_packs
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

# Sets of one host share its send-log and go one after the other; a first backup may take hours.
WAIT_FOR_ANOTHER_SET = timedelta(hours=12)
# A store that is away comes back within the hour, or it is a matter for people.
NIGHTLY_PAUSES = tuple(timedelta(minutes=minutes) for minutes in (1, 4, 15, 30))
_POLL_SECONDS = 0.5
_LAST_BACKUPS = 100  # among which another machine is looked for; `check` looks at all


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
    """Back one set up; `way` says what runs this: prefect, serve or direct.

    When the store does not answer it is tried again after each of `pauses`, and what was stored
    stays. What lies in packs that the ledger knows to be damaged, or `distrust` names, is sent
    again. Safe to run again after any error. Raises `UsageError` for an unknown set, `UnderWay`
    while this set is being backed up, `Unavailable` when the store does not answer.
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
            run.goes_on_without(error)
        host = local_host_keys(installation.config.backup)
        left_out = settings.exclude, own_files(installation.config.backup)
        sources = [source_of(one, installation.resolver, *left_out) for one in settings.sources]
        give_up_at = time.monotonic() + wait_for_another_set.total_seconds()
        left = list(pauses)
        vault: Store | None = None
        has_waited = False
        while True:
            try:
                vault = vault or writing_vault_of(installation)
                result = back_up(
                    vault=vault,
                    host=host,
                    set_name=set_name,
                    sources=sources,
                    send_log=installation.config.backup.send_log,
                    distrust=known.packs.union(distrust),
                    now=installation.clock,
                    progress=progress,
                    keys=keys_of(installation),
                )
                break
            except Busy:
                if time.monotonic() > give_up_at:
                    raise
                if not has_waited:
                    _say(f"{set_name} waits: another backup of this host is under way")
                has_waited = True
                sleep(_POLL_SECONDS)
            except (StoreUnavailable, Unavailable) as error:
                if not left:
                    raise
                pause = left.pop(0)
                _say(f"{set_name} is tried again in {pause // timedelta(minutes=1)} min: {error}")
                sleep(pause.total_seconds())
        result = _let_go(sources, result)
        outcome = BackupOutcome(
            run=run.token,
            set_name=set_name,
            result=result,
            died_before=run.died_before,
            undistrusted=0 if distrust else known.unnamed,
        )
        try:
            before = _good_runs(installation, set_name, NIGHTS)
            twin = _twin(installation, run)
        except StandfastError as error:
            run.goes_on_without(error)
        else:
            outcome = dataclasses.replace(
                outcome,
                jumps=_jumps(before, outcome, sheds=any(one.sheds for one in sources)),
                is_incomparable=result.sent_anew and bool(before),
                twin=twin,
            )
        is_whole = outcome.exit_status is ExitStatus.DONE
        run.ends("done" if is_whole else "partial", outcome.summary())
    outcome = dataclasses.replace(
        outcome, unrecorded=run.unrecorded, is_ledger_damaged=run.is_ledger_damaged
    )
    is_damaged = result.is_store_damaged or bool(result.key_problem)
    if outcome.jumps or is_damaged:
        from standfast.usecases.alarms.notification import (  # most nights need none
            damaged,
            jumped,
            tell,
        )

        with suppress(StandfastError):  # the point is made; the watch tells what this could not
            if outcome.jumps:
                tell(installation, jumped(set_name, outcome.run, outcome.jumps), way)
            if is_damaged:
                tell(installation, damaged(is_damaged=True), way)
    return outcome


def _twin(installation: Installation, run: Run) -> ClonedHost | None:
    """Find another machine that backed up under this host's name since this one last did."""
    rows = installation.runs.all("backup", most=_LAST_BACKUPS)
    now = installation.clock()
    before = [row for row in rows if row.id != run.token]
    found = find_cloned_host(rows, run.origin, now) or find_cloned_host(before, run.origin, now)
    own = [row.started_at for row in before if Origin.of(row.summary) == run.origin]
    return None if found is None or (own and found.seen_at < max(own)) else found


def _say(told: str) -> None:
    """Say on the log, which a command has on standard error, why nothing seems to happen."""
    import logging  # most nights wait for nobody

    logging.getLogger("standfast.backup").warning("%s", told)


def expected_files(installation: Installation, set_name: str) -> int:
    """Give how many files the newest good run of a set had; 0 where none is known."""
    try:
        runs = _good_runs(installation, set_name, 1)
    except StandfastError:
        return 0  # the backup goes on without the ledger, and says so
    return next((int(run.summary.get("files", 0)) for run in runs), 0)


def newest_jumps(
    installation: Installation, set_name: str
) -> tuple[str, tuple[BackupAnomaly, ...]] | None:
    """Give the newest good run of a set and what jumped in it; None when nothing did."""
    for run in _good_runs(installation, set_name, 1):
        if found := run.summary.get("jumps"):
            return run.id, tuple(BackupAnomaly(**jump) for jump in found)
    return None


def _jumps(
    runs: Sequence[RunRecord], outcome: BackupOutcome, *, sheds: bool
) -> tuple[BackupAnomaly, ...]:
    nights = [Night.of(run.summary) for run in runs]
    tonight = Night.of(outcome.summary())
    before = [night for night in reversed(nights) if night is not None]
    return () if tonight is None else jumps(before, tonight, sheds=sheds)


def _good_runs(installation: Installation, set_name: str, most: int) -> list[RunRecord]:
    states = ["done", "partial"]
    found = installation.runs.all("backup", set_name, states=states, most=most)
    runs, now = runs_of_host(installation.config, found), installation.clock()
    # Those that came after a clock that stood ahead are not the first ones, nor are ours between
    # another host's.
    if found and (len(runs) < len(found) or is_to_come(runs[0].started_at, now)):
        every = runs_of_host(
            installation.config, installation.runs.all("backup", set_name, states=states)
        )
        runs = newest_first(every, now)[:most]
    return runs


def _let_go(sources: Sequence[Source], result: BackupResult) -> BackupResult:
    """Tell the sources that the point is committed; what goes wrong with that is a warning."""
    warnings = []
    for source in sources:
        try:
            source.committed()
        except OSError as error:
            warnings.append(
                f"source {source.name} could not let go of what is in the point now:"
                f" {error.strerror or type(error).__name__}"
            )
    return dataclasses.replace(result, warnings=(*result.warnings, *warnings))


def set_age(
    installation: Installation, set_name: str, *, grace: timedelta = timedelta(0)
) -> BackupAge:
    """Say when a set was due last, whether that run was missed, and how old the last good one is.

    A run under way counts as not missed; a failed one counts as none, and so does one of a clock
    that stood ahead. `grace` is how long after the due moment a run may still begin.
    """
    now = installation.clock()
    settings = set_of(installation, set_name)
    zone = settings.time_zone or installation.config.organisation.time_zone
    from standfast.continuity.run_schedule import is_missed, last_due  # no backup needs them

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
