"""Choice of a drill's recovery point: the newest, before a time, named.

A drill is a test restore of a backup set.
"""

from contextlib import suppress
from datetime import datetime

from backup.records import RecoveryPoint
from backup.repository import Repository
from backup.trust.key_files import Identity
from standfast.errors import Damaged, StandfastError, Unavailable, UsageError
from standfast.records import timestamp
from standfast.usecases.core.backup_repository import open_repository, translated_errors
from standfast.usecases.core.installation import Installation


def open_newest(
    installation: Installation, identity: Identity, set_name: str, until: datetime | None
) -> tuple[Repository, RecoveryPoint]:
    """Return the newest recovery point of a set, or the newest before `until`."""
    with translated_errors("opening the repository"):
        repository = open_repository(installation, identity)
        if until is None:
            return repository, repository.resolve("latest", set_name, of_any_host=True)
        points = [point for point in repository.points(set_name) if point.time <= until]
        if not points:
            raise UsageError(f"{set_name}: no recovery point before {timestamp(until)}.")
        return repository, max(points, key=lambda point: point.time)


def find_named_point(
    installation: Installation, identity: Identity, point: str, set_name: str
) -> tuple[Repository, RecoveryPoint] | None:
    """Return a named recovery point; raise `UsageError` if it does not exist.

    Call this function before the drill is recorded, so that a wrong name leaves no record. Return
    None for any other error. The drill then starts, tries to open the point again, and records the
    error.
    """
    try:
        with translated_errors("opening the repository"):
            repository = open_repository(installation, identity)
            points = repository.points(set_name)
    except StandfastError:
        return None
    if points:
        with suppress(Damaged, Unavailable), translated_errors("opening the repository"):
            return repository, repository.resolve(point, set_name, of_any_host=True)
    return None
