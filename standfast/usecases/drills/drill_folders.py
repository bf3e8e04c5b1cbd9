"""Folders that drills and scans restore into, and their deletion.

A drill is a test restore. A scan restores a recovery point to search it for traces of an intruder.

Rules
- A target is the new private folder of one restore. It is deleted when the drill ends, unless
  `keep_target` was called. A check then confirms that the folder no longer exists.
- If the process of a drill died, its folders are deleted before the next drill of the same backup
  set. The ledger (the installation's database) shows which drills still run, because drills of
  another machine may use the same parent folder.
- The name of a scan's folder contains the process id and the machine. If that process died, the
  next scan or drill of the set, or the watchdog (a regular check of the installation), deletes the
  folder.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backup.system.tree_removal import remove_tree
from standfast.errors import StandfastError
from standfast.host_name import host_name
from standfast.ledger.runs.run_record import is_gone
from standfast.ledger.schema.row_ids import new_token
from standfast.usecases.core.installation import Installation
from standfast.usecases.drills.throwaway.server_process import end_processes

_KEPT = ".kept"  # suffix of a folder that is kept
_SHORT = 8  # characters of a run's id in a short folder name
OUTPUT = ".output"  # suffix of a file with the output of failed commands
_in_use: set[str] = set()  # names of the scan folders that this process uses


@dataclass(frozen=True, kw_only=True)
class Target:
    """The folder of a restore, and whether it was kept or deleted."""

    folder: Path
    is_kept: bool
    is_gone: bool  # True if a check confirmed the deletion


@contextmanager
def new_target(installation: Installation, set_name: str, run: str) -> Iterator[Path]:
    """Create a new private folder; delete it if the block raises an exception."""
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
    """Create a private folder next to those of drills; delete it afterwards.

    If a process that died left a folder of the same name, that folder is deleted first.
    """
    set_name = f".{set_name}"  # the dot excludes the folder from `destroy_leftovers`
    destroy(installation.config.drills.folder / f"{set_name}.{name}")
    with new_target(installation, set_name, name) as folder:
        yield folder
        destroy(folder)


@contextmanager
def scan_folder(installation: Installation, set_name: str, kind: str) -> Iterator[Path]:
    """Create a private folder for a scan, and delete it afterwards.

    If this process dies, a later scan or drill deletes the folder. `kind` is a word without a
    hyphen.
    """
    destroy_dead_scans(installation, set_name)
    name = f"{kind}-{os.getpid()}-{_machine()}-{new_token()}"
    _in_use.add(name)
    try:
        with drill_folder(installation, set_name, name) as folder:
            yield folder
    finally:
        _in_use.discard(name)


def destroy_dead_scans(installation: Installation, set_name: str) -> None:
    """Delete scan folders that ended processes of this host left behind."""
    own_name = re.compile(rf"[a-z]+-([0-9]{{1,10}})-{_machine()}-[^.]+")
    for path in installation.config.drills.folder.glob(f".{set_name}.*"):
        name = path.name.removeprefix(f".{set_name}.")
        found = own_name.fullmatch(name)
        if found is None or name in _in_use:
            continue
        pid = int(found[1])
        if pid == os.getpid() or is_gone(host_name(), pid):
            destroy(path)


def _machine() -> str:
    return hashlib.sha256(host_name().encode()).hexdigest()[:12]


def keep_target(folder: Path) -> Target:
    """Rename a target, so that no drill deletes it."""
    kept = folder.with_name(folder.name + _KEPT)
    folder.rename(kept)
    return Target(folder=kept, is_kept=True, is_gone=False)


def destroy(folder: Path) -> Target:
    """Delete a target without overwriting its bytes; check the deletion.

    If a killed drill left database servers that still run, kill them first.
    """
    servers = server_folder(folder)
    end_processes(servers)
    # Delete the folder of the servers first. After a crash between the two deletions, the next
    # drill finds the folder of the target, whose name leads to the folder of the servers.
    remove_tree(servers)
    remove_tree(folder)
    is_gone = not os.path.lexists(servers) and not os.path.lexists(folder)
    return Target(folder=folder, is_kept=False, is_gone=is_gone)


def server_folder(target: Path) -> Path:
    """Return the folder of the database servers of a target.

    This folder is next to the target. It has a short name, because the path of a socket in it has
    at most 107 bytes.
    """
    return target.parent.resolve() / target.name.rpartition(".")[2][:_SHORT]


def destroy_leftovers(installation: Installation, subject: str) -> int:
    """Delete folders and files of interrupted drills; return their number.

    `subject` is the name of the backup set, or `sample.SET` for drills of a sample. The caller must
    hold the lock for drills of the subject on this machine. Drills of another machine in the same
    folder do not use this lock; the ledger shows which of them still run.
    """
    destroy_dead_scans(installation, subject)
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
