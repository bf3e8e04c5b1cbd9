"""Backups as use-cases: make a recovery point, list them, restore one, verify the repository.

Owns what an operator or a schedule asks for and how it stands in the ledger. Leaves bytes, keys and
formats to `backup/`, and drills to `drills.py`.

Rules
- Whatever could not be read is counted and named, and makes the outcome partial, never a success.
- The ledger gets counts, times and the point's name; names of files stay in the outcome.
- After a clean verification the newest recovery points go to the witness outside the vault, and the
  next verification is held against it: that is what shows a vault that was rolled back.
"""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

from backup.errors import Busy
from backup.keys import Host
from backup.records import Progress
from backup.verify import verify as verify_repository
from backup.writer import back_up
from standfast.continuity.schedule import is_missed, last_due
from standfast.errors import ExitStatus
from standfast.operations.backup_outcomes import (
    BackupOutcome,
    PointList,
    RestoreOutcome,
    SetAge,
    VerifyOutcome,
)
from standfast.operations.backup_witness import append_heads, read_heads
from standfast.operations.damage import is_damage_behind
from standfast.operations.place import Place
from standfast.operations.repository import (
    identity_of,
    keys_of,
    opened_repository,
    owner_of,
    plain_errors,
    set_of,
    source_of,
    vault_of,
)
from standfast.operations.run_record import recorded

Report = Callable[[Progress], None]

# Sets of one host share its send-log and go one after the other; a first backup may take hours.
WAIT_FOR_ANOTHER_SET = timedelta(hours=12)
_POLL_SECONDS = 0.5
VAULT = "vault"  # what a verification's run row names as its subject


def run_backup(
    place: Place,
    set_name: str,
    way: str,
    progress: Report | None = None,
    *,
    wait_for_another_set: timedelta = WAIT_FOR_ANOTHER_SET,
) -> BackupOutcome:
    """Back one set up; `way` says what runs this: prefect, serve or direct.

    Safe to run again after any error. Raises `UsageError` for an unknown set, `Refused` while this
    set is being backed up, `Unavailable` when the store does not answer.
    """
    settings = set_of(place, set_name)
    with recorded(place, "backup", set_name, way) as run, plain_errors(f"backing up {set_name}"):
        host = Host.load(place.config.backup.host)
        vault = vault_of(place)
        give_up_at = time.monotonic() + wait_for_another_set.total_seconds()
        while True:
            try:
                result = back_up(
                    vault=vault,
                    host=host,
                    set_name=set_name,
                    sources=[source_of(source) for source in settings.sources],
                    send_log=place.config.backup.send_log,
                    now=place.clock,
                    progress=progress,
                )
                break
            except Busy:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(_POLL_SECONDS)
        outcome = BackupOutcome(
            run=run.token, set_name=set_name, result=result, died_before=run.died_before
        )
        is_whole = outcome.exit_status is ExitStatus.DONE
        run.ends("done" if is_whole else "partial", outcome.summary())
    return outcome


def list_points(
    place: Place, set_name: str | None = None, identity: Path | None = None
) -> PointList:
    """List the recovery points of one set or of all; `identity` is a custodian's file."""
    with plain_errors("listing recovery points"):
        opened = None if identity is None else identity_of(place, identity)
        points = opened_repository(place, opened).points(set_name)
    return PointList(points=tuple(points))


def restore(
    place: Place,
    point: str,
    to: Path,
    identity_file: Path | None,
    patterns: Sequence[str] = (),
    progress: Report | None = None,
    *,
    set_name: str | None = None,
    has_owner: bool = False,
    way: str = "direct",
) -> RestoreOutcome:
    """Restore a point, or what the patterns select of it, into an empty folder as `to/<source>/…`.

    `point` is "latest", "<writer>/<sequence>" or a sequence. Raises `UsageError` for an unknown
    point or an identity that opens nothing, `Refused` when `to` is not empty.
    """
    with plain_errors("restoring"):
        repository = opened_repository(place, identity_of(place, identity_file))
        chosen = repository.resolve(point, set_name)
    with (
        recorded(place, "restore", chosen.set_name, way, is_shared=True) as run,
        plain_errors(f"restoring {chosen.name}"),
    ):
        result = repository.restore(
            chosen, to, patterns, progress, owner=has_owner, now=place.clock
        )
        outcome = RestoreOutcome(
            run=run.token,
            point=chosen,
            to=to,
            result=result,
            is_damaged=is_damage_behind(repository, chosen, result.problems),
        )
        state = "failed" if outcome.is_damaged else "partial" if result.problems else "done"
        run.ends(state, outcome.summary())
    return outcome


def verify(
    place: Place,
    read: bool = False,
    identity_file: Path | None = None,
    progress: Report | None = None,
    *,
    way: str = "direct",
) -> VerifyOutcome:
    """Check the whole repository; with `read` every byte, with an identity what it holds, too.

    What is wrong is in the findings, not raised; a clean result moves the witness on.
    """
    with (
        recorded(place, "verify", VAULT, way) as run,
        plain_errors("verifying the repository"),
    ):
        witness, torn = read_heads(place.config.backup.witness)
        vault = vault_of(place)
        identity = None if identity_file is None else identity_of(place, identity_file)
        report = verify_repository(
            vault,
            keys=keys_of(place),
            identity=identity,
            read=read,
            witness=witness,
            owner=owner_of(place),
            progress=progress,
        )
        traits = vault.describe()
        outcome = VerifyOutcome(
            run=run.token,
            report=report,
            findings=(*torn, *report.findings),
            is_read=read,
            is_keyed=identity is not None,
            is_write_only=traits.is_write_only,
            why_write_only=traits.why,
        )
        is_sound = outcome.exit_status is ExitStatus.DONE
        if is_sound:
            append_heads(place.config.backup.witness, report.heads, witness, place.clock())
        run.ends("done" if is_sound else "failed", outcome.summary())
    return outcome


def set_age(place: Place, set_name: str, *, grace: timedelta = timedelta(0)) -> SetAge:
    """Say when a set was due last, whether that run was missed, and how old the last good one is.

    A run under way counts as not missed; a failed one counts as none. `grace` is how long after the
    due moment a run may still begin.
    """
    now = place.clock()
    settings = set_of(place, set_name)
    zone = settings.time_zone or place.config.organisation.time_zone
    due_at = last_due(settings.schedule, zone, now - grace)
    runs = place.ledger.runs.all("backup", set_name)
    good = [run.started_at for run in runs if run.state in ("done", "partial")]
    begun = [run.started_at for run in runs if run.state in ("done", "partial", "running")]
    good_at = max(good, default=None)
    return SetAge(
        set_name=set_name,
        due_at=due_at,
        good_at=good_at,
        age_seconds=int((now - good_at).total_seconds()) if good_at else None,
        is_missed=is_missed(due_at, max(begun, default=None)),
    )
