"""Audience files restored from a backup that is older than the incident.

An audience is the list of recipients of a notice. Its file is restored, read and deleted. The file
lists the customers before the incident; an intruder may have changed or emptied the database since
then. A recovery point is one restorable state of a backup.

Rules
- The time of the incident is the earliest of its stated times (occurrence, detection, suspicion)
  and of its opening in Standfast.
- The newest complete recovery point from before the time of the incident is used. If there is none,
  an error is raised; a later recovery point is never used.
- Only the named file is restored, into a private folder next to the folders of test restores. The
  folder is deleted after use, even after an error. Folders that a dead process left are deleted
  before a restore.
"""

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from standfast.deadlines.incident_facts import FactKind
from standfast.errors import ConfigurationError, Damaged, UsageError
from standfast.records import timestamp
from standfast.usecases.backups.restore_warnings import is_damage_behind
from standfast.usecases.core.backup_repository import (
    identity_of,
    open_repository,
    set_of,
    translated_errors,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.drill_folders import scan_folder

_STATED_TIMES = ("occurrence", "detection", "suspicion")


def incident_time(installation: Installation, incident_id: str) -> datetime:
    """Return the earliest known moment of the incident."""
    facts = installation.ledger.facts.of_incident(incident_id)
    known = [facts.latest(FactKind.TIME, name) for name in _STATED_TIMES]
    stated = [fact.at for fact in known if fact is not None and fact.at is not None]
    return min([installation.ledger.incidents.get(incident_id).opened_at, *stated])


@contextmanager
def file_before(
    installation: Installation, moment: datetime, set_name: str, path: str
) -> Iterator[Path]:
    """Yield a file from the newest complete recovery point before the moment.

    The recovery point is of the backup set `set_name`. `path` has the form `SOURCE/PATH`. Raise
    ConfigurationError if the set, the recovery point or the file does not exist. Raise UsageError
    if no private key is configured that decrypts the recovery point, and Damaged if the file cannot
    be restored completely.
    """
    try:
        set_of(installation, set_name)
    except UsageError as error:
        raise ConfigurationError(f"an audience is read from a backup: {error}") from None
    identity = identity_of(installation, None)
    with translated_errors("opening the repository"):
        repository = open_repository(installation, identity)
        points = [
            point
            for point in repository.points(set_name)
            if point.complete and not point.is_interim and point.time < moment
        ]
    point = max(points, key=lambda candidate: candidate.time, default=None)
    if point is None:
        raise ConfigurationError(
            f"backup set {set_name!r}: no complete recovery point from before "
            f"{timestamp(moment)[:16]}Z. Name another audience."
        )
    with scan_folder(installation, set_name, "audience") as folder:
        with translated_errors(f"restoring {point.name}"):
            result = repository.restore(
                point, folder / "tree", (glob.escape(path),), now=installation.clock
            )
        if is_damage_behind(result.problems):
            raise Damaged(f"{point.name}: damaged. Run `standfast backup verify`.")
        file = folder / "tree" / path
        if not file.is_file() or file.is_symlink():
            raise ConfigurationError(
                f"{point.name} of set {set_name!r}: no file {path}. List its files with `standfast "
                f"backup ls {point.name}`."
            )
        yield file
