"""A file of a backup set as it was before an incident: restored apart, read, and destroyed.

Who was a customer when it happened is not always who is one now: the intruder may have changed or
emptied the database since.

Rules
- The incident's time is the earliest that is known: when it happened, as somebody stated, else when
  it was noticed, else when it was opened here.
- The newest complete point that was committed before it; none: an error, never a later one.
- Only the one file is restored, into a private folder beside the drills', which is gone when the
  block ends, however it ends. What a dead one left goes first.
"""

import glob
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from backup.system.tree_removal import remove_tree
from standfast.deadlines.incident_facts import FactKind
from standfast.errors import ConfigurationError, Damaged, UsageError
from standfast.host_name import host_name
from standfast.ledger.runs.run_record import is_gone
from standfast.ledger.schema.row_ids import new_token
from standfast.records import timestamp
from standfast.usecases.backups.damage_cause import is_damage_behind
from standfast.usecases.core.backup_repository import (
    identity_of,
    opened_repository,
    set_of,
    translated_errors,
)
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.restore_drill import drill_folder

_TOLD_BY = ("occurrence", "detection", "suspicion")
_in_use: set[str] = set()  # the folders of this process, by name


def incident_time(installation: Installation, incident_id: str) -> datetime:
    """Give the moment before which nothing of the incident had happened, as far as is known."""
    facts = installation.ledger.facts.of(incident_id)
    known = [facts.latest(FactKind.TIME, name) for name in _TOLD_BY]
    stated = [one.at for one in known if one is not None and one.at is not None]
    return min([installation.ledger.incidents.get(incident_id).opened_at, *stated])


@contextmanager
def file_before(
    installation: Installation, moment: datetime, set_name: str, path: str
) -> Iterator[Path]:
    """Give the file `SOURCE/PATH` of the newest point of the set from before the moment.

    ConfigurationError when there is no such set, point or file; UsageError without an identity
    that opens it; Damaged when it does not come back whole.
    """
    try:
        set_of(installation, set_name)
    except UsageError as error:
        raise ConfigurationError(f"an audience is read from a backup: {error}") from None
    identity = identity_of(installation, None)
    with translated_errors("opening the repository"):
        repository = opened_repository(installation, identity)
        there = [
            point
            for point in repository.points(set_name)
            if point.complete and not point.is_interim and point.time < moment
        ]
    point = max(there, key=lambda one: one.time, default=None)
    if point is None:
        raise ConfigurationError(
            f"the backup set {set_name!r} has no complete recovery point from before "
            f"{timestamp(moment)[:16]}Z; name another audience"
        )
    with _own_folder(installation, set_name) as folder:
        with translated_errors(f"restoring {point.name}"):
            result = repository.restore(
                point, folder / "tree", (glob.escape(path),), now=installation.clock
            )
        if is_damage_behind(result.problems):
            raise Damaged(f"{point.name} does not come back whole; run `standfast backup verify`")
        file = folder / "tree" / path
        if not file.is_file() or file.is_symlink():
            raise ConfigurationError(
                f"{point.name} of the set {set_name!r} has no file {path}; `standfast backup "
                f"ls {point.name}` lists what it has"
            )
        yield file


@contextmanager
def _own_folder(installation: Installation, set_name: str) -> Iterator[Path]:
    """Give a folder that nobody else restores into; what the dead left of the set goes first."""
    here = hashlib.sha256(host_name().encode()).hexdigest()[:12]
    for left in installation.config.drills.folder.glob(f".{set_name}.audience-*-{here}-*"):
        name = left.name.removeprefix(f".{set_name}.")
        pid = int(name.split("-")[1])
        if name not in _in_use and (pid == os.getpid() or is_gone(host_name(), pid)):
            remove_tree(left)
    mine = f"audience-{os.getpid()}-{here}-{new_token()}"
    _in_use.add(mine)
    try:
        with drill_folder(installation, set_name, mine) as folder:
            yield folder
    finally:
        _in_use.discard(mine)
