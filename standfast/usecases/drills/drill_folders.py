"""Folders that drills and scans restore into, and their destruction.

Rules
- A target is a new private folder. It is destroyed however the drill ends; afterwards a check
  confirms that the folder is gone.
- The remains of a dead drill are deleted before the next drill of its set. The ledger decides which
  drills are alive, because drills of another machine may be in the same folder.
- Only `keep_target` leaves a target.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backup.system.tree_removal import remove_tree
from standfast.errors import StandfastError
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.throwaway.server_process import end_processes

_KEPT = ".kept"
_SHORT = 8  # characters of a run's id
OUTPUT = ".output"  # the suffix of a file with the output of failed commands


@dataclass(frozen=True, kw_only=True)
class Target:
    """The folder of the restore, and whether it was kept or destroyed."""

    folder: Path
    is_kept: bool
    is_gone: bool  # a check after the deletion did not find it


@contextmanager
def new_target(installation: Installation, set_name: str, run: str) -> Iterator[Path]:
    """Create a new private folder; delete it if the drill is interrupted."""
    folder = installation.config.drills.folder / f"{set_name}.{run}"
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise StandfastError(
            f"drill folder {folder}: cannot be created: {error.strerror}. Repair the disk or set "
            "drills.folder, then drill again."
        ) from error
    try:
        yield folder
    except BaseException:
        destroy(folder)
        raise


@contextmanager
def drill_folder(installation: Installation, set_name: str, name: str) -> Iterator[Path]:
    """Create a private folder for a scan, and destroy it afterwards.

    The folder is next to the folders of the drills.

    Remains of a dead scan with the same name are deleted first.
    """
    set_name = f".{set_name}"  # the dot keeps `destroy_leftovers` of drills from deleting it
    destroy(installation.config.drills.folder / f"{set_name}.{name}")
    with new_target(installation, set_name, name) as folder:
        yield folder
        destroy(folder)


def keep_target(folder: Path) -> Target:
    """Leave a target for a person."""
    # Renamed, so that `destroy_leftovers` does not delete it.
    kept = folder.with_name(folder.name + _KEPT)
    folder.rename(kept)
    return Target(folder=kept, is_kept=True, is_gone=False)


def destroy(folder: Path) -> Target:
    """Delete a target, without overwriting it, and check that it is gone.

    Database servers that a killed drill left are killed first.
    """
    servers = server_folder(folder)
    end_processes(servers)
    # Delete the servers first: after a crash, their path can still be derived from the target's
    # name.
    remove_tree(servers)
    remove_tree(folder)
    is_gone = not os.path.lexists(servers) and not os.path.lexists(folder)
    return Target(folder=folder, is_kept=False, is_gone=is_gone)


def server_folder(target: Path) -> Path:
    """Return the folder of the database servers of a target.

    It is next to the target and has a short name, because a socket's path has at most 107 bytes.
    """
    return target.parent.resolve() / target.name.rpartition(".")[2][:_SHORT]


def destroy_leftovers(installation: Installation, subject: str) -> int:
    """Delete the remains of dead drills of a subject; return their number.

    The caller holds the lock of these drills. Drills of another machine in the same folder are
    not under that lock, so the ledger decides which drills are alive.
    """
    folder = installation.config.drills.folder
    alive = {row.id for row in installation.ledger.runs.all("drill", subject, states=["running"])}
    leftovers = []
    for path in folder.glob(f"{subject}.*"):
        run, _, suffix = path.name.removeprefix(f"{subject}.").partition(".")
        if suffix in ("", OUTPUT[1:]) and run not in alive:
            leftovers.append(path)
    for path in leftovers:
        if path.suffix == OUTPUT:
            path.unlink(missing_ok=True)
        else:
            destroy(path)
    return len(leftovers)
