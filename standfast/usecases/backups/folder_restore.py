"""Restore of a recovery point to a folder.

A recovery point is the state of a backup set that one backup stored. The module imports no code of
sources, writers or alarms, so that a restore starts quickly.

Rules
- Each path that could not be restored is counted and named, and makes the outcome partial.
  Requested data that the recovery point lacks also makes the outcome partial.
- The ledger (the database of runs) stores counts, times and the name of the recovery point, but no
  file name. A restore continues if the ledger cannot be written.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from backup.records import Progress
from backup.system.durable_files import resolve_path
from standfast.errors import Refused
from standfast.usecases.backups.outcomes import RestoreOutcome
from standfast.usecases.backups.restore_warnings import (
    damaged_after,
    is_damage_behind,
    is_dated_ahead,
    lacking,
)
from standfast.usecases.core.backup_repository import (
    identity_of,
    open_repository,
    translated_errors,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.core.run_record import recorded_if_possible


def restore(
    installation: Installation,
    point: str,
    to: Path,
    identity_file: Path | None,
    patterns: Sequence[str] = (),
    progress: Callable[[Progress], None] | None = None,
    *,
    set_name: str | None = None,
    has_owner: bool = False,
    syncs: bool = True,
    way: str = "direct",
) -> RestoreOutcome:
    """Restore a point, or a selection, to an empty folder as `to/<source>/…`.

    `point` is "latest", "<host>/<sequence>" or a sequence number. An interrupted restore
    continues when it is requested again. Raise `UsageError` for an unknown point, for "latest" if
    the vault has several backup sets and `set_name` is None, and for a private key that cannot
    decrypt the vault. Raise `Refused` if `to` contains other files or is inside a store of backups.
    """
    refuse_stores(installation, to)
    with translated_errors("restoring"):
        repository = open_repository(installation, identity_of(installation, identity_file))
        chosen = repository.resolve(point, set_name)
    with (
        recorded_if_possible(installation, "restore", chosen.set_name, way, is_shared=True) as run,
        translated_errors(f"restoring {chosen.name}"),
    ):
        result = repository.restore(
            chosen, to, patterns, progress, owner=has_owner, syncs=syncs, now=installation.clock
        )
        outcome = RestoreOutcome(
            run=run.token,
            point=chosen,
            to=to,
            result=result,
            is_damaged=is_damage_behind(result.problems),
            lacking=lacking(chosen, patterns),
            newer_damaged=damaged_after(repository, chosen, point),
            is_dated_ahead=is_dated_ahead(chosen, point, installation.clock()),
        )
        is_whole = not (result.problems or outcome.lacking.is_any or outcome.newer_damaged)
        state = "failed" if outcome.is_damaged else "done" if is_whole else "partial"
        run.ends(state, outcome.summary())
    return replace(outcome, ledger_problem=run.ledger_problem)


def refuse_stores(installation: Installation, to: Path) -> None:
    """Raise `Refused` for a target inside a store of backups.

    Replication would copy the restored files to the second site in plain text.
    """
    backup = installation.config.backup
    stores = [None if backup.s3 else backup.vault, backup.keys]
    stores += [store for copy in backup.copies.values() for store in (copy.vault, copy.keys)]
    for store in stores:
        if store is not None and resolve_path(to).is_relative_to(resolve_path(store)):
            raise Refused(f"{to}: it is inside {store}, a store of backups. Name a folder outside.")
